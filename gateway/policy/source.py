"""The options of one source, applied to its events: which are taken, and what of them is kept."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from msgspec import Raw

from gateway.config import IpPolicy, SourceConfig
from gateway.events import MEMBERS, NOTHING, Event, Received, fault_of, id_text, plain_text
from gateway.policy.addresses import limited, stricter
from gateway.policy.members import (
    Removal,
    is_named_like_address,
    with_limited_addresses,
    without,
    without_identity,
)
from gateway.policy.selection import Names, is_sampled

__all__ = ["Applied", "SourcePolicy", "policy_of"]

_DENIABLE = ("context", "properties", "traits")
_OBJECTS = (*_DENIABLE, "integrations")
_TEXTS = tuple(name for _, name, kind in MEMBERS if kind is not Raw)

_REPLACED = b'"***"'
_REPLACED_TEXT = b"***"
"""What stands for an element of a batch that is no event: nobody knows what it holds."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What a source's options did to a request.

    :param events: those that are taken.
    :param filtered: why each other one is not.
    :param removals: what was taken out of those that are.
    """

    events: Sequence[Event]
    filtered: Sequence[str]
    removals: Sequence[Removal]


class SourcePolicy:
    """The options of a source that concern its events.

    :param ip: in place of the configured one.
    :param addresses: places whose values are sent as addresses, as in ``properties.client.addr``;
        members that are named like addresses count in any case.
    :param nobody: ids that stand for nobody, in small letters.
    """

    def __init__(
        self,
        source: SourceConfig,
        ip: IpPolicy,
        *,
        addresses: Collection[str],
        nobody: Collection[str],
    ) -> None:
        self._nobody = nobody
        self._ip = ip
        self._addresses = frozenset(
            place for place in addresses if not is_named_like_address(place.rpartition(".")[2])
        )
        self._allowed = Names(source.allowed_events)
        self._denied = Names(source.denied_events)
        self._rate = source.sample_rate
        self._anonymous = source.anonymous_only
        self._paths = {root: _below(root, source.denied_properties) for root in _OBJECTS}
        self._removes = ip != "keep" or bool(source.denied_properties) or source.anonymous_only
        self.does_something = bool(self._removes or self._allowed or self._denied or self._rate < 1)

    def apply(self, received: Received) -> Applied:
        """Return the events that are taken; what must not be kept is taken out of them.

        ``received`` forgets its body where that holds what is not kept.
        """
        events: list[Event] = []
        filtered: list[str] = []
        removals: list[Removal] = []
        for event in received.events:
            reason = self.reason_against(event)
            if reason is not None:
                filtered.append(reason)
                continue
            self.strip(event, removals)
            events.append(event)
        if self._removes:
            received.body = b""
            received.misfits = [
                _REPLACED_TEXT if fault_of(misfit) == "malformed" else _REPLACED
                for misfit in received.misfits
            ]
        return Applied(events, filtered, removals)

    def reason_against(self, event: Event) -> str | None:
        """Return why an event is not taken; None when it is."""
        kind = event.type
        reason = self.reason_against_name(plain_text(event.event)) if kind == "track" else None
        if reason is not None or not (self._rate < 1 or self._anonymous):
            return reason
        user_id, anonymous_id = self._id(event.user_id), self._id(event.anonymous_id)
        reason = self.reason_against_user(
            user_id or anonymous_id or plain_text(event.message_id) or ""
        )
        if reason is None and self._anonymous:
            # Nothing is left of what these say.
            nobody = not anonymous_id or anonymous_id == user_id
            if kind == "alias" or (kind == "identify" and nobody):
                return "anonymous_only"
        return reason

    def _id(self, value: object) -> str | None:
        """Return an id as the mapping reads it."""
        text = id_text(value)
        return None if text is None or text.strip().lower() in self._nobody else text

    def reason_against_name(self, name: str | None) -> str | None:
        """Return why an event of a name is not taken; one without a name is not this one's case."""
        if not name:
            return None
        if self._denied and name in self._denied:
            return "event_denied"
        if self._allowed and name not in self._allowed:
            return "event_not_allowed"
        return None

    def reason_against_user(self, distinct_id: str) -> str | None:
        """Return why nothing is taken of a user."""
        if self._rate < 1 and not is_sampled(distinct_id, self._rate):
            return "sampled_out"
        return None

    def address(self, client_ip: str | None) -> str | None:
        """Return what is kept of the address that a request came from."""
        return None if client_ip is None else limited(client_ip, self._ip)

    def strip(self, event: Event, removals: list[Removal]) -> None:
        """Take out of an event what is not kept.

        :param removals: gets what was taken out.
        """
        if not self._removes:
            return
        for name in _TEXTS:
            value = getattr(event, name)
            if type(value) is Raw and b"{" in bytes(value):
                setattr(event, name, None)  # no text, but it may hold anything
        if self._anonymous:
            _forget_user(event, removals)
        for name in _OBJECTS:
            value = bytes(getattr(event, name))
            if value[:1] == b"{":
                setattr(event, name, Raw(self.stripped(value, name, removals)))
            elif value:
                setattr(event, name, NOTHING)  # nothing is made of it
        event.client_ip = self.address(event.client_ip)

    def stripped(self, text: bytes, root: str, removals: list[Removal]) -> bytes:
        """Return one of an event's objects without what is not kept.

        :param text: a JSON object.
        :param root: which one it is: context, properties, traits or integrations.
        :param removals: gets what was taken out.
        """
        try:
            if self._paths[root]:
                text = without(text, self._paths[root], root, removals)
            if self._anonymous and root != "integrations":
                text = without_identity(text, root, removals, is_traits=root == "traits")
            if self._ip != "keep":
                text = with_limited_addresses(text, self._ip, root, removals, self._addresses)
        except RecursionError:
            removals.append(Removal(root, "too_deep"))
            return b"{}"
        return text


def _forget_user(event: Event, removals: list[Removal]) -> None:
    if event.user_id is not None:
        if id_text(event.anonymous_id) == id_text(event.user_id):
            event.anonymous_id = None
        event.user_id = None
        removals.append(Removal("userId", "identifying"))
    event.previous_id = None


def _below(root: str, paths: Sequence[str]) -> tuple[str, ...]:
    """Return the paths of what is denied, as they go on from one of an event's objects.

    Paths that start at none go on from properties, traits and context.  A context has traits, too.
    """
    found: list[str] = []
    for path in paths:
        start, _, rest = path.partition(".")
        if start in _DENIABLE and rest:
            found += [rest] if start == root else []
        elif root in _DENIABLE:
            found.append(path)
    if root == "context":
        found += [f"traits.{path}" for path in _below("traits", paths)]
    return tuple(dict.fromkeys(found))


def policy_of(
    source: SourceConfig,
    asked: IpPolicy = "keep",
    *,
    addresses: Collection[str] = (),
    nobody: Collection[str] = (),
) -> SourcePolicy | None:
    """Return what is done with a source's events; None when they are taken as they come.

    :param asked: what a request itself asks for, which counts where it is stricter.
    :param addresses: as in ``SourcePolicy``, like ``nobody``.
    """
    policy = SourcePolicy(source, stricter(source.ip, asked), addresses=addresses, nobody=nobody)
    return policy if policy.does_something else None
