"""A name means one thing: no two public classes share one, so that a search leads home."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import ROOT

SHARED: dict[str, str] = {}
"""Names that several classes have, and why."""


def classes(path: Path) -> Iterator[str]:
    """Yield the public classes that a module defines at its top."""
    text = path.read_text("utf-8")
    if path.suffix == ".pyx":
        yield from re.findall(r"^(?:cdef )?class ([A-Za-z]\w*)", text, re.MULTILINE)
        return
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name


def places() -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for package in ("gateway", "fastmap"):
        for path in sorted((ROOT / package).rglob("*.py*")):
            if path.suffix in (".py", ".pyx"):
                for name in classes(path):
                    found[name].append(str(path.relative_to(ROOT)))
    return found


def test_no_two_public_classes_share_a_name() -> None:
    shared = {name: where for name, where in places().items() if len(where) > 1}
    assert {name: where for name, where in shared.items() if name not in SHARED} == {}


def test_exceptions_are_needed() -> None:
    found = places()
    assert [name for name in SHARED if len(found[name]) < 2] == []


def test_classes_of_all_kinds_are_seen() -> None:
    found = places()
    assert found["Plan"] == ["fastmap/_plan.pyx"]
    assert found["Event"][0].startswith("gateway/events/")
    assert len(found) > 250
