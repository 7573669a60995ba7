"""Every error the gateway raises on purpose.

    GatewayError
    +-- ConfigError          the configuration is wrong; carries every mistake found
    +-- SpoolError
    |   +-- SpoolUnavailable nothing was written; the client is told to come back
    |   +-- SpoolLocked      another process owns the file
    +-- RequestError         an answer to the client other than 200

Expected outcomes of a delivery are values (``gateway.delivery``), not exceptions.
"""

from collections.abc import Sequence

__all__ = [
    "ConfigError",
    "GatewayError",
    "RequestError",
    "SpoolError",
    "SpoolLocked",
    "SpoolUnavailable",
]


class GatewayError(Exception):
    """Root of the tree."""


class ConfigError(GatewayError):
    """The configuration cannot be used.

    :param problems: one line a mistake, each starting with the key's path.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class SpoolError(GatewayError):
    """Something about the durable buffer."""


class SpoolUnavailable(SpoolError):
    """The spool cannot make records durable now; nothing of the request was kept.

    :param detail: what happened and where, for the operator.
    :param retry_after_s: whole seconds after which a client may try again.
    """

    def __init__(self, detail: str, *, retry_after_s: int = 5) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s


class SpoolLocked(SpoolError):
    """Another process owns the spool file."""


class RequestError(GatewayError):
    """A request that is answered with an error.

    :param status: HTTP status.
    :param code: stable machine-readable word, e.g. ``invalid_json``.
    :param message: what is wrong and what to do, for a person.
    :param retry_after_s: whole seconds, for answers that invite a retry.
    :param close: whether the connection is unusable afterwards.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        retry_after_s: int | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
        self.close = close
