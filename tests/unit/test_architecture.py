"""The arrows between the parts, held as tests: who may import whom, and who may do what."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

LEAVES = frozenset(
    {"", "errors", "events", "config", "clock", "model", "notices", "policy", "readable"}
    | {"resolver", "subject", "telemetry"}
)
"""What every layer may import; "" is the package itself."""

LAYERS = frozenset(
    {
        *("http", "ingest", "mapping", "spool", "delivery", "dead_letters", "pending", "admin"),
        "sandbox",
    }
)
"""None of these knows another one, but for what a spool is."""

SHARED = frozenset(
    {
        "gateway.spool.base",
        "gateway.spool.dead_letters",
        "gateway.spool.outlet",
        "gateway.spool.pending",
    }
)

BESIDES = frozenset(
    {
        *(("admin", "dead_letters"), ("admin", "pending"), ("pending", "dead_letters")),
        *(("admin", "http"), ("ingest", "http")),
    }
)
"""The admin port serves what operators do with dead letters and pending records; these are shown
alike.  Both ports speak HTTP."""

COMPOSITION = frozenset(
    {"__main__", "app", "cli", "output", "pipeline", "process", "signals", "workers"}
)
"""These put the layers together; nothing else imports them."""

THIRD_PARTY = "aiohttp.web aiolimiter isal.igzip msgspec prometheus_client rich typer uvloop yaml"


def modules() -> dict[str, Path]:
    """Return the Python modules of both packages by their names."""
    found = {}
    for package in ("gateway", "fastmap"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(tree: ast.AST) -> Iterator[str]:
    """Return the full names of what is imported anywhere in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            for name in node.names:
                full = f"{node.module}.{name.name}"
                yield full if full in MODULES else node.module


def is_storage(module: str) -> bool:
    """Tell whether a module is of one storage, which only the spool's own may know."""
    return f"{module}.".startswith("gateway.spool.sqlite.")


def part_of(module: str) -> str:
    """Return the first name below ``gateway``: a layer, a leaf or a part of the composition."""
    return module.split(".")[1] if "." in module else ""


def is_forbidden(module: str, imported: str) -> bool:
    """Tell whether an import goes against the arrows."""
    target = imported.split(".")[0]
    if module.split(".")[0] == "fastmap":
        return target != "fastmap" and target not in sys.stdlib_module_names
    part = part_of(module)
    if is_storage(imported) and part != "spool":
        return True
    if target == "fastmap":
        return part not in ("events", "mapping", "cli")  # the last reads times as events do
    if target != "gateway":
        return False
    wanted = part_of(imported)
    if part in COMPOSITION or wanted == part or (part, wanted) in BESIDES:
        return False
    if imported in SHARED:
        return part in LEAVES
    if part in LAYERS:
        return wanted not in LEAVES
    return part not in LEAVES or wanted not in LEAVES


def names_read(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Return the full names of what is used, as in ``os.environ``, with their lines."""
    full: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            full |= {name.asname: name.name for name in node.names if name.asname}
        elif isinstance(node, ast.ImportFrom):
            full |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}

    def name_of(node: ast.AST) -> str:
        if isinstance(node, ast.Name):
            return full.get(node.id, node.id)
        return f"{name_of(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""

    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            yield name_of(node), node.lineno


ENVIRONMENT = re.compile(r"os\.(environb?|getenvb?|putenv|unsetenv)")
CLOCKS = re.compile(
    r"time\.(time|monotonic|perf_counter|process_time|thread_time|clock_gettime)(_ns)?"
    r"|time\.(localtime|gmtime|ctime|strftime|asctime)"
    r"|datetime\.(datetime|date)\.(now|utcnow|today)"
)

MAY_READ_THE_ENVIRONMENT = frozenset({"gateway.config.advice", "gateway.config.load"})
MAY_READ_THE_TIME = frozenset({"gateway.clock"})
MAY_NAME_METRICS = frozenset({"gateway.telemetry", "gateway.spool.sqlite.metrics"})


def misdeeds(module: str, tree: ast.AST) -> list[str]:
    """Return what a module does that only another one may do."""
    found = [
        f"{module}:{line} uses {name}"
        for name, line in names_read(tree)
        if (ENVIRONMENT.fullmatch(name) and module not in MAY_READ_THE_ENVIRONMENT)
        or (CLOCKS.fullmatch(name) and module not in MAY_READ_THE_TIME)
    ]
    texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return found + [
        f"{module}:{node.lineno} names a metric ({node.value})"
        for node in texts
        if isinstance(node.value, str)
        and node.value.startswith("gateway_")
        and module not in MAY_NAME_METRICS
    ]


def reaches_inside(module: str, tree: ast.AST) -> list[str]:
    """Return where a module uses what others keep to themselves, or builds on their server."""
    found = [
        f"{module}:{node.lineno} uses {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and is_private(node.attr)
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
        and node.attr not in own_names(tree) | DOCUMENTED
    ]
    found += [
        f"{module}:{node.lineno} imports {name.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for name in node.names
        if is_private(name.name)
    ]
    names = dict(names_of_classes(tree))
    return found + [
        f"{module} inherits from {base}" for base in names if base.startswith("aiohttp.web")
    ]


DOCUMENTED = frozenset({"_exit", "_replace"})
"""Names of the standard library that only look private."""


def own_names(tree: ast.AST) -> set[str]:
    """Return the names of attributes that a module has defined itself."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and ast.unparse(node.value) == "self"
        ):
            found.add(node.attr)
    return found


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def names_of_classes(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Return the full names of what classes inherit from, with their lines."""
    bases = [
        base for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for base in node.bases
    ]
    header = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    lines = [ast.Expr(base) for base in bases]
    yield from names_read(ast.Module(body=[*header, *lines], type_ignores=[]))


def circles(arrows: dict[str, set[str]]) -> list[str]:
    """Return the names on circles: what is left when all that nothing leads on from has gone."""
    left = {name: set(ends) for name, ends in arrows.items()}
    for _ in range(2):
        while ends := {name for name, goes_to in left.items() if not goes_to & left.keys()}:
            left = {name: left[name] for name in left.keys() - ends}
        left = {end: {start for start, goes_to in left.items() if end in goes_to} for end in left}
    return sorted(left)


def wrong_imports(module: str, tree: ast.AST) -> list[str]:
    return [
        f"{module} imports {imported}"
        for imported in imports(tree)
        if is_forbidden(module, imported)
    ]


def test_every_module_has_its_place() -> None:
    places = {part_of(module) for module in MODULES if module.startswith("gateway")}

    assert places == LEAVES | LAYERS | COMPOSITION


def test_imports_follow_the_arrows() -> None:
    assert [
        problem
        for module, path in MODULES.items()
        for problem in wrong_imports(module, ast.parse(path.read_text("utf-8")))
    ] == []


def test_nobody_reaches_inside_of_others() -> None:
    assert [
        problem
        for module, path in MODULES.items()
        for problem in reaches_inside(module, ast.parse(path.read_text("utf-8")))
    ] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    arrows = {
        module: set(imports(ast.parse(path.read_text("utf-8")))) - {module}
        for module, path in MODULES.items()
        if path.name != "__init__.py"
    }
    assert circles(arrows) == []


@pytest.mark.parametrize(
    ("arrows", "found"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}, ["b", "c"]),
        ({"a": {"a"}}, ["a"]),
    ],
)
def test_circle_is_found(arrows: dict[str, set[str]], found: list[str]) -> None:
    assert circles(arrows) == found


@pytest.mark.parametrize(
    "source",
    [
        "future._asyncio_future_blocking = False",
        "from aiohttp.http_writer import _serialize_headers",
        "from aiohttp import web\nclass A(web.RequestHandler): ...",
        "from aiohttp.web import Server as S\nclass A(S): ...",
    ],
)
def test_reaching_inside_is_found(source: str) -> None:
    assert reaches_inside("gateway.http.server", ast.parse(source))


@pytest.mark.parametrize(
    "source",
    [
        "self._a = 1\nother._a",
        "os._exit(0)",
        "a.__dict__",
        "class A(B): ...",
        "import aiohttp\naiohttp.web.Server(h)",
    ],
)
def test_keeping_to_what_is_public_is_allowed(source: str) -> None:
    assert reaches_inside("gateway.http.server", ast.parse(source)) == []


def test_compiled_core_imports_itself_the_standard_library_and_c() -> None:
    allowed = {"fastmap", "cython", "cpython", "libc", *sys.stdlib_module_names}
    statement = re.compile(r"^\s*(?:from|c?import)\s+(\w+)", re.MULTILINE)
    assert [
        f"{path.name} imports {root}"
        for path in sorted((ROOT / "fastmap").rglob("*.p[xy][dxi]"))
        for root in statement.findall(path.read_text("utf-8"))
        if root not in allowed
    ] == []


def test_environment_time_and_metrics_have_one_owner_each() -> None:
    assert [
        problem
        for module, path in MODULES.items()
        for problem in misdeeds(module, ast.parse(path.read_text("utf-8")))
    ] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("fastmap.compiler", "import msgspec"),
        ("fastmap.spec", "from gateway.errors import GatewayError"),
        ("gateway.ingest.server", "import fastmap"),
        ("gateway.delivery.batch", "from fastmap import is_utf8"),
        ("gateway.ingest.server", "from gateway.mapping import Mapper"),
        ("gateway.ingest.server", "from gateway.spool import SqliteSpool"),
        ("gateway.ingest.server", "from gateway import delivery"),
        ("gateway.spool.sqlite.spool", "import gateway.delivery.sender"),
        ("gateway.delivery.sender", "def f():\n    from gateway.spool.sqlite.spool import connect"),
        ("gateway.mapping.mapper", "from gateway.pipeline import Pipeline"),
        ("gateway.app", "from gateway.spool.sqlite import SqliteSpool"),
        ("gateway.cli.check", "import gateway.spool.sqlite.files"),
        ("gateway.delivery.sender", "from gateway.spool.backends import spool_of"),
        ("gateway.sandbox.server", "from gateway.app import App"),
        ("gateway.admin.server", "from gateway.delivery import Status"),
        ("gateway.dead_letters.service", "from gateway.mapping import Remap"),
        ("gateway.dead_letters.service", "from gateway.spool import SqliteSpool"),
        ("gateway.ingest.server", "from gateway.dead_letters import DeadLetters"),
        ("gateway.config", "from gateway.mapping import Mapper"),
        ("gateway.config.reader", "from gateway.ingest import IngestServer"),
        ("gateway.telemetry", "from gateway.spool.sqlite.spool import SqliteSpool"),
        ("gateway.config", "from gateway.spool.base import Queue"),
        ("gateway.errors", "import gateway.app"),
    ],
)
def test_import_against_an_arrow_is_found(module: str, source: str) -> None:
    assert wrong_imports(module, ast.parse(source))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("gateway.app", "from gateway.ingest import IngestServer"),
        ("gateway.app", "from gateway.spool.backends import spool_of"),
        ("gateway.spool.backends", "from gateway.spool.sqlite import SqliteSpool"),
        ("gateway.mapping.plans", "import fastmap\nfrom fastmap import spec"),
        ("gateway.ingest.server", "from gateway.ingest import replies\nimport aiohttp"),
        ("gateway.delivery.sender", "from gateway.spool.base import Spool"),
        ("gateway.mapping.mapper", "from gateway.events import Event"),
        ("gateway.admin.server", "from gateway.dead_letters import DeadLetters"),
        ("gateway.dead_letters.service", "from gateway.spool.dead_letters import Filter"),
        ("gateway.config", "from gateway.config.reader import Reader\nimport os"),
        ("fastmap.compiler", "import json\nfrom fastmap import spec"),
    ],
)
def test_import_along_an_arrow_is_allowed(module: str, source: str) -> None:
    assert wrong_imports(module, ast.parse(source)) == []


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.environ['A']",
        "import os as o\no.getenv('A')",
        "from os import environ as e\nprint(e)",
        "import time\ntime.time()",
        "from time import monotonic\nmonotonic()",
        "import time\ndef f(clock=time.perf_counter_ns): ...",
        "from datetime import datetime\ndatetime.now()",
        "import datetime\ndatetime.datetime.utcnow()",
        "from datetime import date\ndate.today()",
        "name = 'gateway_events_total'",
        "def f():\n    return f'gateway_{1}'",
    ],
)
def test_misdeed_is_found(source: str) -> None:
    assert misdeeds("gateway.spool.sqlite.spool", ast.parse(source))


@pytest.mark.parametrize(
    "source",
    ["import time\ntime.sleep(1)", "loop.time()", "import os\nos.urandom(8)", "'a gateway_'"],
)
def test_what_is_no_misdeed_is_not_found(source: str) -> None:
    assert misdeeds("gateway.spool.sqlite.spool", ast.parse(source)) == []


IMPORT_EACH_ALONE = """
import importlib, os, sys, threading, traceback, warnings
warnings.simplefilter("ignore")
for name in sys.argv[1].split():
    importlib.import_module(name)  # not ours: loaded once, which is what takes the time
warnings.simplefilter("error")
failed = []
for name in sys.argv[2:]:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
            assert threading.active_count() == 1, "importing started a thread"
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
sys.exit(f"cannot be imported alone: {failed}" if failed else 0)
"""


@pytest.mark.timeout(600)  # two hundred processes take their time where others work, too
def test_each_module_can_be_imported_alone_and_without_a_warning(tmp_path: Path) -> None:
    """No module needs another one to have been imported first, and none does anything."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH_ALONE, THIRD_PARTY, *MODULES],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=540,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
