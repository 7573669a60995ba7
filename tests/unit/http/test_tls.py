"""TLS: what is accepted as a certificate, how a new one takes over, and who is sent away."""

import asyncio
import logging
import shutil
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.clock import SystemClock
from gateway.config import load as load_config
from gateway.errors import ConfigError
from gateway.http import tls
from gateway.http.tls import (
    CertificateError,
    CurrentCertificate,
    check_certificate,
    expiry_warning,
    load,
)
from gateway.telemetry import Telemetry
from tests.support.certificates import Pair, client_of, make_pair
from tests.support.gateways import ConfiguredGateway, Project, Source
from tests.support.processes import gateway, wait_for
from tests.support.serving import EVENT, KEY, Connection, Serving, message, serving

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes them")

AUTH = {"X-Write-Key": KEY}
REQUEST = message("/v1/t", EVENT, AUTH)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with pairs called first, second, rsa, expired, soon and weak."""
    directory = tmp_path_factory.mktemp("certificates")
    make_pair(directory, "first")
    make_pair(directory, "second", days=60)
    make_pair(directory, "rsa", key="RSA -pkeyopt rsa_keygen_bits:2048")
    make_pair(directory, "expired", days=-1, age_days=90)
    make_pair(directory, "soon", days=10, age_days=80)
    make_pair(directory, "early", days=10, age_days=-1)
    make_pair(directory, "weak", key="RSA -pkeyopt rsa_keygen_bits:1024")
    make_pair(directory, "client", usage="clientAuth")
    return directory


def pair(made: Path, name: str) -> Pair:
    return Pair(made / f"{name}.pem", made / f"{name}.key")


def put(source: Pair, target: Pair) -> None:
    """Replace files as tools for renewal do: each at once, one after the other."""
    for old, new in zip(target, source, strict=True):
        beside = old.with_suffix(".new")
        beside.write_bytes(new.read_bytes())
        beside.replace(old)


class TestLoad:
    @pytest.mark.parametrize("name", ["first", "rsa"])
    def test_pair_is_loaded_with_the_time_it_is_valid(self, made: Path, name: str) -> None:
        found = load(*map(str, pair(made, name)))

        assert found.not_after_s - found.not_before_s == 91 * 86_400
        assert expiry_warning(found, (found.not_after_s - 80 * 86_400) * 1000) is None

    @pytest.mark.parametrize(
        ("cert", "key", "setting", "problem"),
        [
            ("first.pem", "second.key", "tls_key", "is not the key of the certificate in"),
            ("first.pem", "rsa.key", "tls_key", "is not the key of the certificate in"),
            ("none.pem", "first.key", "tls_cert", "cannot be read: No such file"),
            ("first.pem", "none.key", "tls_key", "cannot be read: No such file"),
            (".", "first.key", "tls_cert", "cannot be read: Is a directory"),
            ("first.key", "first.key", "tls_cert", "holds no certificate that can be read"),
            ("junk", "first.key", "tls_cert", "holds no certificate that can be read"),
            ("half.pem", "first.key", "tls_cert", "holds no certificate that can be read"),
            ("first.pem", "junk", "tls_key", "holds no key that can be read"),
            ("first.pem", "first.pem", "tls_key", "holds no key that can be read"),
            ("first.pem", "encrypted.key", "tls_key", "is encrypted"),
            ("weak.pem", "weak.key", "tls_cert", "too weak"),
            ("client.pem", "client.key", "tls_cert", "unsuitable certificate purpose"),
        ],
    )
    async def test_what_cannot_be_used_is_refused_with_the_reason(
        self, made: Path, cert: str, key: str, setting: str, problem: str
    ) -> None:
        (made / "junk").write_bytes(b"\xff\x00junk")
        (made / "half.pem").write_bytes((made / "first.pem").read_bytes()[:-90])
        if not (made / "encrypted.key").exists():
            command = ["openssl", "pkey", "-in", "first.key", "-aes256"]
            command += ["-passout", "pass:hidden", "-out", "encrypted.key"]
            process = await asyncio.create_subprocess_exec(*command, cwd=made)
            assert await process.wait() == 0

        with pytest.raises(CertificateError) as caught:
            load(str(made / cert), str(made / key))

        assert caught.value.key == setting
        assert problem in str(caught.value)
        assert str(caught.value).startswith(f"server.{setting}: {made}")
        assert "PRIVATE" not in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "expected"),
        [("first", None), ("expired", "expired on"), ("soon", "expires on"), ("early", "before")],
    )
    def test_time_that_is_over_or_nearly_is_told(
        self, made: Path, name: str, expected: str | None
    ) -> None:
        now_ms = int(Path(made / "first.pem").stat().st_mtime * 1000)
        warning = expiry_warning(load(*map(str, pair(made, name))), now_ms)

        assert warning is None if expected is None else expected in str(warning)

    def test_certificate_of_a_few_days_is_not_soon_over_from_its_beginning(
        self, tmp_path: Path
    ) -> None:
        found = load(*map(str, make_pair(tmp_path, "short", days=6, age_days=0)))
        day = 86_400_000

        assert expiry_warning(found, found.not_before_s * 1000 + 3 * day) is None
        assert expiry_warning(found, found.not_before_s * 1000 + 5 * day) is not None


@asynccontextmanager
async def tls_serving(
    directory: Path, made: Path, name: str = "first", **server: Any
) -> AsyncIterator[tuple[Serving, Pair]]:
    files = Pair(directory / "cert.pem", directory / "key.pem")
    for target, source in zip(files, pair(made, name), strict=True):
        target.write_bytes(source.read_bytes())
    async with serving(
        directory, tls_cert=str(files.cert), tls_key=str(files.key), **server
    ) as served:
        yield served, files


@asynccontextmanager
async def connected(served: Serving, context: ssl.SSLContext) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", served.ingest.port, ssl=context, ssl_handshake_timeout=5
    )
    connection = Connection(reader, writer)
    try:
        yield connection
    finally:
        await connection.close()


async def name_served(port: int, context: ssl.SSLContext) -> str:
    """Return the common name of the certificate that a new client gets."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    certificate = writer.get_extra_info("peercert")
    writer.close()
    await writer.wait_closed()
    [name] = [value for part in certificate["subject"] for key, value in part]
    return str(name)


async def wait_for_name(port: int, context: ssl.SSLContext, name: str) -> None:
    async def is_served() -> bool:
        return await name_served(port, context) == name

    await wait_for(is_served, timeout=10)


@asynccontextmanager
async def sending(url: str, context: ssl.SSLContext) -> AsyncIterator[list[int]]:
    """Send events over and over, on connections that last and on new ones; give the answers."""
    statuses: list[int] = []
    done = asyncio.Event()

    async def send(*, is_lasting: bool) -> None:
        connector = aiohttp.TCPConnector(ssl=context, force_close=not is_lasting)
        async with aiohttp.ClientSession(connector=connector) as session:
            while not done.is_set():
                async with session.post(url, data=EVENT, headers=AUTH) as answer:
                    statuses.append(answer.status)

    async with asyncio.TaskGroup() as group:
        for i in range(4):
            group.create_task(send(is_lasting=i < 2))
        try:
            yield statuses
        finally:
            done.set()


async def wait_for_more(statuses: list[int]) -> None:
    seen = len(statuses)
    await wait_for(lambda: len(statuses) > seen + 50)


def metric(served: Serving, name: str, **labels: str) -> float | None:
    return served.telemetry.registry.get_sample_value(name, labels)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the files be looked at ten times as often, since nobody wants to wait."""
    monkeypatch.setattr(tls, "_LOOK_S", 0.1)


class TestServing:
    async def test_events_are_taken_over_http_1_1(self, tmp_path: Path, made: Path) -> None:
        context = client_of(pair(made, "first"))
        context.set_alpn_protocols(["h2", "http/1.1"])
        async with tls_serving(tmp_path, made) as (served, _):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", served.ingest.port, ssl=context
            )
            tls = writer.get_extra_info("ssl_object")
            writer.write(REQUEST)
            answer = await Connection(reader, writer).answer()
            writer.close()

            assert (answer.status, tls.selected_alpn_protocol()) == (200, "http/1.1")
            assert await served.names() == ["E"]

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    async def test_modern_versions_are_spoken_with_forward_secrecy(
        self, tmp_path: Path, made: Path, version: ssl.TLSVersion
    ) -> None:
        context = client_of(pair(made, "first"))
        context.minimum_version = context.maximum_version = version
        async with tls_serving(tmp_path, made) as (served, _):
            _, writer = await asyncio.open_connection("127.0.0.1", served.ingest.port, ssl=context)
            cipher, _, bits = writer.get_extra_info("cipher")
            writer.close()

        assert bits >= 128
        assert cipher.startswith("TLS_" if version is ssl.TLSVersion.TLSv1_3 else "ECDHE-")
        assert "GCM" in cipher or "POLY1305" in cipher

    @pytest.mark.parametrize(
        "weakness",
        [
            {"maximum_version": ssl.TLSVersion.TLSv1_1, "minimum_version": ssl.TLSVersion.TLSv1},
            {"maximum_version": ssl.TLSVersion.TLSv1_2, "ciphers": "AES128-SHA:AES256-SHA256"},
            {"maximum_version": ssl.TLSVersion.TLSv1_2, "ciphers": "ECDHE+AES+SHA256:-AESGCM"},
        ],
    )
    @pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
    async def test_weak_versions_and_ciphers_are_not(
        self, tmp_path: Path, made: Path, weakness: dict[str, object]
    ) -> None:
        context = client_of(pair(made, "first"))
        context.set_ciphers(f"{weakness.pop('ciphers', 'ALL')}:@SECLEVEL=0")
        for name, value in weakness.items():
            setattr(context, name, value)
        async with tls_serving(tmp_path, made) as (served, _):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.open_connection("127.0.0.1", served.ingest.port, ssl=context)
            assert await name_served(served.ingest.port, client_of(pair(made, "first"))) == "first"

    async def test_plain_http_and_junk_get_no_further(self, tmp_path: Path, made: Path) -> None:
        async with tls_serving(tmp_path, made) as (served, _):
            for junk in (REQUEST, b"\x16\x03\x01\xff\xff" + b"x" * 5000, b"\x00" * 300):
                async with served.connection() as connection:
                    await connection.send(junk)
                    assert b"HTTP" not in await connection.ended()
            assert await name_served(served.ingest.port, client_of(pair(made, "first"))) == "first"
            assert await served.records() == []

    async def test_handshake_that_never_ends_is_ended(self, tmp_path: Path, made: Path) -> None:
        hello = self.hello()
        async with tls_serving(tmp_path, made, header_timeout_s=0.5) as (served, _):
            for start in (b"", hello[:20], hello):
                async with served.connection() as connection:
                    await connection.send(start)
                    began = asyncio.get_running_loop().time()
                    await connection.ended()
                    assert 0.2 < asyncio.get_running_loop().time() - began < 5
            await wait_for(lambda: served.ingest.status()["connections"] == 0)
            assert metric(served, "gateway_refusals_total", reason="handshake_timeout") == 3

    def hello(self) -> bytes:
        """Return what a client sends first."""
        sent = ssl.MemoryBIO()
        client = ssl.create_default_context().wrap_bio(
            ssl.MemoryBIO(), sent, server_hostname="gateway.test"
        )
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        return sent.read()

    async def test_handshakes_count_as_connections(self, tmp_path: Path, made: Path) -> None:
        context = client_of(pair(made, "first"))
        limits: dict[str, Any] = {"header_timeout_s": 1.0, "max_connections": 10}
        async with tls_serving(tmp_path, made, **limits) as (served, _):
            silent = [
                await asyncio.open_connection("127.0.0.1", served.ingest.port) for _ in range(10)
            ]
            await wait_for(lambda: served.ingest.status()["connections"] == 10)
            async with connected(served, context) as connection:
                answer = await connection.answer()
                assert (answer.status, answer.code) == (503, "too_many_connections")

            crowd = [
                await asyncio.open_connection("127.0.0.1", served.ingest.port) for _ in range(300)
            ]
            ended = [reader for reader, _ in crowd if await self.is_closed(reader)]
            assert len(ended) >= 300 - 128 - 1
            assert served.ingest.status()["connections"] <= 10 + 128
            # All of them are gone after the time for a handshake.
            await wait_for(lambda: served.ingest.status()["connections"] == 0)
            assert await name_served(served.ingest.port, context) == "first"
            for _, writer in silent + crowd:
                writer.close()

    async def is_closed(self, reader: asyncio.StreamReader) -> bool:
        try:
            async with asyncio.timeout(0.001):
                return await reader.read(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True

    async def test_stopping_ends_handshakes(self, tmp_path: Path, made: Path) -> None:
        async with tls_serving(tmp_path, made) as (served, _), served.connection() as connection:
            await wait_for(lambda: served.ingest.status()["connections"] == 1)
            await asyncio.wait_for(served.ingest.stop(), 5)
            assert await asyncio.wait_for(connection.ended(), 3) == b""

    async def test_address_that_is_taken_is_an_os_error(self, tmp_path: Path, made: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(OSError, match="in use"):
                await tls_serving(tmp_path, made, port=port).__aenter__()


@pytest.mark.usefixtures("often")
class TestRenewal:
    async def test_new_pair_is_taken_and_old_connections_go_on(
        self, tmp_path: Path, made: Path
    ) -> None:
        both = client_of(pair(made, "first"), pair(made, "second"))
        expiry = "gateway_tls_certificate_expiry_timestamp_seconds"
        async with tls_serving(tmp_path, made) as (served, files):
            before = metric(served, expiry, file=str(files.cert))
            async with connected(served, both) as old:
                await old.send(REQUEST)
                assert (await old.answer()).status == 200
                put(pair(made, "second"), files)
                await wait_for_name(served.ingest.port, both, "second")
                await old.send(REQUEST)
                assert (await old.answer()).status == 200

            after = metric(served, expiry, file=str(files.cert))
            assert before == load(*map(str, pair(made, "first"))).not_after_s
            assert after == load(*map(str, pair(made, "second"))).not_after_s
            assert metric(served, "gateway_tls_reloads_total", outcome="loaded") == 1
            assert metric(served, "gateway_tls_reloads_total", outcome="refused") is None

    async def test_renewal_under_load_fails_no_request(self, tmp_path: Path, made: Path) -> None:
        both = client_of(pair(made, "first"), pair(made, "second"))
        async with tls_serving(tmp_path, made) as (served, files):
            url = f"https://127.0.0.1:{served.ingest.port}/v1/t"
            async with sending(url, both) as statuses:
                for name in ("second", "first", "second"):
                    put(pair(made, name), files)
                    await wait_for_name(served.ingest.port, both, name)
                    await wait_for_more(statuses)

            assert set(statuses) == {200}
            assert len(await served.names()) == len(statuses)
            assert metric(served, "gateway_tls_reloads_total", outcome="loaded") == 3

    @pytest.mark.parametrize(
        ("cert", "key"),
        [("second.pem", "first.key"), ("weak.pem", "weak.key"), ("second.pem", None)],
    )
    async def test_pair_that_cannot_be_used_changes_nothing(
        self,
        tmp_path: Path,
        made: Path,
        caplog: pytest.LogCaptureFixture,
        cert: str,
        key: str | None,
    ) -> None:
        both = client_of(pair(made, "first"), pair(made, "second"))
        async with tls_serving(tmp_path, made) as (served, files):
            files.cert.write_bytes((made / cert).read_bytes())
            if key is None:
                files.key.unlink()
            else:
                files.key.write_bytes((made / key).read_bytes())
            refused = "gateway_tls_reloads_total"
            await wait_for(lambda: metric(served, refused, outcome="refused") == 1)
            assert await name_served(served.ingest.port, both) == "first"
            await asyncio.sleep(0.5)
            assert metric(served, refused, outcome="refused") == 1, "told once, not every second"
            [line] = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
            assert line.startswith("the new certificate is refused, the one before stays: server.")

            put(pair(made, "second"), files)
            await wait_for_name(served.ingest.port, both, "second")

    async def test_pair_that_is_being_written_is_left_alone(
        self, tmp_path: Path, made: Path
    ) -> None:
        telemetry = Telemetry()
        first, second = pair(made, "first"), pair(made, "second")
        files = Pair(tmp_path / "cert.pem", tmp_path / "key.pem")
        put(first, files)
        current = CurrentCertificate(*map(str, files), clock=SystemClock(), telemetry=telemetry)
        before = current.context
        await current.look()
        files.cert.write_bytes(second.cert.read_bytes())
        await current.look()
        files.key.write_bytes(second.key.read_bytes())
        await current.look()
        assert current.context is before
        await current.look()
        assert current.context is not before
        reloads = partial(telemetry.registry.get_sample_value, "gateway_tls_reloads_total")
        assert (reloads({"outcome": "loaded"}), reloads({"outcome": "refused"})) == (1, None)

    async def test_link_that_leads_elsewhere_is_a_change(self, tmp_path: Path, made: Path) -> None:
        both = client_of(pair(made, "first"), pair(made, "second"))
        link = tmp_path / "current"
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            for file, source in zip(("c", "k"), pair(made, name), strict=True):
                (tmp_path / name / file).write_bytes(source.read_bytes())
        link.symlink_to("first")
        options: dict[str, Any] = {"tls_cert": str(link / "c"), "tls_key": str(link / "k")}
        async with serving(tmp_path, **options) as served:
            assert await name_served(served.ingest.port, both) == "first"
            (tmp_path / "new").symlink_to("second")
            (tmp_path / "new").replace(link)
            await wait_for_name(served.ingest.port, both, "second")

    async def test_certificate_that_ends_soon_is_told_in_the_log(
        self, tmp_path: Path, made: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with tls_serving(tmp_path, made, "soon") as (_, files):
            await asyncio.sleep(0.5)
            told = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
            assert len(told) == 1
            assert told[0].startswith(f"{files.cert}: the certificate expires on ")


class TestProcess:
    """What the event loop of the gateway itself makes of all this."""

    async def test_renewal_under_load_with_silent_clients_around(
        self, tmp_path: Path, made: Path
    ) -> None:
        files = Pair(tmp_path / "cert.pem", tmp_path / "key.pem")
        put(pair(made, "first"), files)
        both = client_of(pair(made, "first"), pair(made, "second"))
        server: dict[str, Any] = {
            "tls_cert": str(files.cert),
            "tls_key": str(files.key),
            "header_timeout_s": 1,
        }
        server["shutdown_timeout_s"] = 1
        async with ConfiguredGateway(
            tmp_path,
            [Project("mp", "t", "http://127.0.0.1:9")],
            [Source(KEY, ("mp",))],
            sections={"server": server},
        ) as process:
            port = int(process.url.rpartition(":")[2])
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(50)]
            async with sending(f"{process.url}/v1/t", both) as statuses:
                for name in ("second", "first", "second"):
                    put(pair(made, name), files)
                    await wait_for_name(port, both, name)
                    await wait_for_more(statuses)
                put(Pair(made / "first.pem", made / "rsa.key"), files)
                await process.running.printed("the new certificate is refused, the one before st")
                process.send_signal(signal.SIGHUP)
                await process.running.printed(r"not reloaded; nothing has changed: server\.tls_key")
                assert await name_served(port, both) == "second"
                for reader, writer in silent:
                    assert await asyncio.wait_for(reader.read(), 5) == b""
                    writer.close()
                put(pair(made, "first"), files)
                process.send_signal(signal.SIGHUP)
                await process.running.printed("all workers run with the new configuration")
                assert await name_served(port, both) == "first"
                await wait_for_more(statuses)

            assert set(statuses) == {200}
            assert (await process.ledger())["accepted"] == len(statuses)
            metrics = await process.metrics()
            expiry = f'gateway_tls_certificate_expiry_timestamp_seconds{{file="{files.cert}"}}'
            assert metrics[expiry] == load(*map(str, pair(made, "first"))).not_after_s
            assert metrics['gateway_refusals_total{reason="handshake_timeout"}'] == 50
            assert await process.terminate() == 0


class TestCommands:
    def config(self, directory: Path, files: Pair) -> Path:
        path = directory / "gateway.toml"
        path.write_text(f"""
            [server]
            port = 0
            tls_cert = "{files.cert}"
            tls_key = "{files.key}"
            [admin]
            port = 0
            [[sources]]
            name = "web"
            write_key = "k"
            [[destinations]]
            settings = {{ projectToken = "t" }}
        """)
        return path

    async def check(self, directory: Path, files: Pair) -> tuple[int, str]:
        done = await gateway("check", "--config", str(self.config(directory, files)))
        return done.code, done.stderr

    async def test_check_accepts_a_pair(self, tmp_path: Path, made: Path) -> None:
        code, told = await self.check(tmp_path, pair(made, "first"))
        assert (code, "warning" in told) == (0, False)

    @pytest.mark.parametrize(("name", "words"), [("soon", "expires on"), ("expired", "expired on")])
    async def test_check_warns_of_the_time(
        self, tmp_path: Path, made: Path, name: str, words: str
    ) -> None:
        code, told = await self.check(tmp_path, pair(made, name))
        assert code == 0
        assert f"gateway: warning: server.tls_cert: the certificate {words}" in told

    async def test_check_and_run_refuse_what_cannot_be_used(
        self, tmp_path: Path, made: Path
    ) -> None:
        files = Pair(made / "first.pem", made / "second.key")
        for command in ("check", "run"):
            done = await gateway(command, "--config", str(self.config(tmp_path, files)))
            assert done.code == 2
            assert f"server.tls_key: {files.key} is not the key of" in done.stderr

    def test_mistake_is_reported_with_the_others(self, tmp_path: Path, made: Path) -> None:
        path = self.config(tmp_path, Pair(made / "none", made / "first.key"))
        path.write_text(path.read_text().replace('"web"', '"w e b"'))
        with pytest.raises(ConfigError) as caught:
            load_config(path, {}, checks=(check_certificate,))
        assert [line.split(":")[0] for line in caught.value.problems] == [
            "sources[0].name",
            "server.tls_cert",
        ]
