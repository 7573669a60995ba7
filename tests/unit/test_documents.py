"""What the documents name exists: files, sections, targets of make, and defaults."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest

from gateway import __version__
from gateway.config import ServerConfig, load
from tests.support.paths import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
PATH = re.compile(r"(?<![\w/.-])(?:gateway|fastmap|tests|docs|benchmarks)/[\w./*-]*")
FIRST_LINES = "[[sources]]\nname='s'\nwrite_key='k'\n[[destinations]]\nsettings.projectToken='t'\n"

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def sections(document: Path) -> set[str]:
    """Return the names by which links lead to the sections of a document."""
    headings = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {each.replace(" ", "-") for each in kept}


@every_document
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8")):
        if "://" in link:
            continue
        name, _, section = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), link
        assert not section or section in sections(target), link


@every_document
def test_paths_exist(document: Path) -> None:
    for path in PATH.findall(document.read_text("utf-8")):
        assert list(ROOT.glob(path.rstrip("./"))), path


@every_document
def test_targets_of_make_exist(document: Path) -> None:
    targets = re.findall(r"^([\w-]+):", ROOT.joinpath("Makefile").read_text("utf-8"), re.MULTILINE)
    for target in re.findall(r"(?:`|^ {4})make ([a-z-]+)", document.read_text("utf-8"), re.M):
        assert target in targets


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_names_of_the_code_exist(name: str) -> None:
    files = [path for path in ROOT.glob("*/**/*.py*") if path.suffix in {".py", ".pyx"}]
    inside = ("gateway", "fastmap", "tests")
    code = "\n".join(
        path.read_text("utf-8") for path in files if path.relative_to(ROOT).parts[0] in inside
    )
    defined = set(re.findall(r"^\s*(?:async )?(?:class|def|cdef class) (\w+)", code, re.MULTILINE))
    defined |= set(re.findall(r"^\s*(\w+)(?:: [^\n=]+)?(?: =|$)", code, re.MULTILINE))
    text = (ROOT / name).read_text("utf-8")
    told = re.findall(r"`((?:_[A-Za-z]|[A-Z])\w*(?:\.(?!md)[a-z_]+)?)`", text)
    assert len(told) > 5
    for part in {part for each in told for part in each.split(".")}:
        assert part in defined, part


def test_generated_tables_are_as_the_code_says() -> None:
    written = runpy.run_path(str(ROOT / "docs" / "generate.py"))["written"]()
    assert {page.name for page in written} >= {"README.md", "configuration.md", "metrics.md"}
    old = [page.name for page, text in written.items() if page.read_text("utf-8") != text]
    assert old == [], "make docs"


def test_metrics_that_are_named_exist() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    for document in DOCUMENTS:
        for name in re.findall(r"`(gateway_[a-z_]+)[`{]", document.read_text("utf-8")):
            assert f"| `{name}` |" in page, f"{document.name}: {name}"


def test_defaults_of_the_threat_model_are_those_of_the_configuration(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text("utf-8")
    told = re.findall(r"`(server|admin|spool|delivery|proxy)\.(\w+)` \(`?([^)`;]+)", text)
    assert len(told) > 20
    path = tmp_path / "gateway.toml"
    path.write_text(FIRST_LINES)
    usual = load(path, {})
    for table, key, value in told:
        default = getattr(getattr(usual, table), key)
        if value.startswith("none"):
            assert default in (None, ()), key
        elif key == "max_connections":
            assert default == 0
        elif key == "max_import_bytes":
            assert (default, ServerConfig().import_bytes, value) == (None, 10 * 1024**2, "10 MiB")
        else:
            text = value if value.isdigit() or value == "true" else f'"{value}"'
            path.write_text(f"{FIRST_LINES}[{table}]\n{key} = {text}")
            assert getattr(getattr(load(path, {}), table), key) == default, key


def test_the_version_is_the_same_in_all_places() -> None:
    project = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == __version__
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    newest, *_ = re.findall("^## (.+)$", changelog, re.MULTILINE)
    assert re.fullmatch(rf"{re.escape(__version__)} - (not tagged yet|\d{{4}}-\d\d-\d\d)", newest)
