"""``python -m gateway`` is ``gateway``."""

import signal
import sys

__all__ = ["main"]

_SERVE = ("run", "sandbox")
_EARLY = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
"""What must not end a command that serves; ``gateway.signals`` has all, and is loaded later."""


def main() -> None:
    """Run the command that was typed."""
    if sys.argv[1:2] and sys.argv[1] in _SERVE:
        for number in _EARLY:
            signal.signal(number, signal.SIG_IGN)
    from gateway.cli import main as run  # noqa: PLC0415 - takes its time

    run()


if __name__ == "__main__":
    main()
