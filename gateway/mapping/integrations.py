"""Whether what an event says of ``integrations`` keeps it from a destination.

It is written in many ways: ``{"All": false}``, ``{"all": "False"}``, ``{"Mixpanel (Actions)": 0}``,
``{"MP": {"enabled": false}}``, and all of these as text.
An event that its user may not have agreed to stays: what may be meant as a no keeps it, and only a
plain yes lets it go after all.
"""

from collections.abc import Callable, Iterable

import msgspec

from gateway.events import integrations_of

__all__ = ["NAMES", "keeper"]

NAMES = ("Mixpanel", "Mixpanel (Actions)", "Mixpanel (Legacy)", "actions-mixpanel", "MP")
"""What ``integrations`` may call a destination, beside its configured name."""

_EVERY = "all"
_ON = frozenset({"enabled", "enable", "isenabled"})
_OFF = frozenset({"disabled", "disable", "isdisabled"})
_VAGUE = frozenset({"yes", "y", "on", "1", "enabled"})
_KEPT = ("kept",)
_LET_GO = (None,)


def keeper(names: Iterable[str]) -> Callable[[str], tuple[str | None]]:
    """Return a function that says "kept" of the JSON of an ``integrations``, or None.

    :param names: what the destination may be called; neither case nor punctuation matters.
    """
    ours = frozenset(map(_bare, names))

    def read(text: str) -> tuple[str | None]:
        try:
            given = msgspec.json.decode(integrations_of(text.encode()) or b"{}")
        except (msgspec.DecodeError, RecursionError):
            return _KEPT
        said = [(_bare(name), value) for name, value in given.items()]
        own = [value for name, value in said if name in ours]
        if any(map(_is_plain_yes, own)):
            return _LET_GO
        general = (value for name, value in said if name == _EVERY)
        return _KEPT if any(map(_is_no, (*own, *general))) else _LET_GO

    return read


def _bare(name: str) -> str:
    """Return what of a name is compared: "Mixpanel (Actions)" is mixpanel_actions."""
    return "".join(filter(str.isalnum, name.casefold())) or name


def _word(value: object) -> str:
    return value.strip().casefold() if isinstance(value, str) else ""


def _is_plain_yes(value: object) -> bool:
    if isinstance(value, dict):  # options are for a destination that is to get it
        return not _is_switched_off(value)
    return value is True or value == 1 or _word(value) == "true"


def _is_switched_off(options: dict[str, object]) -> bool:
    """Whether options say by a switch of their own that the destination is to get nothing."""
    said = [(_bare(name), value) for name, value in options.items() if value is not None]
    return any(_is_no(value) for name, value in said if name in _ON) or any(
        _is_plain_yes(value) for name, value in said if name in _OFF
    )


def _is_no(value: object) -> bool:
    """Whether a value is, or may be meant as, a no.

    A list is none: an empty one is what PHP makes of an empty object.
    """
    if isinstance(value, dict):
        return _is_switched_off(value)
    if isinstance(value, list):
        return False
    if isinstance(value, str):
        return not (_word(value) == "true" or _word(value) in _VAGUE)
    return not value
