"""The stubs of the compiled modules say what the modules are."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

COMPILED = sorted(path.stem for path in (ROOT / "fastmap").glob("*.pyx"))
STUBS = sorted(path.stem for path in (ROOT / "fastmap").glob("*.pyi"))

# What Cython adds to every module, and what cannot be seen from Python.
ARTEFACTS = r"""
fastmap\._\w+\.__test__
fastmap\._\w+\.__pyx_capi__
fastmap\._\w+\.__(reduce|setstate)_cython__
fastmap\._\w+\.\w+\.__(reduce|setstate)_cython__
fastmap\._\w+\.\w+\.__init__  # the arguments go to __cinit__
"""


def stubtest(root: Path, directory: Path) -> subprocess.CompletedProcess[str]:
    """Check the stubs of a copy of the package, or of the package itself."""
    allowed = directory / "artefacts.txt"
    allowed.write_text(ARTEFACTS)
    return subprocess.run(
        [
            *(sys.executable, "-m", "mypy.stubtest", "--ignore-unused-allowlist"),
            *("--allowlist", str(allowed)),
            *(f"fastmap.{name}" for name in STUBS),
        ],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "MYPYPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_stubs_are_those_of_the_compiled_modules(tmp_path: Path) -> None:
    done = stubtest(ROOT, tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_compiled_module_that_python_imports_has_a_stub_and_no_other() -> None:
    sources = [
        path
        for folder in ("fastmap", "gateway", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
    ]
    statement = re.compile(r"^\s*from fastmap\.(_\w+) import", re.MULTILINE)
    imported = {name for path in sources for name in statement.findall(path.read_text("utf-8"))}
    assert sorted(imported) == STUBS
    assert imported < set(COMPILED)


def test_stubs_that_are_wrong_are_found(tmp_path: Path) -> None:
    copy = tmp_path / "fastmap"
    shutil.copytree(ROOT / "fastmap", copy, ignore=shutil.ignore_patterns("__pycache__"))
    for stub, right, wrong in (
        ("_buffer", "def take(", "def taken("),
        ("_plan", "skew_ms: int = 0", "skew_ms: int = 1"),
        ("_times", "(text:", "(words:"),
    ):
        path = copy / f"{stub}.pyi"
        assert path.read_text().count(right) == 1
        path.write_text(path.read_text().replace(right, wrong))

    done = stubtest(tmp_path, tmp_path)

    assert done.returncode == 1
    for problem in ("_buffer.Buffer.taken", "_plan.Plan.run", "_times.parse_time"):
        assert f"fastmap.{problem}" in done.stdout
