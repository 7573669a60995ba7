"""Records of Mixpanel's own SDKs: completed, and otherwise left as they are.

Events go to /import, whichever endpoint they were sent to: it takes events of any age and says
which it refuses.  In return it asks for a time, an id and somebody's id, and locates whoever has no
address by the sender's, which is the gateway's.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

import fastmap
from fastmap import spec
from gateway.config import DestinationConfig, IpPolicy, by_token
from gateway.events.mixpanel import (
    FAULTS,
    EndpointName,
    NativeRecord,
    RefusedRecord,
    RequestVerdict,
    insert_id_of,
    own_id_at,
    wrapped,
)
from gateway.mapping.actions.common import (
    ENGAGE,
    EVENT_LIMITS,
    GROUPS,
    IMPORT,
    UPDATE_LIMITS,
    forbidden,
)
from gateway.mapping.objects import Members
from gateway.mapping.plans import SIMPLIFIED, SKIPPED
from gateway.model import ENDPOINTS, DeadLetter, Entry, Queue
from gateway.policy import limited

__all__ = ["NativeMapper"]

MAX_RECORD_BYTES = 1024 * 1024
"""Mixpanel's limit, read as its own error messages do."""

_EARLIEST_S = 365 * 86_400
_NO_TIME = 10**15
"""/import refuses times before 1971; from here on a number is no time at all."""

_COMMANDS = ("$identify", "$create_alias", "$merge")
"""Events that name their ids in ways of their own."""

_DISTINCT_ID = ("properties", "distinct_id")
_CLIENT_IP = spec.Path("client_ip")
_OWN_ID = spec.Path("own_id")
_INPUTS = ("text", _CLIENT_IP.root, _OWN_ID.root)


def _at(*keys: str) -> spec.Path:
    return spec.Path("text", keys)


def _value(*keys: str) -> spec.Value:
    return spec.Value(_at(*keys), spec.Json())


def _id_at(*keys: str) -> spec.Condition:
    """Whether there is what Mixpanel takes for an id."""
    return spec.Has(spec.Value(_at(*keys), spec.String(none_of=forbidden())))


def _unique_id(*keys: str) -> spec.If:
    return spec.If(_id_at(*keys), spec.Value(_at(*keys), spec.UniqueId(forbidden())))


def _is_event(name: str) -> spec.Condition:
    return spec.Equals(_value("event"), name)


def _truncated(text: str) -> tuple[str | None]:
    return (limited(text, "truncate"),)


_TRUNCATED = spec.Derived(spec.Derivation(_truncated, outputs=1), 0)


def _event_address(policy: IpPolicy) -> spec.Expression:
    """Return what stands for the address of an event that has none, or not what is kept of it."""
    own = _value("properties", "ip")
    none = spec.Const(0)
    # With ip=1 the address of the request counts, whatever the event says, as in Mixpanel.
    client = spec.Value(_CLIENT_IP, spec.Ip())
    match policy:
        case "keep":
            return spec.First((client, spec.If(spec.Exists(own), None, none)))
        case "truncate":
            return spec.First((client, spec.Value(own.path, _TRUNCATED), none))
        case "drop":
            return none


def _event(policy: IpPolicy) -> spec.Mapping:
    name = spec.Value(_at("event"), spec.String())
    time = _value("properties", "time")
    is_time = spec.Every(
        (spec.Compare(time, ">=", _EARLIEST_S), spec.Compare(time, "<", _NO_TIME)),
    )
    is_wrong_time = spec.Every((spec.Exists(time), spec.Not(is_time)))
    own_id, is_id = _value(*_DISTINCT_ID), _id_at(*_DISTINCT_ID)
    is_command = spec.Some(tuple(map(_is_event, _COMMANDS)))
    is_nobodys = spec.Not(spec.Some((is_command, is_id)))
    completed = spec.Fields(
        (
            ("time", spec.If(is_wrong_time, None, spec.Value(time.path, spec.Time()))),
            ("distinct_id", spec.If(is_nobodys, spec.Const(""))),
            (
                "$insert_id",
                spec.First(
                    (
                        _unique_id("properties", "$insert_id"),
                        _unique_id("$mp_metadata", "$mp_event_id"),
                        spec.Value(_OWN_ID, spec.String()),
                    )
                ),
            ),
            ("ip", _event_address(policy)),
        )
    )
    properties = spec.Object((spec.Spread(_at("properties")), completed))
    # /import does not document what phones say of their sessions beside the properties.
    rest = spec.Spread(_at(), frozenset({"$mp_metadata"}))
    body = spec.Object((rest, spec.Fields((("event", name), ("properties", properties)))))
    return spec.Mapping(
        inputs=_INPUTS,
        require=((name, "missing_event_name"),),
        reject=(
            (spec.Not(spec.IsObject(_at("properties"))), "missing_properties"),
            (is_wrong_time, "invalid_time"),
            (spec.Every((is_command, spec.Filled(own_id), spec.Not(is_id))), "invalid_distinct_id"),
        ),
        records=(spec.Record(IMPORT, body, limits=EVENT_LIMITS),),
    )


def _update_address(policy: IpPolicy) -> Members:
    """Return the member that an update gets for its address."""
    own, client = _value("$ip"), spec.Value(_CLIENT_IP, spec.Ip())
    match policy:
        case "keep":
            return (("$ip", spec.If(spec.Exists(own), None, client)),)
        case "truncate":
            return (("$ip", spec.First((spec.Value(own.path, _TRUNCATED), client))),)
        case "drop":
            return ()


def _misfit(fits: Callable[[Any], bool]) -> spec.Derived:
    """Return what has a value where the operand of an operation does not fit."""

    def judge(text: str) -> tuple[str | None]:
        try:
            return (None if fits(msgspec.json.decode(text)) else "misfit",)
        except (msgspec.DecodeError, RecursionError):
            return ("misfit",)

    return spec.Derived(spec.Derivation(judge, outputs=1, takes_json=True), 0)


def _is_object_of(*kinds: type) -> Callable[[Any], bool]:
    return lambda operand: all(type(value) in kinds for value in operand.values())


def _misfits() -> Iterator[spec.Condition]:
    """Give the conditions under which the operand of an operation is refused for certain."""
    of_members = {"$add": _is_object_of(int, float), "$union": _is_object_of(list)}
    for operation in ("$set", "$set_once", "$append", "$remove", *of_members):
        no_object = spec.Not(spec.IsObject(_at(operation)))
        wrong = [spec.Every((spec.Has(_value(operation)), no_object))]
        if operation in of_members:
            wrong_member = spec.Value(_at(operation), _misfit(of_members[operation]))
            wrong.append(spec.Every((spec.IsObject(_at(operation)), spec.Has(wrong_member))))
        yield from wrong
    names = _misfit(lambda operand: type(operand) is list and {*map(type, operand)} <= {str})
    yield spec.Has(spec.Value(_at("$unset"), names))


def _update(output: int, ids: Sequence[str], reason: str, policy: IpPolicy) -> spec.Mapping:
    """Return the mapping of operations on profiles; which operation it is does not matter."""
    rest = spec.Spread(_at(), frozenset() if policy == "keep" else frozenset({"$ip"}))
    return spec.Mapping(
        inputs=_INPUTS,
        require=tuple((spec.Value(_at(name), spec.Id()), reason) for name in ids),
        reject=tuple((misfit, "invalid_operation") for misfit in _misfits()),
        records=(
            spec.Record(
                output,
                spec.Object((rest, spec.Fields(_update_address(policy)))),
                limits=UPDATE_LIMITS,
            ),
        ),
    )


def _left_out(config: DestinationConfig) -> Iterator[tuple[spec.Condition, str]]:
    """Give the conditions for leaving out events that the project takes no notice of.

    /import refuses them, and Mixpanel links ids by the other events, which have both.
    """
    if config.identity == "simplified":
        yield spec.Some(tuple(map(_is_event, _COMMANDS))), SIMPLIFIED


class _Plans:
    """How the records of one endpoint are completed.

    :param mapping: what is compiled; without what it demands it completes what is rejected, too.
    :param skip: conditions for leaving a record out, each with its reason.
    """

    def __init__(self, mapping: spec.Mapping, *skip: tuple[spec.Condition, str]) -> None:
        self.output = mapping.records[0].output
        self.complete = fastmap.compile(spec.Choice(((None, mapping),), skip))
        anything = tuple(replace(record, limits=None) for record in mapping.records)
        self.anything = fastmap.compile(spec.Mapping(mapping.inputs, anything))


class _Project:
    """A destination: how records are completed for it, and the buffers they are written into."""

    __slots__ = ("buffers", "client_ip", "ip", "name", "plans")

    def __init__(self, config: DestinationConfig) -> None:
        self.name = config.name
        self.ip = ip = config.mixpanel_sdks.ip
        self.plans: dict[EndpointName, _Plans] = {
            "import": _Plans(_event(ip), *_left_out(config)),
            "engage": _Plans(_update(ENGAGE, ("$distinct_id",), "missing_distinct_id", ip)),
            "groups": _Plans(_update(GROUPS, ("$group_key", "$group_id"), "missing_group", ip)),
        }
        self.buffers = [fastmap.Buffer() for _ in ENDPOINTS]
        self.client_ip: str | None = None

    def begin(self, client_ip: str | None) -> None:
        """Turn to another request."""
        self.client_ip = None if client_ip is None else limited(client_ip, self.ip)
        for buffer in self.buffers:
            buffer.clear()  # of what an error may have left there


class NativeMapped(NamedTuple):
    """What is to be made durable for one request, and what is said of it.

    :param nobodys: what is wrong with the records that no destination is known of.
    :param skipped: how many records are left out, by destination and reason, although nothing is
        wrong with them; whoever sent them is told that they were taken.
    """

    entries: Sequence[Entry]
    dead: Sequence[DeadLetter]
    nobodys: Sequence[str]
    skipped: Mapping[tuple[str, str], int]
    verdict: RequestVerdict


class NativeMapper:
    """Completes records and finds their destinations.

    :param destinations: where records may go; see ``by_token``.
    """

    def __init__(self, destinations: Sequence[DestinationConfig]) -> None:
        self._projects = {config.name: _Project(config) for config in destinations}
        self._by_token = {
            token: self._projects[config.name] for token, config in by_token(destinations).items()
        }
        self._scratch = [fastmap.Buffer() for _ in ENDPOINTS]

    def map(
        self,
        endpoint: EndpointName,
        records: Sequence[NativeRecord],
        *,
        received_ms: int,
        client_ip: str | None,
        destination: str | None = None,
    ) -> NativeMapped:
        """Return the records of a request, completed.

        :param received_ms: time of receipt, epoch milliseconds.
        :param client_ip: the user's address, where Mixpanel is to locate it.
        :param destination: where all of them go, whatever their tokens say.
        """
        projects = self._by_token
        used: dict[str, _Project] = {}
        dead: list[DeadLetter] = []
        nobodys: list[str] = []
        problems: list[RefusedRecord] = []
        skipped: Counter[tuple[str, str]] = Counter()
        forced = None if destination is None else self._projects[destination]
        project: _Project | None
        for index, record in enumerate(records):
            project = forced or (None if record.token is None else projects.get(record.token))
            if project is None:
                fault = record.fault or ("unknown_token" if record.token else "missing_token")
                nobodys.append(fault)
                problems.append(RefusedRecord(index, fault, insert_id_of(record)))
                continue
            if project.name not in used:
                used[project.name] = project
                project.begin(client_ip)
            record.client_ip = project.client_ip
            if record.own_id is not None:
                record.own_id = own_id_at(record.own_id, received_ms)
            plans = project.plans[endpoint]
            fault = record.fault or _complete(plans, record, project.buffers, received_ms)
            if fault in SKIPPED:
                skipped[project.name, fault] += 1
            elif fault:
                problems.append(RefusedRecord(index, fault, insert_id_of(record)))
                letter = self._as_sent(plans, record, received_ms)
                dead.append(_letter(Queue(project.name, endpoint), fault, letter))
        entries = [
            Entry(Queue(name, endpoint), buffer.take(), count)
            for name, project in used.items()
            for buffer in project.buffers
            if (count := buffer.records)
        ]
        verdict = RequestVerdict(len(records) - len(problems), problems)
        return NativeMapped(entries, dead, nobodys, skipped, verdict)

    def _as_sent(self, plans: _Plans, record: NativeRecord, received_ms: int) -> bytes:
        """Return a record as it would be sent once what is wrong with it is mended."""
        if record.fault:
            return wrapped(record)
        scratch = self._scratch[plans.output]
        scratch.clear()
        try:
            plans.anything.run(record, self._scratch, received_ms)
        except fastmap.MalformedInput:
            return wrapped(record)
        return scratch.take()[:-1]


def _complete(
    plans: _Plans, record: NativeRecord, buffers: Sequence[fastmap.Buffer], received_ms: int
) -> str:
    """Write a record; return why it is not written, "" when it is."""
    if len(memoryview(record.text)) >= MAX_RECORD_BYTES:
        return "too_large"
    try:
        outcome = plans.complete.run(record, buffers, received_ms)
    except fastmap.MalformedInput:
        return "malformed"
    return "" if isinstance(outcome, int) else outcome


def _letter(queue: Queue, fault: str, payload: bytes) -> DeadLetter:
    return DeadLetter(
        queue=queue, kind="record", reason=fault, detail=FAULTS[fault].message, payload=payload
    )
