"""A configuration that consists of environment variables alone.

Each plain value of a table has a variable: a prefix and the key, as in ``GATEWAY_ADMIN_PORT``.
"""

import difflib
import re
import typing
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.config.kinds import item_of, keys_of, tables_of, tag_of
from gateway.config.reader import ConfigReader, KeyPath

__all__ = ["named", "read_variables", "unread_variables"]

_ALIASES = {"MIXPANEL_API_REGION": "MIXPANEL_REGION"}
"""Other names that a variable may have."""

_REQUIRED = frozenset({"MIXPANEL_PROJECT_TOKEN", "WRITE_KEY"})

_OURS = re.compile("(GATEWAY|MIXPANEL)_.+")

_SERVICE_LINK = re.compile(
    r".+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://\S+")
"""What Kubernetes tells containers of a service; one called gateway sets GATEWAY_PORT."""

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)")


def named(
    prefix: str, place: KeyPath, table: type[msgspec.Struct], *, but: Iterable[str] = ()
) -> dict[KeyPath, str]:
    """Return the variable of each plain value and list of a table, by the value's place.

    :param but: keys that have none.
    """
    tag = tag_of(table)
    names = [tag[0]] if tag else []
    names += (name for name, key in keys_of(table).items() if _is_plain(key.kind))
    return {(*place, name): f"{prefix}_{_in_capitals(name)}" for name in names if name not in but}


def read_variables(
    names: Mapping[KeyPath, str],
    environ: Mapping[str, str],
    reader: ConfigReader,
    *,
    fallback: Mapping[str, str] = MappingProxyType({}),
) -> tuple[dict[Any, Any], dict[KeyPath, str]]:
    """Return the file one would write to read these variables; an empty one counts as not set.

    A variable with one of our prefixes that is not known is a mistake, as an unknown key is.

    :param names: the variables that there are.
    :param reader: gets the mistakes.
    :param fallback: variables that count as set where the environment has none.
    :returns: the document, and what the variable of each place is called here.
    """
    given, environ = environ, {**fallback, **environ}
    document: dict[str, Any] = {
        "sources": [{"name": "default"}],
        "destinations": [{"name": "mixpanel", "settings": {}}],
    }
    called = dict(names)
    for place, variable in names.items():
        alias = _ALIASES.get(variable, variable)
        if _is_set(alias, environ):
            if _is_set(variable, environ) and environ[alias] != environ[variable]:
                reader.report((alias,), f"differs from {variable}; accepted: one of the two")
            called[place] = variable = alias
        if _is_set(variable, environ):
            _put(document, place, f"${{{variable}}}")
        elif variable in _REQUIRED:
            reader.report(
                place, "not set; accepted: set it, or write a configuration file (--config FILE)"
            )
    known = {*names.values(), *_ALIASES.values()}
    for variable in sorted(given):
        if variable in known or not _is_set(variable, given):
            continue
        meant = _meant_by(variable, known)
        # One with the letters of ours is somebody else's where ours is set, too. Shells set `_`,
        # which has no letters at all.
        is_misspelt = (
            meant != "" and _letters(variable) == _letters(meant) and not _is_set(meant, given)
        )
        if _may_be_ours(variable, known) or is_misspelt:
            hint = f" did you mean {meant}?" if meant else ""
            reader.report(
                (variable,),
                f"unknown variable;{hint} accepted: those of gateway config keys; unset others",
            )
    return document, called


def unread_variables(
    path: Path, names: Mapping[KeyPath, str], environ: Mapping[str, str]
) -> list[str]:
    """Return the variables with our prefixes that are set, though nothing reads them.

    :param path: of the configuration file, which alone says what counts.
    """
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError:
        return []
    read = set(_REFERENCE.findall(text))
    known = {*names.values(), *_ALIASES.values()} - _REQUIRED
    return sorted(
        variable
        for variable in environ
        if (variable in known or _may_be_ours(variable, known))
        and variable not in read
        and _is_set(variable, environ)
    )


def _may_be_ours(variable: str, known: Collection[str]) -> bool:
    """Whether a variable has one of our prefixes, or is ours but for capitals."""
    return _OURS.fullmatch(variable) is not None or (
        variable not in known and variable.upper() in known
    )


def _meant_by(variable: str, known: Collection[str]) -> str:
    """Return the known variable that an unknown one may stand for, "" for none."""
    capitals = variable.upper()
    without_prefix = capitals.partition("_")[2]
    for exact in (capitals, without_prefix):
        if exact in known:
            return exact
    for each in known:
        if _letters(each) == _letters(variable):
            return each
    return next(iter(difflib.get_close_matches(capitals, known, n=1)), "")


def _letters(variable: str) -> str:
    """Return a name without what is easily mistyped."""
    return variable.upper().replace("_", "").replace("-", "")


def _is_set(variable: str, environ: Mapping[str, str]) -> bool:
    """Whether somebody has set it, and not Kubernetes."""
    text = environ.get(variable, "")
    return bool(text) and not (
        _SERVICE_LINK.fullmatch(variable) or _SERVICE_LINK_VALUE.fullmatch(text)
    )


def _is_plain(kind: Any) -> bool:
    kind = item_of(kind) or kind
    inner = typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind
    return not tables_of(kind) and typing.get_origin(inner) is not dict


def _in_capitals(key: str) -> str:
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", key).upper()


def _put(document: dict[Any, Any], place: KeyPath, value: str) -> None:
    table: Any = document
    for step in place[:-1]:
        table = table[step] if isinstance(step, int) else table.setdefault(step, {})
    table[place[-1]] = value
