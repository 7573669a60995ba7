"""Compile a declarative JSON-to-JSON mapping once, run it on raw bytes many times.

    mapping = Mapping(inputs=("name", "context"), records=(...))
    plan = compile(mapping)
    out = Buffer()
    plan.run(event, [out], received_ms)
    out.take()  # newline-delimited JSON

``fastmap.spec`` is the language.  Values that are only carried over are never decoded.
"""

from collections.abc import Collection

from fastmap import spec
from fastmap._beside import has_list_beside
from fastmap._buffer import Buffer
from fastmap._fold import Folded, fold
from fastmap._plan import Dispatch, Plan, Reasons
from fastmap._recover import Group, Shapes, recover
from fastmap._scan import is_deeper, is_utf8, parts, without_lone_surrogates
from fastmap._times import parse_time
from fastmap.compiler import compile_mapping
from fastmap.errors import FastmapError, MalformedInput, SpecError

__all__ = [
    "Buffer",
    "Dispatch",
    "FastmapError",
    "Folded",
    "Group",
    "MalformedInput",
    "Plan",
    "Reasons",
    "Shapes",
    "SpecError",
    "compile",
    "fold",
    "has_list_beside",
    "is_deeper",
    "is_utf8",
    "parse_time",
    "parts",
    "recover",
    "spec",
    "without_lone_surrogates",
]


def compile(  # noqa: A001 - as re.compile
    mapping: spec.Mapping | spec.Choice, objects: Collection[str] = ()
) -> Plan:
    """Return a plan that runs a mapping, or a choice of several.

    :param objects: inputs that are objects; others that come in their place are counted as dropped.
    :raises SpecError: the mapping contradicts itself.
    """
    return Plan(compile_mapping(mapping), objects)
