from typing import final

@final
class Values: ...
