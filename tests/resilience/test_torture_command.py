"""The command that runs the scenarios: what it prints, and how it ends."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner, Result

from tests.torture import Figures
from tests.torture.__main__ import app
from tests.torture.scenarios import SCENARIOS, Scenario


@pytest.fixture
def two_scenarios(monkeypatch: pytest.MonkeyPatch) -> None:
    async def good(directory: Path, *, seed: int, size: int) -> Figures:
        return {"seed": seed, "size": size, "directory": directory.name}

    async def bad(directory: Path) -> Figures:
        raise AssertionError("3 records are missing")

    for name, run in (("good", good), ("bad", bad)):
        module = ModuleType(f"scenario_{name}")
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(
        "tests.torture.__main__.SCENARIOS",
        {
            "good": Scenario("scenario_good", "all is well", {"size": 1}, {"size": 1000}),
            "bad": Scenario("scenario_bad", "nothing is lost", {}, {}),
        },
    )


def torture(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.mark.usefixtures("two_scenarios")
def test_promise_that_held_is_shown_with_its_figures() -> None:
    result = torture("good", "--seed", "7")
    assert result.exit_code == 0
    for text in ("all is well", "seed: 7", "size: 1000", "directory: torture-good", "held"):
        assert text in result.stdout


@pytest.mark.usefixtures("two_scenarios")
def test_broken_promise_fails_after_the_others_have_run() -> None:
    result = torture("--seed", "7", "--scale", "small")
    assert result.exit_code == 1
    for text in ("held", "size: 1", "FAILED", "3 records are missing"):
        assert text in result.stdout
    assert "-m tests.torture bad --seed 7 --scale small" in result.stdout


def test_unknown_scenario_is_told_with_those_there_are() -> None:
    result = torture("nothing")
    assert result.exit_code == 2
    assert all(name in result.output for name in SCENARIOS)
