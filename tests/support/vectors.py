"""The vectors: what must come out for what goes in."""

import json
import re
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from gateway.config import Config, load

__all__ = ["VECTORS", "Case", "configured", "expected", "load_cases"]

VECTORS = Path(__file__).parent.parent / "vectors"

_GENERATED_ID = re.compile(r"[A-Za-z0-9-]{1,36}")
_RECEIVED = re.compile(r"<received(?:-(\d+))?>")


@dataclass(frozen=True, slots=True)
class Case:
    """One event and the records it becomes, as (endpoint, record) in the order of the vectors."""

    label: str
    settings: dict[str, Any]
    event: dict[str, Any]
    records: tuple[tuple[str, Any], ...]
    rejected: str | None


def load_cases(profile: str) -> list[Case]:
    cases = json.loads((VECTORS / f"{profile}.json").read_text("utf-8"))
    return [
        Case(
            label=case["label"],
            settings=case["settings"],
            event=case["input"],
            records=tuple((one["endpoint"][1:], one["record"]) for one in case["expect"]),
            rejected=case.get("rejected"),
        )
        for case in cases
    ]


def configured(
    directory: Path, profile: str, settings: dict[str, Any], **destination: object
) -> Config:
    """Return a configuration as an operator would write it: one source, one destination."""
    document = {
        "server": {"port": 0},
        "admin": {"port": 0},
        "spool": {"path": str(directory / "spool"), "min_free_bytes": 0},
        "sources": [{"name": "sdk", "write_key": "KEY"}],
        "destinations": [
            {
                "name": "mp",
                "profile": profile,
                "settings": {"projectToken": "TOKEN", "apiSecret": "SECRET"} | settings,
                **destination,
            }
        ],
    }
    path = directory / "gateway.json"
    path.write_text(json.dumps(document), "utf-8")
    return load(path, {})


def expected(pattern: Any, actual: Any, received_ms: int) -> Any:
    """Return what a value must be, with the placeholders filled in.

    ``<generated>`` stands for any valid id, so a valid one is taken from the actual value.
    """
    if isinstance(pattern, dict):
        members = actual if isinstance(actual, dict) else {}
        return {key: expected(one, members.get(key), received_ms) for key, one in pattern.items()}
    if isinstance(pattern, list):
        items = actual if isinstance(actual, list) else []
        return [
            expected(one, found, received_ms)
            for one, found in zip_longest(pattern, items[: len(pattern)])
        ]
    if isinstance(pattern, str):
        if pattern == "<generated>" and _GENERATED_ID.fullmatch(str(actual)):
            return actual
        if placeholder := _RECEIVED.fullmatch(pattern):
            return received_ms - int(placeholder[1] or 0)
    return pattern
