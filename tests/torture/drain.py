"""SIGTERM under load, again and again: nothing is lost, and each ends well and soon."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.support.raw_http import Wire
from tests.torture import Figures
from tests.torture.stage import SHUTDOWN_TIMEOUT_S, staged

__all__ = ["run"]

_MARGIN_S = 5.0


async def run(
    directory: Path,
    *,
    seed: int = 1,
    restarts: int = 100,
    events_per_s: float = 1500.0,
    progress: Callable[[str], None] = lambda _: None,
) -> Figures:
    """Restart it that often; return figures.

    :raises AssertionError: a promise is broken.
    """
    rng = Random(seed)
    loop = asyncio.get_running_loop()
    stops: list[float] = []
    under_way: set[tuple[Wire, int]] = set()
    async with staged(directory, seed=seed, events_per_s=events_per_s, chaos=0.0) as stage:
        async with stage.sending():
            for done in range(restarts):
                await asyncio.sleep(rng.uniform(0.2, 0.8))
                under_way |= stage.direct.under_way()
                began = loop.time()
                code = await stage.gateway.terminate()
                stops.append(loop.time() - began)
                assert code == 0, f"exit code {code}"
                await stage.gateway.restart()
                await stage.check_ledger()
                progress(f"{done + 1} of {restarts} restarts, {stage.events()} events")
        verdict = await stage.settle(directory)
        verdict.assert_holds()
        # Requests have that long, and then delivery has.
        bound = 2 * SHUTDOWN_TIMEOUT_S + _MARGIN_S
        assert max(stops) <= bound, f"it took {max(stops):.1f} s to end, not {bound:g} s"
        assert under_way, "no restart met a request under way"
        # A few may still have been in the kernel, where the gateway had not seen them.
        lost = under_way & stage.direct.cut_off
        assert len(lost) <= len(under_way) / 20, f"{len(lost)} of {len(under_way)} cut off"
        answers = stage.direct.answers
        return {
            "restarts": restarts,
            "requests under way at SIGTERM": len(under_way),
            "of those cut off": len(lost),
            "requests answered 200": answers["200"],
            "requests answered 503": answers["503"],
            "requests cut off": answers["cut off"],
            "acknowledged records": verdict.due,
            "missing": verdict.missing,
            "invented": verdict.invented,
            "corrupted": verdict.corrupted,
            "duplicates of events": verdict.duplicates,
            "duplicates before deduplication": verdict.repeated,
            "slowest stop, s": round(max(stops), 2),
        }
