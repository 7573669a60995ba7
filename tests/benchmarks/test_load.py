"""The load generator counts and times what happens."""

import gzip
import itertools
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from benchmarks import corpus
from benchmarks.load.client import Client, Result, Task
from benchmarks.load.fleet import Seen, processes_for
from benchmarks.load.histogram import Histogram
from benchmarks.load.schedule import arrivals
from benchmarks.load.traffic import Gzip, Prepared, Traffic, prepare
from benchmarks.processes import Broken

BODY = b'{"success":true}'
REQUESTS = [Prepared(b"POST /v1/batch HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd", 3, 5)]


def answer(status: str = "200 OK", body: bytes = BODY, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


# Histogram and schedule


def test_percentiles_are_exact_up_to_two_milliseconds() -> None:
    times = Histogram()
    for us in range(1, 1001):
        times.record((us + 0.5) / 1e6)
    assert [times.percentile(p) for p in (50, 90, 99, 99.9, 100)] == [
        pytest.approx(us / 1e6) for us in (500, 900, 990, 999, 1000)
    ]
    assert Histogram().percentile(99) == 0


@pytest.mark.parametrize("seconds", [0.002047, 0.00205, 0.0123456, 1.5, 77.7, 3600.0])
def test_percentiles_are_never_too_high_and_hardly_too_low(seconds: float) -> None:
    times = Histogram()
    times.record(seconds)
    found = times.percentile(50)
    assert seconds * 0.999 - 1e-6 <= found <= seconds


def test_histograms_add_up_and_stay_small() -> None:
    one, other = Histogram(), Histogram()
    for number in range(100_000):
        (one if number % 2 else other).record(number / 1e4)
    one.add(other)
    assert one.total == 100_000
    assert one.percentile(50) == pytest.approx(5.0, rel=0.001)
    assert len(one.counts) < 16_000
    assert Histogram(one.counts).percentile(99) == one.percentile(99)


def test_arrivals_come_at_their_rate_and_irregularly() -> None:
    times = list(arrivals(1000, 20, seed=3))
    assert times == sorted(times) == list(arrivals(1000, 20, seed=3))
    assert times != list(arrivals(1000, 20, seed=4))
    assert times[0] > 0
    assert times[-1] < 20
    assert len(times) == pytest.approx(20_000, rel=0.05)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert sum(gap < 0.0001 for gap in gaps) / len(gaps) == pytest.approx(0.095, abs=0.02)


# Traffic


def test_requests_of_a_size_hold_that_many_events_and_a_key() -> None:
    requests = prepare(Traffic(batch=7, events=70))
    assert len(requests) == 10
    for request in requests:
        head, _, body = request.data.partition(b"\r\n\r\n")
        assert head.startswith(b"POST /v1/batch HTTP/1.1\r\n")
        assert b"Authorization: Basic YmVuY2htYXJrLXdyaXRlLWtleTo=" in head
        assert f"Content-Length: {len(body)}".encode() in head
        assert len(json.loads(body)["batch"]) == request.events == 7


def test_single_events_go_to_the_path_of_their_type() -> None:
    requests = prepare(Traffic(batch=1, events=300))
    assert len(requests) == 300
    for request in requests:
        head, _, body = request.data.partition(b"\r\n\r\n")
        assert head.startswith(f"POST /v1/{json.loads(body)['type']} ".encode())
        assert request.events == 1
    # An order makes a record for each of its products too, an alias none.
    assert {0, 1, 2} < {request.records for request in requests}


def test_sdks_compress_what_they_compress_and_name_their_key_in_the_body() -> None:
    requests = prepare(Traffic(events=2000))
    assert sum(request.events for request in requests) == 2000
    gzipped = 0
    for request in requests:
        head, _, body = request.data.partition(b"\r\n\r\n")
        if b"Content-Encoding: gzip" in head:
            gzipped += 1
            body = gzip.decompress(body)
        assert (b'"analytics-kotlin"' in body) == (b"Content-Encoding: gzip" in head)
        assert json.loads(body)["writeKey"] == corpus.WRITE_KEY
        assert b"Authorization" not in head
    assert 0 < gzipped < len(requests)


@pytest.mark.parametrize(("which", "compressed"), [(Gzip.ALL, True), (Gzip.NONE, False)])
def test_compression_can_be_chosen(which: Gzip, compressed: bool) -> None:
    requests = prepare(Traffic(events=100, gzip=which))
    assert {b"Content-Encoding: gzip" in request.data for request in requests} == {compressed}


# One process of the load, against servers of all kinds


@contextmanager
def serving(respond: Callable[[socket.socket, int], bool]) -> Iterator[int]:
    """Yield the port of a server; ``respond`` gets a socket and the number of a request.

    It returns whether the connection goes on.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    numbers = iter(range(10**9))
    lock = threading.Lock()

    def serve(connection: socket.socket) -> None:
        with connection:
            while connection.recv(65_536):
                with lock:
                    number = next(numbers)
                if not respond(connection, number):
                    return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def always(data: bytes) -> Callable[[socket.socket, int], bool]:
    def respond(connection: socket.socket, number: int) -> bool:
        connection.sendall(data)
        return True

    return respond


def load_on(port: int, requests: Sequence[Prepared] = REQUESTS, **changes: Any) -> Result:
    options: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "requests": "",
        "first": 0,
        "result": "",
        "connections": 2,
        "seconds": 5.0,
        "rate": None,
        "max_requests": 20,
        "seed": 1,
        "body": BODY,
        "grace_s": 2.0,
    }
    client = Client(Task(**{**options, **changes}), requests)
    client.connect()
    try:
        return client.run()
    finally:
        client.close()


def test_load_counts_requests_events_and_records() -> None:
    with serving(always(answer())) as port:
        result = load_on(port)
    assert (result.requests, result.events, result.records) == (20, 60, 100)
    assert result.bytes == 20 * len(REQUESTS[0].data)
    assert result.statuses == {200: 20}
    assert Histogram(result.latencies).total == 20
    assert (result.wrong, result.unanswered, result.unsent) == ("", 0, 0)
    assert result.cpu_seconds > 0
    Seen([result]).check("it")


def test_load_ends_when_its_time_is_over() -> None:
    with serving(always(answer())) as port:
        result = load_on(port, seconds=0.3, max_requests=10**9)
    assert 0.3 <= result.ended - result.began < 1.5
    assert result.requests > 20


def test_load_reads_answers_that_come_in_pieces_and_reconnects_when_told_to() -> None:
    whole = answer(headers="Connection: close\r\n")

    def respond(connection: socket.socket, number: int) -> bool:
        if number % 3 == 0:
            connection.sendall(answer()[:25])
            time.sleep(0.01)
            connection.sendall(answer()[25:])
            return True
        connection.sendall(whole if number % 3 == 1 else answer())
        return number % 3 != 1

    with serving(respond) as port:
        result = load_on(port)
    assert result.statuses == {200: 20}
    Seen([result]).check("it")


@pytest.mark.parametrize("body", [BODY, b"another"])
def test_load_comes_back_on_a_new_connection_as_often_as_it_is_asked_to(body: bytes) -> None:
    """Also where an answer is not the usual one."""
    opened = []

    def respond(connection: socket.socket, number: int) -> bool:
        opened.append(connection.getpeername())
        connection.sendall(answer(body=body))
        return True

    with serving(respond) as port:
        result = load_on(port, connections=1, per_connection=5, max_requests=17)
    assert result.statuses == {200: 17}
    assert [opened.count(each) for each in dict.fromkeys(opened)] == [5, 5, 5, 2]
    assert result.unanswered == 0


def test_connection_with_half_a_request_on_it_is_not_used_again() -> None:
    """Who answers early does not read the rest, which would be taken for the next request."""
    large = [Prepared(b"POST / HTTP/1.1\r\n\r\n" + b"x" * 20_000_000, 1, 1)]
    opened = []

    def respond(connection: socket.socket, number: int) -> bool:
        opened.append(connection.getpeername())
        connection.sendall(answer("503 Service Unavailable"))
        time.sleep(0.2)
        return False

    with serving(respond) as port:
        result = load_on(port, large, max_requests=4)
    assert result.statuses == {503: 4}
    assert len(set(opened)) == 4


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (answer("500 Internal Server Error", b"oh"), "wrong answer:\nHTTP/1.1 500 Internal"),
        (answer(body=b'{"success":null}'), '"success":null'),
        (answer("401 Unauthorized"), "401 Unauthorized"),
        (answer("503 Service Unavailable"), "took no request: {503: 20}"),
    ],
)
def test_wrong_answers_are_told(wrong: bytes, message: str) -> None:
    with serving(always(wrong)) as port:
        result = load_on(port)
    assert result.requests == result.events == 0
    assert sum(result.statuses.values()) == 20
    with pytest.raises(Broken, match=re.escape(message)):
        Seen([result]).check("it")


def test_one_wrong_answer_among_many_is_told() -> None:
    def respond(connection: socket.socket, number: int) -> bool:
        connection.sendall(answer(body=b'{"success":nope}' if number == 13 else BODY))
        return True

    with serving(respond) as port:
        result = load_on(port)
    assert result.requests == 19
    with pytest.raises(Broken, match="nope"):
        Seen([result]).check("it")


def test_requests_without_an_answer_are_counted_and_never_sent_again() -> None:
    seen = []

    def respond(connection: socket.socket, number: int) -> bool:
        seen.append(number)
        if number < 4:
            connection.sendall(answer())
        return number < 4

    with serving(respond) as port:
        result = load_on(port)
    assert result.requests == 4
    assert result.unanswered == 2
    assert len(seen) == 6
    with pytest.raises(Broken, match="2 requests without an answer"):
        Seen([result]).check("it")


def test_silence_ends_the_load() -> None:
    with serving(lambda connection, number: True) as port:
        result = load_on(port, seconds=0.1, grace_s=0.2)
    assert (result.unanswered, result.under_way) == (0, 2)
    with pytest.raises(Broken, match="2 requests without an answer"):
        Seen([result]).check("it")


def test_refusals_that_do_not_say_when_to_come_again_are_counted() -> None:
    said = answer("503 Service Unavailable", headers="Retry-After: 3\r\n")

    def respond(connection: socket.socket, number: int) -> bool:
        connection.sendall(answer("503 Service Unavailable") if number % 4 == 0 else said)
        return True

    with serving(respond) as port:
        result = load_on(port)
    assert result.statuses == {503: 20}
    assert result.without_retry_after == 5


def test_latency_of_an_open_loop_counts_from_when_a_request_was_due() -> None:
    """A server that stops for 0.4 s is late for all that were due meanwhile."""

    def respond(connection: socket.socket, number: int) -> bool:
        if number == 20:
            time.sleep(0.4)
        connection.sendall(answer())
        return True

    with serving(respond) as port:
        result = load_on(port, connections=1, rate=200.0, seconds=1.0, max_requests=10**6)
    assert result.requests == pytest.approx(200, rel=0.35)
    late = sum(count for us, count in result.latencies.items() if us > 50_000)
    assert late > 40
    with serving(always(answer())) as port:
        result = load_on(port, connections=1, rate=200.0, seconds=1.0, max_requests=10**6)
    assert Histogram(result.latencies).percentile(50) < 0.05


def test_load_that_cannot_be_kept_up_with_is_told() -> None:
    def respond(connection: socket.socket, number: int) -> bool:
        time.sleep(0.1)
        connection.sendall(answer())
        return True

    with serving(respond) as port:
        result = load_on(port, rate=500.0, seconds=0.3, grace_s=0.3, max_requests=10**6)
    assert result.unsent > 50
    result.under_way = 0
    with pytest.raises(Broken, match="could not keep up"):
        Seen([result]).check("it")


@pytest.mark.parametrize(
    ("rate", "processes"), [(None, 4), (0.5, 1), (10_000, 1), (10_001, 2), (1e6, 4)]
)
def test_an_open_loop_has_no_more_processes_than_its_rate_needs(
    rate: float | None, processes: int
) -> None:
    assert processes_for(rate, 4) == processes
