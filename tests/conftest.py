"""What holds for every test."""

import os
import sys
from pathlib import Path

import aiohttp
import pytest

import fastmap
from tests.support import serving

# The benchmarks are no part of what is installed; what is installed comes first.
sys.path.append(str(Path(__file__).parents[1]))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests be run with every request answered by aiohttp."""
    parser.addoption("--no-fast-path", action="store_true", help="leave all requests to aiohttp")


def pytest_configure(config: pytest.Config) -> None:
    """Tell the servers of tests."""
    serving.has_fast_path = not config.getoption("--no-fast-path")


def pytest_report_header() -> str:
    """Say which build is tested: another one that happens to be installed proves nothing."""
    flavour = os.environ.get("FASTMAP_BUILD", "release")
    if flavour != "release" and f"build/{flavour}/" not in fastmap.__file__:
        pytest.exit(f"expected the {flavour} build of fastmap (got {fastmap.__file__})", 3)
    wanted = os.environ.get("AIOHTTP", "")
    if f"/aiohttp-{wanted}/" not in aiohttp.__file__ and wanted:
        pytest.exit(f"expected the {wanted} aiohttp (got {aiohttp.__file__})", 3)
    return f"fastmap: {fastmap.__file__}, aiohttp {aiohttp.__version__}"


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail the run when CI is set and something was skipped: there everything is installed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if skipped and os.environ.get("CI") == "true" and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
