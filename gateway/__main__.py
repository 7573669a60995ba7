"""``python -m gateway`` is ``gateway``."""

import os
import signal
import sys

from gateway.output import checked_output

__all__ = ["main"]

_SERVE = ("run", "sandbox")
_EARLY = (
    *(signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2),
    *(signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO),
)
"""What must not end a command that serves; ``gateway.signals`` has all, and is loaded later."""
_EARLY_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def main() -> None:
    """Run the command that was typed."""
    if sys.argv[1:2] and sys.argv[1] in _SERVE:
        for number in _EARLY:
            signal.signal(number, signal.SIG_IGN)
        for number in _EARLY_STOPS:
            # Nothing is under way yet; ``gateway.signals.Signals`` takes over before anything is.
            signal.signal(number, lambda *_: os._exit(0))
    with checked_output():
        from gateway.cli import main as run  # noqa: PLC0415 - takes its time

        run()


if __name__ == "__main__":
    main()
