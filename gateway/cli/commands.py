"""What can be typed: each command with its options.  What it does is in a module of its own.

That module is imported when the command runs: all of them together take a second, and help, the
version and completion need none.
"""

import enum
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.options import (
    AsJson,
    ConfigFile,
    DryRun,
    LetterOptions,
    QueueOptions,
    RecordOptions,
    Where,
    Yes,
    spread,
)

__all__ = [
    "check",
    "export_letters",
    "list_keys",
    "list_letters",
    "list_records",
    "map_events",
    "print_schema",
    "purge_letters",
    "replay_letters",
    "retry_queues",
    "run",
    "sandbox",
    "send",
    "set_records_aside",
    "show_letter",
]


class ProfileName(enum.Enum):
    """The profiles that can be chosen without a configuration."""

    SYFT = "syft"
    SEGMENT = "segment"


def run(
    config: ConfigFile = None,
    sandbox: Annotated[
        bool,
        typer.Option(
            "--sandbox",
            help="Deliver to a Mixpanel stand-in on this machine instead of Mixpanel, from a spool "
            "of its own. Needs no token.",
        ),
    ] = False,
    sandbox_port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port of the stand-in.")
    ] = 8082,
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C, then finish what is under way and exit with 0."""
    _ignore_signals()
    from gateway.cli.run import serve

    serve(config, sandbox_port if sandbox else None)


def check(
    config: ConfigFile = None,
    show: Annotated[
        bool,
        typer.Option("--print", help="Print the effective configuration as JSON, without secrets."),
    ] = False,
) -> None:
    """Check a configuration; exits with 2 and names every mistake when it is wrong."""
    from gateway.cli.check import check

    check(config, show=show)


def list_keys(
    word: Annotated[
        str | None,
        typer.Argument(
            metavar="[WORD]",
            help="Only keys that have to do with it, as in workers.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """List what can be set: each key with its meaning, what is accepted, default and variable."""
    from gateway.cli.config import print_keys

    print_keys(word)


def print_schema() -> None:
    """Print the JSON Schema of configuration files, for editors and other programs."""
    from gateway.cli.config import print_schema

    print_schema()


def map_events(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="Events; without it, or for -, standard input is read.",
            show_default=False,
        ),
    ] = None,
    config: ConfigFile = None,
    profile: Annotated[
        ProfileName, typer.Option(help="The mapping to use where there is no configuration.")
    ] = ProfileName.SYFT,
    destination: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only this destination of the configuration."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The source that the events come from: it has destinations and options.",
        ),
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--type", help="The type of events that name none.")
    ] = None,
    received: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="The time of receipt: ISO 8601 or epoch milliseconds. Without it, now.",
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Tell where each value came from, and what was not sent and why.",
        ),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 when an event is rejected.")
    ] = False,
) -> None:
    """Print the Mixpanel records that events become, one JSON line each; send nothing.

    Reads one event, a list of events, a batch, or one of these on each line. With --received the
    output depends on the input alone. An event without a messageId gets one from its position,
    where the gateway itself would take a random one.

    Exits with 1 when an event is rejected and --strict is given, with 2 when the input or the
    configuration cannot be read.
    """
    from gateway.cli.map import map_events

    map_events(
        file,
        config=config,
        profile=profile.value,
        destination=destination,
        source=source,
        kind=kind,
        received=received,
        explain=explain,
        strict=strict,
    )


def send(
    event: Annotated[str, typer.Argument(help="Name of the event.")] = "Gateway Test",
    *,
    write_key: Annotated[
        str,
        typer.Option("--write-key", "-k", envvar="WRITE_KEY", help="The key of a source."),
    ],
    url: Annotated[str, typer.Option(help="Where the gateway listens.")] = "http://127.0.0.1:8080",
    user_id: Annotated[str, typer.Option(help="Who did it.")] = "gateway-test",
    kind: Annotated[
        str, typer.Option("--type", help="track, page, screen, identify, group or alias.")
    ] = "track",
    properties: Annotated[
        str, typer.Option(help="Properties (or traits) as a JSON object.")
    ] = "{}",
) -> None:
    """Send a test event and show the gateway's answer; exits with 1 unless it was accepted."""
    from gateway.cli.send import send

    send(event, write_key, url=url, user_id=user_id, kind=kind, properties=properties)


def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one."),
    ] = 8082,
    token: Annotated[
        str | None, typer.Option(help="The only project token that is accepted.")
    ] = None,
    keep: Annotated[
        int, typer.Option(min=0, help="How many of the last records are kept.")
    ] = 10_000,
    max_records_per_second: Annotated[
        float | None, typer.Option(min=1, help="Answer 429 beyond this rate.")
    ] = None,
    retry_after: Annotated[
        int | None,
        typer.Option(min=0, help="Seconds of the Retry-After header of those answers."),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="Misbehaviour as JSON, may be repeated; as in "
            '{"action": "status", "status": 500, "share": 0.1}. Actions: status, reset, stall. '
            'With "holding": "text", only requests whose body holds that text.',
        ),
    ] = None,
    validate: Annotated[
        bool,
        typer.Option(
            help="Check every record. Without it records are only counted, for load tests."
        ),
    ] = True,
) -> None:
    """Run a Mixpanel stand-in that enforces the documented contract.

    Point a destination's base_url at it; GET /records shows what arrived, GET /stats counts it, PUT
    /faults changes its misbehaviour.
    """
    _ignore_signals()
    from gateway.cli.sandbox import serve

    serve(
        host,
        port,
        faults=fault or (),
        token=token,
        keep=keep,
        max_records_per_second=max_records_per_second,
        retry_after_s=retry_after,
        validate=validate,
    )


def _ignore_signals() -> None:
    """Let nothing but a signal to stop end this process, before what takes its time."""
    from gateway.signals import ignore_signals

    ignore_signals()


@spread
def list_letters(
    *,
    each: Annotated[bool, typer.Option("--each", help="List each, with its detail.")] = False,
    as_json: AsJson = False,
    letters: LetterOptions,
    where: Where,
) -> None:
    """Count dead letters by cause, or list them one by one."""
    from gateway.cli.dead_letters.look import list_letters

    list_letters(letters, where, each=each, as_json=as_json)


@spread
def show_letter(
    letter_id: Annotated[str, typer.Argument(metavar="ID")],
    *,
    as_json: AsJson = False,
    where: Where,
) -> None:
    """Print everything that is known of a dead letter, as JSON; with --json on one line."""
    from gateway.cli.dead_letters.look import show_letter

    show_letter(letter_id, where, as_json=as_json)


@spread
def export_letters(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="Without it, or for -, standard output."),
    ] = None,
    *,
    letters: LetterOptions,
    where: Where,
) -> None:
    """Write dead letters as JSON, one line each; they stay where they are.

    Lines with another payload can be sent with: gateway dead-letters replay --edited FILE
    """
    from gateway.cli.dead_letters.look import export_letters

    export_letters(file, letters, where)


@spread
def replay_letters(
    *,
    edited: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="An export, with payloads to send instead."),
    ] = None,
    edit: Annotated[
        str | None, typer.Option(metavar="ID", help="Edit this one, then send it.")
    ] = None,
    editor: Annotated[
        str, typer.Option(envvar=["VISUAL", "EDITOR"], help="The editor for --edit.")
    ] = "vi",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what the letters would become.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
    letters: LetterOptions,
    where: Where,
) -> None:
    """Send dead letters again: events as they are mapped now, records as they are or as edited.

    Without a filter, all of them. What cannot be sent stays as it is, and the exit code is 1. A
    letter is never sent twice, also when this is stopped and run again.
    """
    from gateway.cli.dead_letters.replay import replay_letters

    replay_letters(
        letters,
        where,
        edited_file=edited,
        edit_id=edit,
        editor=editor,
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
    )


@spread
def purge_letters(
    *,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
    letters: LetterOptions,
    where: Where,
) -> None:
    """Delete dead letters for good; without a filter, all of them."""
    from gateway.cli.dead_letters.purge import purge_letters

    purge_letters(letters, where, dry_run=dry_run, yes=yes, as_json=as_json)


@spread
def list_records(
    *,
    each: Annotated[bool, typer.Option("--each", help="One line a record.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="With --each: so many at most, else 100."),
    ] = None,
    as_json: AsJson = False,
    records: RecordOptions,
    where: Where,
) -> None:
    """Show what waits, and for what, by destination and endpoint, or record by record."""
    from gateway.cli.pending.look import list_records

    list_records(records, where, each=each, limit=limit, as_json=as_json)


@spread
def set_records_aside(
    *,
    every: Annotated[bool, typer.Option("--all", help="All of them, without a filter.")] = False,
    dry_run: DryRun = False,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="So many at most, the oldest first.")
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
    records: RecordOptions,
    where: Where,
) -> None:
    """Make pending records dead letters, with the reason set_aside; all of them only with --all.

    They can be sent later with: gateway dead-letters replay --reason set_aside. What is in a
    request right now is left as it is.
    """
    from gateway.cli.pending.set_aside import set_records_aside

    set_records_aside(
        records, where, every=every, dry_run=dry_run, limit=limit, yes=yes, as_json=as_json
    )


@spread
def retry_queues(*, as_json: AsJson = False, queues: QueueOptions, where: Where) -> None:
    """Make the next attempt now where delivery waits: of paused and of retrying endpoints.

    It is one attempt; when it fails as well, the waiting goes on as before.
    """
    from gateway.cli.pending.retry import retry_queues

    retry_queues(queues, where, as_json=as_json)
