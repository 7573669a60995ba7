"""From a file or the environment to one frozen value, with every mistake at once."""

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import msgspec
from msgspec import UNSET

from gateway.config.reader import ConfigReader, KeyPath, read_document
from gateway.config.schema import (
    AdminConfig,
    Config,
    DestinationConfig,
    DestinationSettings,
    ServerConfig,
    ServiceAccount,
    SpoolConfig,
)
from gateway.config.values import UNITS
from gateway.config.variables import named, read_variables
from gateway.errors import ConfigError

__all__ = ["VARIABLES", "Check", "load"]

Check: TypeAlias = Callable[[Config, ConfigReader], None]
"""Reports mistakes of a configuration in which values that could not be read are UNSET."""


def load(
    path: Path | None,
    environ: Mapping[str, str] | None = None,
    *,
    fallback: Mapping[str, str] = MappingProxyType({}),
    checks: Sequence[Check] = (),
) -> Config:
    """Return the configuration of a file or, without one, of the environment alone.

    :param path: a TOML, YAML or JSON file; paths in it are relative to its folder.
    :param environ: the variables that ``${NAME}`` in the file's values, or without a file the
        names in ``VARIABLES``, refer to; the process's own by default.
    :param fallback: variables that count as set where the environment has none.
    :param checks: report what only other parts of the program can find wrong.
    :raises ConfigError: every mistake at once; none repeats a secret or the environment's text.
    """
    given = os.environ if environ is None else environ
    reader = ConfigReader({**fallback, **given}, UNITS)
    if path is None:
        document, names = read_variables(VARIABLES, given, reader, fallback=fallback)
    else:
        document, names = read_document(path), {}
    config = _with_names(reader.read(Config, document))
    if path is not None:
        config = _anchored(config, path.absolute().parent, reader)
    own = (
        *(_check_names, _check_references, _check_default, _check_limits),
        *(_check_room, _check_listeners),
    )
    for check in (*own, *checks):
        check(config, reader)
    if reader.problems:
        raise ConfigError(reader.lines(names))
    return config


_SETTINGS: KeyPath = ("destinations", 0, "settings")

VARIABLES: Mapping[KeyPath, str] = {
    **named("MIXPANEL", _SETTINGS, DestinationSettings),
    **named("MIXPANEL_SERVICE_ACCOUNT", (*_SETTINGS, "serviceAccount"), ServiceAccount),
    **named("MIXPANEL", ("destinations", 0), DestinationConfig, but=("name", "type")),
    ("sources", 0, "write_key"): "WRITE_KEY",
    **named("GATEWAY", ("server",), ServerConfig),
    **named("GATEWAY_ADMIN", ("admin",), AdminConfig),
    **named("GATEWAY_SPOOL", ("spool",), SpoolConfig),
}
"""What each environment variable stands for where there is no file."""


def _anchored(config: Config, folder: Path, reader: ConfigReader) -> Config:
    """Return the configuration with the paths of its file made whole.

    A service is started from anywhere; what waits in the spool must be found again.
    """
    replace = msgspec.structs.replace
    given = config.spool.path
    if isinstance(given, str):
        path = folder / given
        if not path.exists() and path != Path(given).absolute() and any(Path(given).glob("*.db")):
            reader.report(
                ("spool", "path"),
                f"is relative to the folder of the file, where there is no {path}, but there is a "
                f"spool in {Path(given).absolute()}; accepted: move it, or give the whole path",
            )
        config = replace(config, spool=replace(config.spool, path=str(path)))
    files = {
        name: str(folder / value)
        for name in ("tls_cert", "tls_key", "browser_bundle")
        if isinstance(value := getattr(config.server, name), str)
    }
    return replace(config, server=replace(config.server, **files)) if files else config


def _with_names(config: Config) -> Config:
    """Give every destination without a name the next free default."""
    taken = {destination.name for destination in config.destinations}
    defaults = itertools.chain(["mixpanel"], (f"mixpanel-{n}" for n in itertools.count(2)))
    free = (name for name in defaults if name not in taken)
    destinations = tuple(
        item if item.name != "" else msgspec.structs.replace(item, name=next(free))
        for item in config.destinations
    )
    return msgspec.structs.replace(config, destinations=destinations)


# The checks below see a configuration in which unreadable values are UNSET: they concern only what
# depends on more than one value, so that these mistakes too are reported together with the others.


def _check_names(config: Config, reader: ConfigReader) -> None:
    for key in ("sources", "destinations"):
        if not getattr(config, key):
            reader.report((key,), "empty; accepted: at least one")
    _check_distinct(reader, "sources", "name", [item.name for item in config.sources])
    _check_distinct(reader, "sources", "write_key", [item.write_key for item in config.sources])
    _check_distinct(reader, "destinations", "name", [item.name for item in config.destinations])


def _check_distinct(reader: ConfigReader, key: str, field: str, values: Sequence[object]) -> None:
    for i, value in enumerate(values):
        if value is not UNSET and value in values[:i]:
            first = f"{key}[{values.index(value)}].{field}"
            reader.report((key, i, field), f"the same as {first}; accepted: a different one")


def _check_references(config: Config, reader: ConfigReader) -> None:
    given = [destination.name for destination in config.destinations]
    names = _names_shown(reader, "destinations", given)
    if not names or UNSET in names:
        return  # what is meant may be the one that could not be read
    for i, source in enumerate(config.sources):
        for j, name in enumerate(source.destinations):
            place = ("sources", i, "destinations", j)
            if name in source.destinations[:j]:
                reader.report(place, "listed before; accepted: each destination once")
            elif name not in names:
                got, accepted = reader.got(place, name), ", ".join(names.values())
                reader.report(place, f"no destination has this name{got}; accepted: {accepted}")


def _check_default(config: Config, reader: ConfigReader) -> None:
    name = config.server.default_source
    names = _names_shown(reader, "sources", [source.name for source in config.sources])
    if isinstance(name, str) and names and UNSET not in names and name not in names:
        place = ("server", "default_source")
        got, accepted = reader.got(place, name), ", ".join(names.values())
        reader.report(place, f"no source has this name{got}; accepted: {accepted}")


def _names_shown(reader: ConfigReader, key: str, names: Sequence[str]) -> dict[object, str]:
    """Return what to call each name; the environment's text is never shown."""
    return {
        name: f"that of {key}[{i}]" if (key, i, "name") in reader.substituted else name
        for i, name in enumerate(names)
    }


def _check_limits(config: Config, reader: ConfigReader) -> None:
    """Check the names of subscriptions and of the sources that they are limited to."""
    known = _names_shown(reader, "sources", [source.name for source in config.sources])
    for i, destination in enumerate(config.destinations):
        place = ("destinations", i, "subscriptions")
        seen: set[str] = set()
        for j, subscription in enumerate(destination.subscriptions):
            if subscription.name and subscription.name in seen:
                reader.report((*place, j, "name"), "used before; accepted: a different one")
            seen.add(subscription.name)
            for k, name in enumerate(subscription.sources):
                if name not in known and UNSET not in known:
                    at = (*place, j, "sources", k)
                    got, accepted = reader.got(at, name), ", ".join(known.values())
                    reader.report(at, f"no source has this name{got}; accepted: {accepted}")


def _check_room(config: Config, reader: ConfigReader) -> None:
    """Check that half the room, which arriving bodies share, has some to spare for the largest."""
    room: object = config.server.max_bytes_in_flight
    for name in ("max_body_bytes", "max_import_bytes"):
        largest: object = getattr(config.server, name)
        if isinstance(largest, int) and isinstance(room, int) and room < 4 * largest:
            reader.report(
                ("server", "max_bytes_in_flight"),
                f"too small for server.{name}; accepted: at least {4 * largest}",
            )
    header: object = config.server.max_header_bytes
    head: object = config.server.max_head_bytes
    if isinstance(header, int) and isinstance(head, int) and head < header:
        reader.report(
            ("server", "max_head_bytes"),
            f"too small for server.max_header_bytes; accepted: at least {header}",
        )


def _check_listeners(config: Config, reader: ConfigReader) -> None:
    server, admin = config.server, config.admin
    if server.port == admin.port != 0:
        reader.report(
            ("admin", "port"), "the same as server.port; accepted: another, or 0 for any free one"
        )
    for absent, given in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
        if getattr(server, absent) is None and getattr(server, given) is not None:
            reader.report(
                ("server", absent), f"missing, but server.{given} is set; accepted: both or neither"
            )
