"""A gateway process with any configuration."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.processes import GatewayProcess

__all__ = ["ConfiguredGateway", "Project", "Source"]


class Project(NamedTuple):
    """A destination."""

    name: str
    token: str
    base_url: str


class Source(NamedTuple):
    """Who may send, and where it goes."""

    write_key: str
    destinations: tuple[str, ...]


class ConfiguredGateway(GatewayProcess):
    """``gateway run`` with several sources and destinations.

    :param delivery: ``[destinations.delivery]`` of all of them.
    :param sections: other sections of the configuration.
    """

    def __init__(
        self,
        directory: Path,
        projects: Sequence[Project],
        sources: Sequence[Source],
        *,
        delivery: Mapping[str, Any] | None = None,
        sections: Mapping[str, Mapping[str, Any]] | None = None,
        program: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(directory, "", program=program, env=env)
        self._sections = {"server": {}, "admin": {}, "spool": {}, **(sections or {})}
        self._lists = {
            "sources": [
                {"name": f"source-{i}", "write_key": key, "destinations": names}
                for i, (key, names) in enumerate(sources)
            ],
            "destinations": [
                {
                    "name": name,
                    "base_url": base_url,
                    "delivery": dict(delivery or {}),
                    "settings": {"projectToken": token},
                }
                for name, token, base_url in projects
            ],
        }

    def config(self) -> Path:
        """Write the configuration; return its path."""
        config: dict[str, Any] = {name: dict(each) for name, each in self._sections.items()}
        config["server"]["port"], config["admin"]["port"] = self.ports
        config["spool"]["path"] = str(self.spool)
        path = self.directory / "gateway.json"
        path.write_text(json.dumps({**config, **self._lists}))
        return path

    @property
    def spool(self) -> Path:
        """Where its spool is."""
        return self.directory / "spool"

    def spool_bytes(self) -> int:
        """Return how much room the spool's files take."""
        return sum(path.stat().st_size for path in self.spool.iterdir())

    async def ledgers(self) -> dict[str, dict[str, int]]:
        """Return the ledger of each destination."""
        status = await self.statusz()
        return {name: each["ledger"] for name, each in status["destinations"].items()}
