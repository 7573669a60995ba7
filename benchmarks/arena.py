"""Everything around a subject: a folder, a sink, the load."""

import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from benchmarks import corpus
from benchmarks.load.fleet import Fleet
from benchmarks.load.traffic import Gzip, Traffic, prepare, save
from benchmarks.processes import Broken, Program, python, require_linux
from benchmarks.sink import ACCEPTED
from benchmarks.subjects.base import OwnSink, Subject, new_sink
from benchmarks.subjects.gateway import Gateway
from benchmarks.subjects.peers import PEERS

__all__ = ["OWN", "SANDBOX", "Arena", "Setting"]

OWN = "own"
SANDBOX = "sandbox"
_LASTING = Path("/var/tmp")  # noqa: S108 - a folder of its own is made there
_MIXPANEL = "mixpanel.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all benchmarks of a run have in common.

    :param processes: of the load.
    :param connections: of the load, in all its processes together.
    :param per_connection: requests on each before a new one takes its place; 0 for all.
    :param events: different ones in a load.
    :param workers: processes of the gateway, as ``server.workers`` has it.
    :param spool: folder for the gateway's spool; None for one of temporary files on a disk.
    :param sink: where the gateway delivers: ``own``, ``sandbox``, or the URL of another one.
    """

    processes: int = 2
    connections: int = 64
    per_connection: int = 0
    gzip: Gzip = Gzip.SDK
    events: int = 20_000
    seed: int = corpus.SEED
    workers: int = 1
    spool: Path | None = None
    sink: str = OWN

    @property
    def spool_folder(self) -> Path:
        """The folder for the gateway's spool; temporary files may be in memory elsewhere."""
        return self.spool or (_LASTING if _LASTING.is_dir() else Path(tempfile.gettempdir()))


class Arena:
    """Use it as a context: at its end every process and file of it is gone.

    :raises Broken: (on entering) it cannot be built.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._stack = ExitStack()
        self._fleets: dict[Traffic, Fleet] = {}
        self._started = 0
        self._directory = Path()
        self._sink: OwnSink | None = None
        self._sink_url = ""

    def __enter__(self) -> Self:
        require_linux()
        try:
            self._directory = Path(
                self._stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmarks-"))
            )
            self._start_sink(self._setting.sink)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def sink_program(self) -> Program | None:
        """The sink's process where that is ours."""
        return self._own_sink().program if self._setting.sink == OWN else None

    def traffic(self, batch: int | None) -> Traffic:
        """Return what is sent in batches of that size; None for those that SDKs send."""
        setting = self._setting
        return Traffic(batch=batch, gzip=setting.gzip, events=setting.events, seed=setting.seed)

    def fleet(self, traffic: Traffic) -> Fleet:
        """Return what sends this; it is made once."""
        if traffic not in self._fleets:
            requests = prepare(traffic)
            if not requests:
                raise Broken(f"{traffic.events} events are too few for {traffic.title}")
            path = self._directory / f"requests-{len(self._fleets)}"
            save(requests, path)
            self._fleets[traffic] = Fleet(
                path,
                len(requests),
                processes=self._setting.processes,
                connections=self._setting.connections,
                per_connection=self._setting.per_connection,
                directory=self._directory,
                body=ACCEPTED,
                seed=traffic.seed,
            )
        return self._fleets[traffic]

    def gateway(self, *, delivers: bool = True) -> Gateway:
        """Return a gateway, not started."""
        return Gateway(
            self._new_directory("gateway"),
            spool=self._setting.spool_folder,
            workers=self._setting.workers,
            sink=self._own_sink() if delivers and self._setting.sink == OWN else None,
            sink_url=self._sink_url if delivers else None,
        )

    def peers(self, names: Iterable[str]) -> tuple[list[Subject], dict[str, str]]:
        """Return these peers, not started, and how to install those that are missing."""
        subjects: list[Subject] = []
        missing: dict[str, str] = {}
        for peer in PEERS:
            if peer.name not in names:
                continue
            if how := peer.missing():
                missing[peer.name] = f"not installed: {how}"
            else:
                subjects.append(peer(self._new_directory(peer.name), self._own_sink()))
        return subjects, missing

    def _own_sink(self) -> OwnSink:
        """Return our sink, to which peers deliver whatever the gateway delivers to."""
        if self._sink is None:
            self._sink = new_sink(self._stack, self._directory)
        return self._sink

    def _start_sink(self, sink: str) -> None:
        if sink == OWN:
            self._sink_url = self._own_sink().url
        elif sink == SANDBOX:
            log = self._directory / "sandbox.log"
            command = python("gateway", "sandbox", "--port=0", "--keep=0", "--no-validate")
            program = self._stack.enter_context(Program("the sandbox", command, log=log))
            self._sink_url = program.wait_for(r"(http://\S+)")[1]
        elif (urlsplit(sink).hostname or "").endswith(_MIXPANEL):
            raise Broken("a benchmark must not post to Mixpanel; give it a stand-in")
        else:
            self._sink_url = sink

    def _new_directory(self, name: str) -> Path:
        self._started += 1
        directory = self._directory / f"{name}-{self._started}"
        directory.mkdir()
        return directory
