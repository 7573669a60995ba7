"""The lock file: everything that running needs, in versions that fit, each proven by hashes."""

import re
import tomllib

from packaging.requirements import Requirement

from tests.support.paths import ROOT

LOCK = (ROOT / "requirements.lock").read_text("utf-8")
PINNED = dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\$", LOCK, re.MULTILINE))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_each_requirement_is_pinned_to_a_version_that_fits() -> None:
    for each in map(Requirement, PROJECT["dependencies"]):
        assert each.specifier.contains(PINNED[each.name]), f"{each}: make lock"


def test_each_pin_is_proven_by_hashes() -> None:
    parts = re.findall(r"^[a-z0-9-].*(?:\n .*)*", LOCK, re.MULTILINE)
    assert len(parts) == len(PINNED)
    assert all("--hash=sha256:" in part for part in parts)
