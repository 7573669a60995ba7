"""The certificate of the port: read, tried, and replaced while connections go on.

A handshake takes the certificate that is current when it begins, so that a new one costs no
connection.  A pair of files that cannot be used never takes the place of one that can.
"""

import asyncio
import logging
import os
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Never

from gateway.clock import Clock
from gateway.config import Config
from gateway.config.reader import ConfigReader
from gateway.errors import GatewayError
from gateway.telemetry import Telemetry

__all__ = [
    "Certificate",
    "CertificateError",
    "CurrentCertificate",
    "check_certificate",
    "expiry_warning",
    "load",
]

_log = logging.getLogger(__name__)

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption only; 1.3 has no others."""

_IGNORE_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, which ssl has no name for

_SOON_S = 14 * 86_400
_SOON_SHARE = 1 / 3  # of its whole time, for certificates of a few days
_WARN_EVERY_S = 12 * 3600

_LOOK_S = 1.0
"""How often the files are looked at.  They count when they are the same twice, so that a pair that
is being written is left alone."""


class CertificateError(GatewayError):
    """A certificate and key that cannot be used.

    :param key: of the configuration's ``[server]``, the file at fault.
    :param problem: what is wrong with it and what is accepted.
    """

    def __init__(self, key: Literal["tls_cert", "tls_key"], problem: str) -> None:
        super().__init__(f"server.{key}: {problem}")
        self.key = key
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, ready for use.

    :param not_before_s: when it begins to be valid, in seconds since the epoch.
    :param not_after_s: when it ends.
    """

    context: ssl.SSLContext
    not_before_s: int
    not_after_s: int


def check_certificate(config: Config, reader: ConfigReader) -> None:
    """Report what is wrong with the files of the certificate.

    :param config: values that could not be read are UNSET, and reported already.
    """
    cert, key = config.server.tls_cert, config.server.tls_key
    if isinstance(cert, str) and isinstance(key, str):
        try:
            load(cert, key)
        except CertificateError as error:
            reader.report(("server", error.key), error.problem)


def load(cert: str, key: str) -> Certificate:
    """Return what two PEM files hold, after a handshake with itself.

    :param cert: path of the certificate and those that lead to its authority.
    :raises CertificateError: one of them cannot be used, or they do not belong together.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(_IGNORE_TIME)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.minimum_version = ssl.TLSVersion.TLSv1_2
    server.options |= ssl.OP_NO_RENEGOTIATION
    server.set_ciphers(_CIPHERS)
    server.set_alpn_protocols(["http/1.1"])
    text = _read("tls_cert", cert)
    _read("tls_key", key)

    def refuse() -> Never:
        raise CertificateError(
            "tls_key",
            f"{key} is encrypted; accepted: a key without passphrase, as openssl pkey makes it",
        )

    try:
        client.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        raise CertificateError(
            "tls_cert", f"{cert} holds no certificate that can be read; accepted: PEM"
        ) from None
    try:
        server.load_cert_chain(cert, key, refuse)
    except ssl.SSLError as error:
        raise _of_pair(error, cert, key) from None
    try:
        found = _handshake(client, server)
    except ssl.SSLError as error:
        raise CertificateError(
            "tls_cert", f"{cert} is of no use to clients ({_reason(error)}); accepted: one for TLS"
        ) from None
    begin, end = (str(found[name]) for name in ("notBefore", "notAfter"))
    return Certificate(server, ssl.cert_time_to_seconds(begin), ssl.cert_time_to_seconds(end))


def _read(key: Literal["tls_cert", "tls_key"], path: str) -> str:
    try:
        return Path(path).read_text("ascii", "ignore")  # comments may be in any language
    except OSError as error:
        raise CertificateError(
            key, f"{path} cannot be read: {error.strerror}; accepted: a file this user may read"
        ) from None


def _of_pair(error: ssl.SSLError, cert: str, key: str) -> CertificateError:
    if error.reason in ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
        return CertificateError("tls_key", f"{key} is not the key of the certificate in {cert}")
    if (error.reason or "").endswith("_TOO_SMALL"):
        return CertificateError("tls_cert", f"{cert} has a key that is too weak for clients")
    return CertificateError(
        "tls_key", f"{key} holds no key that can be read ({_reason(error)}); accepted: PEM"
    )


def _reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return (error.reason or "unknown").lower().replace("_", " ")


def _handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> dict[str, object]:
    """Return the certificate that a client gets, as ``ssl`` describes it."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(2):  # what is left waits for an answer that the other gives in turn
        for side in (ours, theirs):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return dict(ours.getpeercert() or {})


def expiry_warning(certificate: Certificate, now_ms: int) -> str | None:
    """Return what to say about the time that a certificate has left; None when it has enough."""
    now_s = now_ms // 1000
    begin, end = certificate.not_before_s, certificate.not_after_s
    if now_s < begin:
        return f"the certificate is not valid before {_date(begin)}: clients refuse it"
    if now_s >= end:
        return f"the certificate expired on {_date(end)}: clients refuse it; renew it"
    if end - now_s < min(_SOON_S, (end - begin) * _SOON_SHARE):
        return f"the certificate expires on {_date(end)}; renew it"
    return None


def _date(time_s: int) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


class CurrentCertificate:
    """The certificate in use; another one takes its place when the files change.

    :param cert: path of the certificate, as in ``load``.
    :raises CertificateError: the files cannot be used.
    """

    def __init__(self, cert: str, key: str, *, clock: Clock, telemetry: Telemetry) -> None:
        self._cert = cert
        self._key = key
        self._clock = clock
        self._telemetry = telemetry
        self._seen = self._tried = self._state()
        self._current = load(cert, key)
        self._warned_s: float | None = None
        self._note()

    @property
    def context(self) -> ssl.SSLContext:
        """What a handshake that begins now needs."""
        return self._current.context

    async def watch(self) -> None:
        """Look at the files from now on."""
        while True:
            await asyncio.sleep(_LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Take what the files hold when they have changed, but not since the last look."""
        state = await asyncio.to_thread(self._state)
        if state == self._seen and state != self._tried:
            await self.reload()
        self._seen = state
        self._warn()

    async def reload(self) -> bool:
        """Take what the files hold now; return whether it could be used."""
        self._tried = self._seen = await asyncio.to_thread(self._state)
        try:
            self._current = await asyncio.to_thread(load, self._cert, self._key)
        except CertificateError as error:
            self._telemetry.tls_reloads.labels("refused").inc()
            _log.error("the new certificate is refused, the one before stays: %s", error)
            return False
        self._telemetry.tls_reloads.labels("loaded").inc()
        _log.info(
            "the certificate in %s was read again; valid until %s",
            self._cert,
            _date(self._current.not_after_s),
        )
        self._warned_s = None
        self._note()
        return True

    def _state(self) -> tuple[object, ...]:
        """Return what changes whenever the files do."""
        found: list[object] = []
        for path in (self._cert, self._key):
            try:
                info = os.stat(path)  # noqa: PTH116 - what it is found to be is all that counts
            except OSError as error:
                found.append(error.errno)
            else:
                found += (info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
        return tuple(found)

    def _note(self) -> None:
        expiry = self._telemetry.tls_certificate_expiry.labels(self._cert)
        expiry.set(self._current.not_after_s)
        self._warn()

    def _warn(self) -> None:
        """Log at times that the certificate has to be renewed."""
        now_s = self._clock.monotonic()
        if self._warned_s is not None and now_s - self._warned_s < _WARN_EVERY_S:
            return
        warning = expiry_warning(self._current, self._clock.now_ms())
        if warning is not None:
            self._warned_s = now_s
            _log.warning("%s: %s", self._cert, warning)
