"""The lines that docs/sdks.md tells users to change are those that the tests run with."""

import re
from pathlib import Path

import pytest

from tests.sdks.catalogue import SDKS, Sdk

DOCS = (Path(__file__).parents[2] / "docs/sdks.md").read_text()


def compact(text: str) -> str:
    """Return code without white space, and without the options that tests add."""
    return re.sub(r", (\.\.\.)?options\b|\s+", "", text)


@pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.name)
def test_documented_lines_are_those_of_the_program(sdk: Sdk) -> None:
    title = re.escape(re.sub(r"( \(browser\)|, batches)$", "", sdk.name))
    found = re.search(rf"^### {title}\n+```\w+\n(.*?)```", DOCS, re.MULTILINE | re.DOTALL)
    assert found, f"docs/sdks.md has no section for {sdk.name}"
    assert compact(found[1]) in compact(sdk.program.source.read_text())
