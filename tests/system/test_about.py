"""What is said before data flows: where it goes, where it waits, what runs, what is in the way."""

import re
import signal
import socket
from pathlib import Path

import pytest

from gateway import __version__
from tests.support.processes import Running, gateway

CONFIG = """
[server]
port = {port}
host = "{host}"
[admin]
port = {admin}
[spool]
path = "data/spool"
[[sources]]
name = "web"
write_key = "never-shown"
[[destinations]]
[destinations.settings]
projectToken = "abcdefgh"
apiRegion = "EU"
"""


def _write(tmp_path: Path, *, port: int = 0, admin: int = 0, host: str = "127.0.0.1") -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIG.format(port=port, admin=admin, host=host))
    return path


def _assert_tells_where(output: str, tmp_path: Path) -> None:
    assert re.search(r"delivers to +mixpanel: https://api-eu\.mixpanel\.com \(region EU\)", output)
    assert "token abcd…" in output
    assert re.search(rf"spool +{re.escape(str(tmp_path))}/data/spool\n", output)
    assert "never-shown" not in output
    assert "abcdefgh" not in output


async def test_check_says_where_data_would_go_and_wait(tmp_path: Path) -> None:
    checked = await gateway("check", "--config", str(_write(tmp_path)), cwd=Path("/"))
    assert checked.code == 0
    _assert_tells_where(checked.stderr, tmp_path)


@pytest.mark.parametrize("workers", [1, 2])
async def test_start_says_version_workers_region_host_and_spool(
    tmp_path: Path, workers: int
) -> None:
    path = _write(tmp_path)
    path.write_text(path.read_text().replace("[server]", f"[server]\nworkers = {workers}"))
    async with Running("run", "-c", str(path), log=tmp_path / "log", cwd=Path("/")) as running:
        await running.printed("spool  ")
        output = running.output()
        assert await running.end(signal.SIGTERM) == 0
    _assert_tells_where(output, tmp_path)
    assert f"mixpanel-gateway {__version__}, {workers} worker" in output


async def test_addresses_of_ipv6_are_printed_as_urls(tmp_path: Path) -> None:
    path = _write(tmp_path, host="::1")
    async with Running("run", "-c", str(path), log=tmp_path / "log") as running:
        await running.printed(r"SDKs send to +http://\[::1\]:\d+\n")
        assert await running.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("key", ["port", "admin"])
async def test_check_warns_of_a_busy_port_and_is_content(tmp_path: Path, key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        path = _write(tmp_path, **{key: port})
        checked = await gateway("check", "-c", str(path))
    assert checked.code == 0
    name = "admin.port" if key == "admin" else "server.port"
    assert re.search(rf"warning: {name}: .*{port}.* in use", checked.stderr)


async def test_check_warns_of_an_address_that_this_machine_lacks(tmp_path: Path) -> None:
    checked = await gateway("check", "-c", str(_write(tmp_path, host="192.0.2.1")))
    assert "warning: server.port: cannot listen on 192.0.2.1" in checked.stderr
    assert "choose another server.host\n" in checked.stderr


async def test_start_at_an_address_that_this_machine_lacks_names_the_setting(
    tmp_path: Path,
) -> None:
    by_file = await gateway("run", "-c", str(_write(tmp_path, host="192.0.2.1")))
    environ = {"GATEWAY_HOST": "nowhere.invalid", "GATEWAY_ADMIN_PORT": "0"}
    options = ("run", "--sandbox", "--sandbox-port", "0")
    by_variables = await gateway(*options, cwd=tmp_path, env=environ)
    assert (by_file.code, by_variables.code) == (1, 1)
    assert by_file.stderr.endswith("; choose another server.host or admin.host\n")
    assert by_variables.stderr.endswith(
        "; choose another with GATEWAY_HOST or GATEWAY_ADMIN_HOST\n"
    )


async def test_busy_port_is_answered_with_the_remedy_that_helps(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        by_file = await gateway("run", "-c", str(_write(tmp_path, port=port)))
        environ = {"GATEWAY_PORT": str(port), "GATEWAY_ADMIN_PORT": "0"}
        sandbox = ("run", "--sandbox", "--sandbox-port")
        by_variables = await gateway(*sandbox, "0", cwd=tmp_path, env=environ)
        stand_in = await gateway(*sandbox, str(port), cwd=tmp_path)
    shown = f"(ss -ltnp sport = :{port} shows it)"
    assert all(shown in each.stderr for each in (by_file, by_variables, stand_in))
    assert f"server.port: cannot listen on 127.0.0.1, port {port}: " in by_file.stderr
    assert "GATEWAY_PORT" not in by_file.stderr
    assert "GATEWAY_PORT" in by_variables.stderr
    assert f"port {port}" in stand_in.stderr
    assert "--sandbox-port" in stand_in.stderr
    assert "server.port" not in stand_in.stderr


async def test_busy_admin_port_is_named_with_the_setting_and_how_to_find_who_has_it(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        by_file = await gateway("run", "-c", str(_write(tmp_path, admin=port)))
        environ = {"GATEWAY_PORT": "0", "GATEWAY_ADMIN_PORT": str(port)}
        options = ("run", "--sandbox", "--sandbox-port", "0")
        by_variables = await gateway(*options, cwd=tmp_path, env=environ)
        alone = await gateway("sandbox", "--port", str(port))
    for ended, remedy in (
        (by_file, "; choose another\n"),
        (by_variables, "; choose another with GATEWAY_PORT or GATEWAY_ADMIN_PORT\n"),
    ):
        assert ended.code == 1
        assert ended.stderr.endswith(
            f"gateway: cannot start: admin.port: cannot listen on 127.0.0.1, port {port}: Address "
            "already in use by another process, which may be a gateway that runs already (ss -ltnp "
            f"sport = :{port} shows it){remedy}"
        )
    assert alone.code == 1
    assert f"cannot start: cannot listen on 127.0.0.1, port {port}: Address" in alone.stderr
    assert "choose another --port" in alone.stderr


@pytest.mark.parametrize("key", ["port", "admin"])
async def test_port_of_the_stand_in_that_is_another_setting_blames_no_process(
    tmp_path: Path, key: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    path = _write(tmp_path, **{key: port})
    ended = await gateway("run", "-c", str(path), "--sandbox", "--sandbox-port", str(port))
    assert ended.code == 1
    name = "admin.port" if key == "admin" else "server.port"
    assert f"{name} and --sandbox-port are both {port}: choose another" in ended.stderr
    assert "another process" not in ended.stderr


async def test_variables_that_nothing_reads_are_warned_of(tmp_path: Path) -> None:
    environ = {"GATEWAY_PORT": "1", "MIXPANEL_API_REGION": "IN"}
    checked = await gateway("check", "-c", str(_write(tmp_path)), env=environ)
    assert checked.code == 0
    for name in environ:
        assert f"warning: {name} is set, but not read" in checked.stderr
