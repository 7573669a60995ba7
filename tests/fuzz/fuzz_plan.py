"""The fuzzer of the mapping language: bytes decide a mapping and its events.

The core has to give what the reference gives.  The reference is Python, so that libFuzzer sees
which parts of the language an input reaches, and looks for inputs that reach others.
"""

import sys

import atheris

with atheris.instrument_imports(include=["fastmap"]):
    from tests.support.fastmap_strategies import case_of
    from tests.unit.fastmap.test_property import compare


def one_input(data: bytes) -> None:
    """Compare core and reference for the mapping and the events that an input stands for."""
    wanted, sent = case_of(data)
    try:
        compare(wanted, sent)
    except AssertionError:
        print(f"{wanted!r}\nof {sent!r}", file=sys.stderr)
        raise


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
