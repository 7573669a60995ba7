"""Two sources that send to three projects through bad networks, and what has to hold."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

from tests.support.chaos import PASS, ChaosProxy, random_schedule
from tests.support.conservation import Conservation, Sent, conserve
from tests.support.gateways import ConfiguredGateway, Project, Source
from tests.support.sink import Sink
from tests.support.traffic import Traffic

__all__ = ["SHUTDOWN_TIMEOUT_S", "Stage", "staged"]

SHUTDOWN_TIMEOUT_S = 2.0

_NAMES = ("alpha", "beta", "gamma")
_SOURCES = (Source("key-web", ("alpha", "beta")), Source("key-app", ("beta", "gamma")))
_DRAIN_S = 180.0


class Stage:
    """The gateway and what is around it.

    :ivar networks: between the gateway and each of its projects.
    :ivar front: between one of the sources and the gateway.
    :ivar direct: the other source.
    """

    def __init__(
        self,
        gateway: ConfiguredGateway,
        sink: Sink,
        traffics: Sequence[Traffic],
        networks: Sequence[ChaosProxy],
        front: ChaosProxy,
    ) -> None:
        self.gateway = gateway
        self.sink = sink
        self.networks = networks
        self.front = front
        self.direct = traffics[0]
        self._traffics = traffics

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Send events until the context ends."""
        async with AsyncExitStack() as stack:
            for traffic in self._traffics:
                await stack.enter_async_context(traffic)
            yield

    async def calm(self) -> None:
        """End all misbehaviour."""
        for proxy in (*self.networks, self.front):
            proxy.behave(PASS)
            await proxy.accept()

    def in_flight(self) -> int:
        """Return how many requests wait for their answer."""
        return sum(len(traffic.under_way()) for traffic in self._traffics)

    def events(self) -> int:
        """Return how many events have been sent."""
        return sum(len(traffic.fates) for traffic in self._traffics)

    def struck(self) -> int:
        """Return how often the networks have misbehaved."""
        return sum(proxy.struck.total() for proxy in (*self.networks, self.front))

    async def check_ledger(self) -> None:
        """Fail unless nothing has vanished, and all that was acknowledged is in the ledger."""
        acknowledged = self._acknowledged()  # before the ledger, which only grows
        for name, ledger in (await self.gateway.ledgers()).items():
            assert ledger["gap"] == 0, (name, ledger)
            assert ledger["dead_lettered"] == 0, (name, ledger)
            assert ledger["accepted"] >= acknowledged[name], (
                f"{name}: {acknowledged[name]} records were acknowledged: {ledger}"
            )

    async def settle(self, directory: Path) -> Conservation:
        """Wait until everything is delivered, and compare it with what was sent."""
        await self.gateway.drained(_DRAIN_S)
        await self.check_ledger()
        sent = [Sent.by(traffic) for traffic in self._traffics]
        total = Conservation()
        for number, name in enumerate(_NAMES):
            due = [
                each
                for each, source in zip(sent, _SOURCES, strict=True)
                if name in source.destinations
            ]
            total += conserve(due, await self.sink.arrivals(number, directory))
        return total

    def _acknowledged(self) -> dict[str, int]:
        counts = dict.fromkeys(_NAMES, 0)
        for source, traffic in zip(_SOURCES, self._traffics, strict=True):
            for name in source.destinations:
                counts[name] += traffic.acknowledged
        return counts


@asynccontextmanager
async def staged(
    directory: Path, *, seed: int, events_per_s: float, chaos: float, program: Path | None = None
) -> AsyncIterator[Stage]:
    """Start everything; nothing is sent yet.

    :param chaos: share of the connections, on both sides, that misbehave.
    :param program: another gateway than the real one.
    """
    rng = Random(seed)
    async with AsyncExitStack() as stack:
        sink = await stack.enter_async_context(Sink([f"token-{name}" for name in _NAMES]))
        networks = []
        for url in sink.urls:
            schedule = random_schedule(Random(rng.random()), share=chaos, within_bytes=200_000)
            networks.append(await stack.enter_async_context(ChaosProxy(url, schedule)))
        gateway = ConfiguredGateway(
            directory,
            [
                Project(name, f"token-{name}", network.url)
                for name, network in zip(_NAMES, networks, strict=True)
            ],
            _SOURCES,
            delivery={"batch_records": 200},
            sections={"server": {"shutdown_timeout_s": SHUTDOWN_TIMEOUT_S}},
            program=program,
        )
        await stack.enter_async_context(gateway)
        before_gateway = random_schedule(
            Random(rng.random()),
            share=chaos,
            within_bytes=100_000,
            actions=("stall", "cut", "reset", "lose_answer"),
        )
        front = await stack.enter_async_context(ChaosProxy(gateway.url, before_gateway))
        traffics = [
            Traffic(
                url, write_key=source.write_key, seed=2 * seed + i, events_per_s=events_per_s / 2
            )
            for i, (url, source) in enumerate(zip((gateway.url, front.url), _SOURCES, strict=True))
        ]
        yield Stage(gateway, sink, traffics, networks, front)
