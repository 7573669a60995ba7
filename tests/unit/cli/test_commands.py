"""What all commands have in common: help, completion, mistyped names, and how soon they answer."""

import itertools
import os
import subprocess
import sys

import pytest

from gateway.cli import app
from gateway.cli.dead_letters.tables import show_groups, show_letters
from gateway.dead_letters.model import Letter
from gateway.spool.dead_letters import LetterGroup

_WITH_COMMANDS = {
    "config": ("keys", "schema"),
    "dead-letters": ("list", "show", "replay", "export", "purge"),
    "pending": ("list", "set-aside", "retry"),
}

EVERY_COMMAND = [
    *[(str(command.name),) for command in app.registered_commands],
    *[(name,) for name in _WITH_COMMANDS],
    *[(name, inner) for name, inners in _WITH_COMMANDS.items() for inner in inners],
]


def test_every_command_is_tried() -> None:
    assert {str(group.name): group.typer_instance for group in app.registered_groups}.keys() == (
        _WITH_COMMANDS.keys()
    )
    for group in app.registered_groups:
        inner = group.typer_instance.registered_commands if group.typer_instance else []
        assert tuple(command.name for command in inner) == _WITH_COMMANDS[str(group.name)]


def _gateway(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80", **environ},
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("command", [(), *EVERY_COMMAND], ids=" ".join)
def test_help_of_every_command_fits_a_terminal(command: tuple[str, ...], option: str) -> None:
    shown = _gateway(*command, option)
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = shown.stdout.splitlines()
    assert lines[0].startswith(" ".join(["Usage: gateway", *command]))
    assert all(len(line) <= 80 for line in lines)
    assert not any("…" in line or "..." in line.replace("[ARGS]...", "") for line in lines)


def test_paragraphs_of_help_are_folded_once() -> None:
    lines = _gateway("map", "--help").stdout.splitlines()
    paragraph = lines[lines.index("") + 1 :]
    paragraph = paragraph[: paragraph.index("Arguments:")]
    followed = [
        (line, after.split()[0]) for line, after in itertools.pairwise(paragraph) if line and after
    ]
    assert all(len(f"{line} {word}") > 78 for line, word in followed)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (("rum",), "'run'"),
        (("chekc",), "'check'"),
        (("dead-leters",), "'dead-letters'"),
        (("dead-letters", "lst"), "'list'"),
        (("run", "--sandbx"), "--sandbox"),
    ],
)
def test_what_is_mistyped_is_answered_with_what_may_be_meant(
    typed: tuple[str, ...], meant: str
) -> None:
    shown = _gateway(*typed)
    assert shown.returncode == 2
    assert meant in shown.stderr


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("gateway dead", {"dead-letters"}),
        ("gateway dead-letters ", set(_WITH_COMMANDS["dead-letters"])),
        ("gateway run --san", {"--sandbox", "--sandbox-port"}),
        ("gateway dead-letters list --kind ", {"event", "record"}),
    ],
)
def test_the_shell_completes_commands_options_and_values(words: str, found: set[str]) -> None:
    shown = _gateway(
        _GATEWAY_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(words.count(" "))
    )
    assert found <= set(shown.stdout.split())


def test_completion_can_be_shown() -> None:
    shown = _gateway("--show-completion", "bash")
    assert "complete -o default -F" in shown.stdout + shown.stderr


_LIGHT = {"gateway", "gateway.cli", "gateway.cli.commands", "gateway.cli.options"}

_PRINT_IMPORTS = """
import sys
from gateway import cli
sys.argv[0] = "gateway"
try:
    cli.main()
except SystemExit:
    pass
print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [("--version",), ("--help",), ("chekc",), *[(*each, "--help") for each in EVERY_COMMAND]],
    ids=" ".join,
)
def test_what_runs_no_command_imports_next_to_nothing(arguments: tuple[str, ...]) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", _PRINT_IMPORTS, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = set(shown.stderr.splitlines()[-1].split())
    assert {each for each in imported if each.split(".")[0] == "gateway"} == _LIGHT
    assert not imported & {"asyncio", "aiohttp", "fastmap", "msgspec", "prometheus_client"}
    assert not imported & {"rich.console", "sqlite3", "uvloop", "yaml"}


def test_counts_of_dead_letters_are_never_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    example = "an event without a name; " * 10
    group = LetterGroup(
        destination="d" * 64,
        endpoint="",
        kind="event",
        reason="missing_event_name_or_another_long_reason",
        letters=1_234_567,
        bytes=5 * 1024**3,
        oldest_ms=1_700_000_000_000,
        newest_ms=1_800_000_000_000,
        example=example,
    )
    show_groups([group])
    shown = capsys.readouterr().out
    for part in (group.reason, group.destination, "1234567", "5.0 GiB", example.strip()):
        assert part in shown
    assert "2023-11-14 22:13:20Z to 2027-01-15 08:00:00Z" in shown


def test_single_dead_letters_fit_a_terminal_and_nothing_is_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    letter = Letter(
        id="1000000000007",
        created="2026-01-31T12:00:00.000Z",
        destination="mixpanel",
        endpoint="import",
        kind="record",
        reason="missing_event_name",
        detail="Mixpanel says of it that " + "it is not what it ought to be; " * 9 + "the end",
    )
    show_letters([letter], has_header=True)
    shown = capsys.readouterr().out
    assert all(len(line) <= 80 for line in shown.splitlines())
    for part in (str(letter.id), letter.created, letter.reason, "mixpanel/import", letter.detail):
        assert part in " ".join(shown.split())


def test_header_of_single_dead_letters_stands_above_their_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    letters = [
        Letter(
            id=str(number),
            created="2026-01-31T12:00:00.000Z",
            destination=destination,
            endpoint="import",
            kind="record",
            reason="refused",
            detail="why",
        )
        for number, destination in ((7, "a"), (1_000_000_000_007, "a-long-name"))
    ]
    show_letters(letters, has_header=True)
    header, *rows = capsys.readouterr().out.splitlines()
    for row in rows:
        for title, value in (("kind", "record"), ("reason", "refused"), ("detail", "why")):
            assert row.index(value) == header.index(title)
