"""Sockets that clients connect to: whose a port is, and what connections have from them."""

import contextlib
import errno
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.http.sockets import listen, listen_together


@pytest.mark.parametrize("shared", [False, True])
def test_the_system_finds_out_who_has_gone_without_a_word(shared: bool) -> None:
    (listener,) = listen("127.0.0.1", 0, shared=shared)
    listener.settimeout(5)
    with listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_sockets_of_one_gateway_share_a_port() -> None:
    sets = listen_together("127.0.0.1", 0, 3)
    port = port_of(sets)
    with closing_all(sets):
        assert {each.getsockname()[1] for one in sets for each in one} == {port}
        for each in sets[0]:  # a worker that is away for a while
            each.close()
        with closing_all([listen("127.0.0.1", port, shared=True)]):
            pass


@pytest.mark.parametrize("first", [None, 1, 3], ids=["alone", "one worker", "three workers"])
@pytest.mark.parametrize("second", [None, 1, 3], ids=["alone", "one worker", "three workers"])
@pytest.mark.parametrize(
    "hosts",
    [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1"), ("::1", "::")],
)
def test_second_gateway_on_a_port_is_refused(
    first: int | None, second: int | None, hosts: tuple[str, str]
) -> None:
    def start(host: str, port: int, workers: int | None) -> list[list[socket.socket]]:
        return [listen(host, port)] if workers is None else listen_together(host, port, workers)

    with closing_all(start(hosts[0], 0, first)) as sets:
        port = port_of(sets)
        with pytest.raises(OSError, match="a gateway that runs already") as caught:
            start(hosts[1], port, second)
        assert caught.value.errno == errno.EADDRINUSE
        for each in sets[0]:  # what the first one has is as it was
            socket.create_connection(each.getsockname()[:2]).close()
    with closing_all(start(hosts[1], port, second)):  # nobody holds it any more
        pass


def test_of_many_that_start_at_once_no_two_have_the_port() -> None:
    together = threading.Barrier(8)

    def start(port: int) -> list[list[socket.socket]]:
        together.wait()
        try:
            return listen_together("127.0.0.1", port, 2)
        except OSError:
            return []

    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            with closing_all([listen("127.0.0.1", 0)]) as sets:
                port = port_of(sets)
            won = list(pool.map(start, [port] * 8))
            with closing_all([each for sets in won for each in sets]) as sets:
                assert len(sets) == 2  # of one


@contextlib.contextmanager
def closing_all(sets: list[list[socket.socket]]) -> Iterator[list[list[socket.socket]]]:
    try:
        yield sets
    finally:
        for each in (each for one in sets for each in one):
            each.close()


def port_of(sets: list[list[socket.socket]]) -> int:
    return int(sets[0][0].getsockname()[1])


@pytest.mark.parametrize(
    ("hosts", "reached", "refused"),
    [
        ("::", ["127.0.0.1", "::1"], []),
        (["::"], ["127.0.0.1", "::1"], []),
        (["::", "0.0.0.0"], ["127.0.0.1", "::1"], []),
        (["::", "127.0.0.1"], ["127.0.0.1", "::1"], ["127.0.0.2"]),
        (["::1", "127.0.0.2"], ["127.0.0.2", "::1"], ["127.0.0.1"]),
        (["127.0.0.1", "127.0.0.1", "localhost"], ["127.0.0.1"], ["127.0.0.2"]),
        ("0.0.0.0", ["127.0.0.1", "127.0.0.2"], ["::1"]),
    ],
)
@pytest.mark.parametrize("workers", [None, 2])
def test_one_or_more_hosts_are_listened_on(
    hosts: str | list[str], reached: list[str], refused: list[str], workers: int | None
) -> None:
    sets = [listen(hosts, 0)] if workers is None else listen_together(hosts, 0, workers)
    with closing_all(sets):
        port = port_of(sets)
        assert {each.getsockname()[1] for one in sets for each in one} == {port}
        for host in reached:
            socket.create_connection((host, port), timeout=5).close()
        for host in refused:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((host, port), timeout=5)


def test_host_that_cannot_be_listened_on_is_named_and_the_others_are_let_go() -> None:
    with closing_all([listen("127.0.0.1", 0)]) as sets:
        port = port_of(sets)
    with pytest.raises(OSError, match=r"192\.0\.2\.1"):
        listen(["127.0.0.1", "192.0.2.1"], port)
    with closing_all([listen("127.0.0.1", port)]):
        pass
