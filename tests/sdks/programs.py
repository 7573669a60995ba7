"""The programs that run SDKs: each reads a job, and ends when its SDK has nothing left to send."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["Program", "browser", "go", "java", "node", "python"]

_HERE = Path(__file__).parent


class Program(NamedTuple):
    """What runs an SDK.

    :param command: reads a job.
    :param source: what has the lines that configure the SDK.
    :param tools: that it needs.
    :param made: what ``make sdks`` has to have made.
    """

    command: Sequence[str]
    source: Path
    tools: Sequence[str]
    made: Path

    def missing(self) -> str | None:
        """Return why it cannot run, and what to do; None when it can."""
        for tool in self.tools:
            if shutil.which(tool) is None:
                return f"{tool} is not installed: install it, then run make sdks"
        return None if self.made.exists() else f"{self.made} is missing: run make sdks"


def python(name: str, *arguments: str) -> Program:
    program = _HERE / f"python/{name}.py"
    return Program((sys.executable, str(program), *arguments), program, (), program)


def node(name: str, *arguments: str) -> Program:
    program = _HERE / f"node/{name}.mjs"
    installed = _HERE / "node/node_modules/.installed"
    return Program(("node", str(program), *arguments), program, ("node",), installed)


def browser(name: str) -> Program:
    base = node("browser", name)
    return base._replace(source=_HERE / f"node/pages/{name}.js", tools=("node", "chromium"))


def java(main: str, source: str) -> Program:
    target = _HERE / "jvm/target"
    # Starting fast matters more than running fast.
    command = ("java", "-XX:TieredStopAtLevel=1", "-cp", f"{target}/classes:{target}/dependency/*")
    return Program((*command, main), _HERE / f"jvm/src/main/{source}", ("java",), target / ".built")


def go() -> Program:
    program = _HERE / "go/build/send"
    return Program((str(program),), _HERE / "go/main.go", (), program)
