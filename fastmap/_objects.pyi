from typing import final

@final
class Objects: ...
