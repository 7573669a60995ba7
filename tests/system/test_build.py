"""What building says at once, before anything is downloaded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT


def _preflight(patch: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    program = f"import sys, sysconfig; sys.argv = ['setup.py', 'preflight']; {patch}\n"
    program += "exec(compile(open('setup.py').read(), 'setup.py', 'exec'))"
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environ},
    )


def test_a_machine_that_has_everything_is_told_nothing() -> None:
    found = _preflight()
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize(
    ("patch", "environ", "told"),
    [
        ("sys.version_info = (3, 10, 9)", {}, ("Python 3.10.9", "PYTHON=python3.11")),
        ("sys.version_info = (3, 6, 15)", {}, ("Python 3.6.15", "3.11 or newer")),
        ("", {"CC": "no-such-compiler"}, ("no-such-compiler", "apt-get install gcc")),
        ("", {"CC": "no-such-compiler -m64"}, ("no C compiler: no-such-compiler is",)),
        ("sysconfig.get_path = lambda _: '/nowhere'", {}, ("/nowhere/Python.h", "-dev")),
    ],
)
def test_what_is_missing_to_build_is_named_with_its_remedy(
    patch: str, environ: dict[str, str], told: tuple[str, ...]
) -> None:
    found = _preflight(patch, **environ)
    assert found.returncode == 1
    assert all(words in found.stderr for words in told), found.stderr
    assert "Traceback" not in found.stderr


def _make(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", "preflight", f"PYTHON={sys.executable}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_an_environment_of_another_python_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.10.4\n")
    made = _make(f"VENV={tmp_path}")
    assert made.returncode != 0
    assert "was made by another Python (3.10," in made.stdout
    assert "make clean" in made.stdout


def test_an_environment_of_this_python_is_kept() -> None:
    made = _make(f"VENV={sys.prefix}")
    assert (made.returncode, made.stdout) == (0, "")


def test_a_python_that_is_not_there_is_named() -> None:
    made = _make("PYTHON=no-such-python")
    assert made.returncode != 0
    assert "there is no no-such-python" in made.stdout


@pytest.mark.parametrize(("flavour", "strict"), [("release", False), ("sanitize", True)])
def test_warnings_stop_only_the_builds_of_developers(flavour: str, strict: bool) -> None:
    program = "import runpy; print('-Werror' in runpy.run_path('setup.py')['CFLAGS'][%r])"
    shown = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.argv = ['setup.py', '--version']; {program}" % flavour,
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        check=True,
    )
    assert shown.stdout.split()[-1] == str(strict)
