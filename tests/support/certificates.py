"""Certificates and keys, made by openssl."""

import shutil
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

__all__ = ["Pair", "client_of", "make_pair", "trust_in"]

_CONFIG = """
[ca]
default_ca = own
[own]
database = index
serial = serial
new_certs_dir = .
default_md = sha256
unique_subject = no
policy = any
x509_extensions = extensions
[any]
commonName = supplied
[extensions]
subjectAltName = DNS:gateway.test, IP:127.0.0.1
extendedKeyUsage = {usage}
"""


class Pair(NamedTuple):
    """The files of a certificate and its key."""

    cert: Path
    key: Path


def _openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


def make_pair(
    directory: Path,
    name: str,
    *,
    days: float = 90,
    age_days: float = 1,
    key: str = "EC -pkeyopt ec_paramgen_curve:P-256",
    usage: str = "serverAuth",
) -> Pair:
    """Make a certificate that is signed by its own key.

    :param name: its common name, and that of the files.
    :param days: until it expires; negative: it has expired.
    :param age_days: since it became valid.
    :param key: the algorithm and options of openssl genpkey.
    """
    work = directory / f"{name}.work"
    work.mkdir(parents=True)
    pair = Pair(directory / f"{name}.pem", directory / f"{name}.key")
    (work / "config").write_text(_CONFIG.format(usage=usage))
    (work / "index").touch()
    (work / "serial").write_text("01")
    now = datetime.now(UTC)
    begin, end = (
        (now + timedelta(days=each)).strftime("%Y%m%d%H%M%SZ") for each in (-age_days, days)
    )
    _openssl(work, "genpkey", "-algorithm", *key.split(), "-out", str(pair.key))
    _openssl(work, "req", "-new", "-key", str(pair.key), "-subj", f"/CN={name}", "-out", "request")
    sign = ["ca", "-batch", "-selfsign", "-config", "config", "-notext", "-in", "request"]
    sign += ["-keyfile", str(pair.key), "-startdate", begin, "-enddate", end]
    _openssl(work, *sign, "-out", str(pair.cert))
    return pair


def client_of(*pairs: Pair) -> ssl.SSLContext:
    """Return the context of a client that believes these certificates and no others."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for pair in pairs:
        context.load_verify_locations(cafile=pair.cert)
    return context


def trust_in(pair: Pair) -> dict[str, str]:
    """Return the environment in which Java, Node.js and Python believe this certificate."""
    store, password = pair.cert.with_suffix(".p12"), "changeit"
    command = ["keytool", "-importcert", "-noprompt", "-alias", "gateway", "-file", str(pair.cert)]
    command += ["-keystore", str(store), "-storetype", "PKCS12", "-storepass", password]
    option = "-Djavax.net.ssl.trustStore"
    trust = {"NODE_EXTRA_CA_CERTS": str(pair.cert), "REQUESTS_CA_BUNDLE": str(pair.cert)}
    if shutil.which("keytool"):
        subprocess.run(command, check=True, capture_output=True)
        trust["JAVA_TOOL_OPTIONS"] = f"{option}={store} {option}Password={password}"
    return trust
