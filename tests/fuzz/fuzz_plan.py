"""The fuzzer of the mapping language: bytes decide a mapping and its events.

The core has to give what the reference gives.  The reference is Python, so that libFuzzer sees which
parts of the language an input reaches, and looks for inputs that reach others.
"""

import sys

import atheris

with atheris.instrument_imports(include=["fastmap"]):
    from tests.test_fastmap_property import compare, drawn


def one_input(data: bytes) -> None:
    """Compare core and reference for the mapping and the events that an input stands for."""
    left = iter(data)

    def roll(sides: int) -> int:
        number = next(left, 0)
        while sides > 256:
            number, sides = number * 256 + next(left, 0), sides // 256
        return number % sides

    compare(*drawn(roll))


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
