"""``gateway map``: what would be sent to Mixpanel, without sending anything."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import typer

from fastmap import parse_time
from gateway.cli.common import fail
from gateway.cli.configuration import load_or_exit
from gateway.clock import SystemClock
from gateway.config import DestinationConfig, DestinationSettings
from gateway.errors import RequestError
from gateway.events import Event, Received, decode, encode, plain_text
from gateway.mapping import policies_of
from gateway.mapping.explain import account
from gateway.mapping.mapper import EXPLANATIONS, stand_in
from gateway.mapping.prepare import prepare
from gateway.mapping.preview import Preview, PreviewResult
from gateway.policy import Removal, SourcePolicy

__all__ = ["map_events"]

_UNREADABLE = 2


Profile: TypeAlias = Literal["syft", "segment"]


def map_events(
    file: Path | None,
    *,
    config: Path | None,
    profile: Profile,
    destination: str | None,
    source: str | None,
    kind: str | None,
    received: str | None,
    explain: bool,
    strict: bool,
) -> None:
    """Print the records that events become; see ``gateway.cli.commands``."""
    previews, policy = _previews(config, profile, destination, source)
    received_ms = _time_of_receipt(received)
    was_rejected = False
    first = 1
    for batch in _read(file):
        _complete(batch, first, received_ms, kind)
        for number, event in enumerate(batch.events, first):
            removals: list[Removal] = []
            reason = policy.reason_against(event) if policy else None
            if reason is not None:
                outcomes = [PreviewResult(reason=reason) for _ in previews]
            else:
                if policy:
                    policy.strip(event, removals)
                outcomes = [preview.map(event, received_ms) for preview in previews]
            was_rejected |= any(outcome.is_rejected for outcome in outcomes)
            if not explain:
                _print(event, previews, outcomes)
                continue
            _introduce(number, event, removals)
            if reason is not None:
                typer.echo(f"  the source's options keep it away: {reason}")
            else:
                _explain(event, previews, outcomes, received_ms)
        first += len(batch.events)
        for misfit in batch.misfits:
            was_rejected = True
            _reject_misfit(misfit, previews, is_explained=explain)
    if strict and was_rejected:
        raise typer.Exit(1)


def _previews(
    config: Path | None, profile: Profile, destination: str | None, source: str | None
) -> tuple[list[Preview], SourcePolicy | None]:
    """Return the mappings that were asked for, and the options that come before them.

    Exits with 2 when there are no such.
    """
    policy = None
    if config is None:
        chosen: Sequence[DestinationConfig] = (
            DestinationConfig(
                name="mixpanel",
                settings=DestinationSettings(projectToken="TOKEN"),
                profile=profile,
            ),
        )
        names: Sequence[str] = ()
        source = source or ""
    else:
        loaded = load_or_exit(config)
        chosen = loaded.destinations
        if source is None and len(loaded.sources) == 1:
            source = loaded.sources[0].name
        found = [one for one in loaded.sources if one.name == source]
        if source and not found:
            accepted = ", ".join(one.name for one in loaded.sources)
            raise fail(f"--source: no source is called {source!r}; accepted: {accepted}", 2)
        names = found[0].destinations if found else ()
        if found:
            policy = policies_of(loaded)[found[0].name, "keep"]
    wanted = [
        one
        for one in chosen
        if (not names or one.name in names) and destination in (None, one.name)
    ]
    if not wanted:
        accepted = ", ".join(names or (one.name for one in chosen))
        raise fail(f"--destination: none is called {destination!r}; accepted: {accepted}", 2)
    return [Preview(one, source or "") for one in wanted], policy


def _time_of_receipt(received: str | None) -> int:
    if received is None:
        return SystemClock().now_ms()
    time = parse_time(received)
    if time is None:
        raise fail(f"--received: not a time: {received!r}", _UNREADABLE)
    return time


def _complete(batch: Received, first: int, received_ms: int, kind: str | None) -> None:
    """Complete events as on arrival, but with message ids that are the same each time.

    :param first: the number of the first of them.
    """
    for number, event in enumerate(batch.events, first):
        if not plain_text(event.message_id):
            event.message_id = f"event-{number}"
    try:
        prepare(batch, received_ms=received_ms, default_type=kind, client_ip=None, is_retry=False)
    except RequestError as error:
        raise fail(str(error), _UNREADABLE) from None


def _read(file: Path | None) -> Iterator[Received]:
    """Give what the input holds: one document, or one on each line.  Exits with 2 on mistakes."""
    try:
        is_given = file is not None and str(file) != "-"
        body = file.read_bytes() if file and is_given else sys.stdin.buffer.read()
    except OSError as error:
        raise fail(f"cannot read {file}: {error.strerror}", _UNREADABLE) from None
    lines = [(n, line) for n, line in enumerate(body.splitlines(), 1) if line.strip()]
    if len(lines) < 2 or not _is_document(lines[0][1]):
        yield _decode(body, _line_of_mistake(body))
        return
    for number, line in lines:
        yield _decode(line, number)


def _is_document(text: bytes) -> bool:
    try:
        decode(text)
    except RequestError as error:
        return error.code != "invalid_json"
    return True


def _decode(text: bytes, line: int) -> Received:
    try:
        return decode(text)
    except RequestError as error:
        raise fail(f"line {line}: {error}", _UNREADABLE) from None


def _line_of_mistake(body: bytes) -> int:
    try:
        json.loads(body)
    except json.JSONDecodeError as error:
        return error.lineno
    except (ValueError, RecursionError):
        pass
    return 1


def _print(event: Event, previews: Sequence[Preview], outcomes: Sequence[PreviewResult]) -> None:
    """Print an event's records, or why there are none, as JSON lines."""
    texts = []
    for preview, outcome in zip(previews, outcomes, strict=True):
        name = json.dumps(preview.name)
        texts += [
            f'{{"destination":{name},"endpoint":"{endpoint}","record":{line.decode()}}}'
            for endpoint, line in outcome.records
        ]
        if outcome.reason is not None:
            verdict = _verdict(outcome)
            texts.append(f'{{"destination":{name},{verdict},"event":{encode(event).decode()}}}')
    for text in texts:
        typer.echo(text)


def _verdict(outcome: PreviewResult) -> str:
    """Return the members that tell why there are no records."""
    if not outcome.is_rejected:
        return f'"skipped":{json.dumps(outcome.reason)}'
    detail = EXPLANATIONS[str(outcome.reason)]
    return f'"rejected":{json.dumps(outcome.reason)},"detail":{json.dumps(detail)}'


def _introduce(number: int, event: Event, removals: Sequence[Removal]) -> None:
    """Print for people which event it is, and what its source's options took out of it."""
    shown = " ".join(plain_text(part) or "" for part in (event.type, event.event or event.name))
    typer.echo(f"event {number}: {shown.strip()} ({plain_text(event.message_id)})")
    for removal in removals:
        typer.echo(f"  taken out: {removal.place}: {removal.reason}")


def _explain(
    event: Event,
    previews: Sequence[Preview],
    outcomes: Sequence[PreviewResult],
    received_ms: int,
) -> None:
    """Print for people how an event's records came about."""
    for preview, outcome in zip(previews, outcomes, strict=True):
        if outcome.is_rejected:
            detail = EXPLANATIONS[str(outcome.reason)]
            typer.echo(f"  {preview.name}: rejected: {outcome.reason}: {detail}")
        elif outcome.reason is not None:
            typer.echo(f"  {preview.name}: skipped: {outcome.reason}")
        else:
            typer.echo(f"  {preview.name}:")
        try:
            result = preview.explain(event, received_ms)
            told = list(account(result, event, received_ms)) if result else []
        except RecursionError:
            told = ["nested too deeply to be explained"]
        for line in told:
            typer.echo(f"  {line}")


def _reject_misfit(misfit: bytes, previews: Sequence[Preview], *, is_explained: bool) -> None:
    """Print that an element of a batch is no event."""
    for preview in previews:
        reason, text = stand_in(misfit)
        if is_explained:
            shown = misfit.decode()
            typer.echo(f"element: {shown}\n  {preview.name}: rejected: {EXPLANATIONS[reason]}")
            continue
        verdict = _verdict(PreviewResult(reason=reason, is_rejected=True))
        name = json.dumps(preview.name)
        typer.echo(f'{{"destination":{name},{verdict},"event":{text.decode()}}}')
