"""What a mapping means, said slowly: the same language over decoded JSON, in plain Python.

``run`` gives the records that a compiled plan gives, and tells of each value where it came from or
why it is not there.  It shares nothing with the compiled core but the specification and what
``fastmap.texts`` says of odd spellings, so that tests can hold one against the other.  It recurses
with the depth of the input, and it is hundreds of times slower.
"""

from fastmap.reference.engine import Note, Result, Source, run
from fastmap.reference.values import JsonValue, Numeral, decode, encode

__all__ = ["JsonValue", "Note", "Numeral", "Result", "Source", "decode", "encode", "run"]
