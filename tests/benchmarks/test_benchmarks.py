"""The benchmarks measure what they say, on a corpus as they describe it."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks import corpus, page
from benchmarks.adapter import new_gateway
from benchmarks.answers import records_of, same, same_as_segment
from benchmarks.line import fit
from benchmarks.measure import CaseFailed, Job, Settings, repetitions_of
from benchmarks.peers.plain_python import PlainPython
from benchmarks.peers.typed_decode import new_typed_decode
from benchmarks.subjects import peers
from tests.support.paths import ROOT

SETTINGS = Settings(received_ms=corpus.RECEIVED_MS)
TINY = ("--events=60", "--rounds=1", "--repetitions=1", "--seconds=0")
NOT_INSTALLED = "not installed: run make bench-peers"


@pytest.fixture(scope="module")
def bodies() -> list[bytes]:
    return corpus.traffic(3000)


@pytest.fixture(scope="module")
def events(bodies: list[bytes]) -> list[dict[str, Any]]:
    return [event for body in bodies for event in json.loads(body)["batch"]]


def test_same_seed_gives_same_corpus(bodies: list[bytes]) -> None:
    assert corpus.traffic(3000) == bodies
    assert corpus.traffic(3000, seed=1) != bodies


def test_corpus_has_all_types_in_realistic_shares(events: list[dict[str, Any]]) -> None:
    assert len(events) == 3000
    share = {kind: n / len(events) for kind, n in Counter(e["type"] for e in events).items()}
    assert set(share) == {"track", "screen", "page", "identify", "group", "alias"}
    assert 0.72 < share["track"] < 0.78
    assert all(0.01 < share[kind] < 0.25 for kind in share if kind != "track")
    orders = [e for e in events if e.get("event") == "Order Completed"]
    assert 0.01 < len(orders) / len(events) < 0.03
    assert {len(e["properties"]["products"]) for e in orders} == {1, 2, 3, 4, 5}


def test_corpus_has_sizes_of_mobile_traffic(
    bodies: list[bytes], events: list[dict[str, Any]]
) -> None:
    assert 1100 < sum(map(len, bodies)) / len(events) < 1350
    sizes = Counter(len(json.loads(body)["batch"]) for body in bodies)
    assert sizes.keys() >= {1, 20, 50, 100}
    assert len({e.get("userId") for e in events}) > 50
    assert len({e["messageId"] for e in events}) == len(events)
    libraries = Counter(e["context"]["library"]["name"] for e in events)
    assert len(libraries) == 5
    assert not b"".join(bodies).isascii()


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_batched_traffic_keeps_events_in_order(
    bodies: list[bytes], events: list[dict[str, Any]], size: int
) -> None:
    batches = [json.loads(body)["batch"] for body in corpus.batched(bodies, size)]
    assert {len(batch) for batch in batches} == {size}
    again = list(itertools.chain.from_iterable(batches))
    assert again == events[: len(events) // size * size]


@pytest.mark.parametrize("event_bytes", [300, 3000, 20_000])
def test_sized_events_have_that_size(event_bytes: int) -> None:
    sized = corpus.sized(100, event_bytes)
    assert sum(len(json.loads(body)["batch"]) for body in sized) == 100
    assert sum(map(len, sized)) / 100 == pytest.approx(event_bytes, rel=0.05)


def by_endpoint(
    mapping: Callable[[bytes], Sequence[tuple[str, bytes]]], bodies: Sequence[bytes]
) -> list[dict[str, list[Any]]]:
    return [
        {endpoint: [json.loads(line) for line in lines.splitlines()] for endpoint, lines in found}
        for found in map(mapping, bodies)
    ]


@pytest.mark.parametrize("seed", [corpus.SEED, 7])
def test_plain_python_makes_the_same_records_as_the_gateway(seed: int) -> None:
    traffic = corpus.traffic(2000, seed=seed) + corpus.sized(100, 3000, seed=seed)
    arguments = msgspec.structs.astuple(SETTINGS)
    found = by_endpoint(new_gateway(*arguments), traffic)
    assert {endpoint for body in found for endpoint in body} == {
        "import",
        "track",
        "engage",
        "groups",
    }
    assert found == by_endpoint(PlainPython(*arguments), traffic)


def test_typed_decode_reads_all_members(bodies: list[bytes]) -> None:
    """Encoding what was decoded gives the body again: the types leave nothing out."""
    decode = new_typed_decode()
    for body in bodies:
        decoded = msgspec.to_builtins(decode(body))
        assert without_nothing(decoded) == without_nothing(json.loads(body))


def without_nothing(value: Any) -> Any:
    """Leave out nulls and empty lists, which a struct has wherever nothing was."""
    if isinstance(value, Mapping):
        members = {key: without_nothing(inner) for key, inner in value.items()}
        return {key: inner for key, inner in members.items() if inner not in (None, [])}
    if isinstance(value, list):
        return [without_nothing(inner) for inner in value]
    return value


def test_fit_finds_the_line() -> None:
    found = fit([1, 10, 100], [5.0, 23.0, 203.0])
    assert found.fixed == pytest.approx(3)
    assert found.slope == pytest.approx(2)
    assert found.worst < 1e-9
    assert fit([1, 2, 3], [1.0, 2.0, 6.0]).worst > 0.1


def test_wrong_answers_are_told() -> None:
    expected = records_of(corpus.traffic(50), SETTINGS)
    lines = [json.dumps(answer).encode() for answer in expected]
    assert same(expected)(lines[::-1]) == ""
    assert "1 of" in same(expected)(lines[1:])
    assert "1 are unexpected" in same(expected)([*lines, lines[0]])
    lines[0] = lines[0].replace(b'"time": 1', b'"time": 2')
    assert same(expected)(lines)
    assert same_as_segment(expected)(lines)


@pytest.mark.parametrize(
    ("case", "check", "message"),
    [
        ("decode", same([["track", "another"]]), "wrong answers: 1 of 1 are missing"),
        ("unknown", same([]), "no case 'unknown'"),
    ],
)
def test_case_that_does_not_do_its_work_fails(
    tmp_path: Path, case: str, check: Callable[[Sequence[bytes]], str], message: str
) -> None:
    worker = (sys.executable, "-m", "benchmarks.worker")
    job = Job("a case", worker, case, corpus.traffic(1), 1, check)
    with pytest.raises(CaseFailed, match=message):
        list(repetitions_of(job, SETTINGS, repetitions=1, seconds=0, directory=tmp_path))


def run(*arguments: str, path: str | None = None) -> str:
    environ = os.environ if path is None else {**os.environ, "PATH": path}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_map(*arguments: str, path: str | None = None) -> str:
    return run("map", *TINY, *arguments, path=path)


def test_map_prints_and_writes_figures(tmp_path: Path) -> None:
    """With Segment's engine where it is installed, else with a word on how to get it."""
    file = tmp_path / "figures.json"
    printed = run_map("--no-lines", f"--json={file}")

    figures = json.loads(file.read_bytes())
    assert figures["machine"]["cores"] >= 1
    assert figures["python"]
    assert "commit" in figures
    cases = figures["cases"]
    assert list(cases) == ["gateway", "decode", "msgspec", "python", "segment", "segment-single"]
    for name, figure in cases.items():
        if figure == NOT_INSTALLED:
            assert name.startswith("segment")
            continue
        assert figure["median_us"] > 0
        assert f"{figure['median_us']:.2f}" in printed
    expected = {"gateway / msgspec", "python / gateway"}
    if cases["segment"] != NOT_INSTALLED:
        expected |= {"segment / gateway", "segment-single / gateway"}
    assert figures["ratios"].keys() == expected
    for name, ratio in figures["ratios"].items():
        assert f"{name}: {ratio:.2f}" in printed


def test_map_without_node_measures_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    printed = run_map(f"--json={file}", path=str(tmp_path))

    assert printed.count(NOT_INSTALLED) == 2
    assert "gateway / msgspec: " in printed
    assert "segment / gateway" not in printed
    lines = json.loads(file.read_bytes())["lines"]
    assert [point["x"] for point in lines["batch size"]["points"]] == [1, 10, 100, 1000]
    assert len(lines["event size"]["points"]) == 5
    for title, line in lines.items():
        assert f"by {title}: " in printed
        assert line["fit_us"]["slope"] > 0


SMALL = ("--events=200", "--processes=1", "--connections=8")
PEERS = {"aiohttp", "nginx", "python", "segment"}


def assert_figures(figures: dict[str, Any]) -> None:
    assert figures["us_per_event"] > 0
    assert figures["events_per_s"] > 0
    assert figures["load_us_per_request"] > 0
    latencies = list(figures["latency_ms"].values())
    assert list(figures["latency_ms"]) == ["p50", "p90", "p99", "p99.9"]
    assert 0 < latencies[0] <= latencies[-1]
    assert latencies == sorted(latencies)


def test_gateway_is_measured_beside_its_peers(tmp_path: Path) -> None:
    """With those that are installed, and a word on how to get the others."""
    file = tmp_path / "figures.json"
    printed = run(
        *("gateway", *SMALL, "--batch=20", "--batch=sdk", "--seconds=0.4", "--rounds=1"),
        *(f"--spool={tmp_path}", f"--json={file}"),
    )

    figures = json.loads(file.read_bytes())
    assert list(figures["traffic"]) == ["batches of 20", "as SDKs send"]
    for section in figures["traffic"].values():
        subjects = section["subjects"]
        assert subjects.keys() | figures["missing"].keys() == {"gateway"} | PEERS
        for subject in subjects.values():
            assert_figures(subject)
        ours = subjects["gateway"]
        assert f"{ours['us_per_event']:.2f}" in printed
        assert ours["commits_per_1000_events"] > 0
        assert ours["records"] > 0
        assert section["ratios"].keys() == subjects.keys() - {"gateway"}
        assert section["ratios"]["python"]["cpu_per_event"] == pytest.approx(
            subjects["python"]["us_per_event"] / ours["us_per_event"]
        )
    assert figures["disk"].startswith(f"{tmp_path} (")
    assert list(tmp_path.iterdir()) == [file]


def test_peers_that_are_not_installed_are_left_out_by_name(tmp_path: Path) -> None:
    missing = {peer.name: peer.missing() for peer in peers.PEERS}
    if shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin") is None:
        assert missing["nginx"] == "apt-get install nginx-light"
    file = tmp_path / "figures.json"
    printed = run(
        *("gateway", *SMALL, "--batch=20", "--seconds=0.2", "--rounds=1", f"--json={file}"),
        path=str(tmp_path),
    )
    figures = json.loads(file.read_bytes())
    assert figures["missing"]["segment"] == NOT_INSTALLED.replace("run ", "")
    assert "segment  not installed: make bench-peers" in printed


def test_ingest_delivers_nothing(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    run(
        *("ingest", *SMALL, "--batch=1", "--seconds=0.3", "--rounds=2", "--no-peers"),
        f"--json={file}",
    )

    section = json.loads(file.read_bytes())["traffic"]["single events"]
    ours = section["subjects"]["gateway"]
    assert_figures(ours)
    assert "lag_p99_s" not in ours
    assert len(ours["rounds"]["us_per_event"]) == 2


def test_workers_share_the_load(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    printed = run(
        *("gateway", *SMALL, "--batch=20", "--seconds=0.5", "--rounds=1", "--no-peers"),
        *("--workers=2", f"--json={file}"),
    )

    ours = json.loads(file.read_bytes())["traffic"]["batches of 20"]["subjects"]["gateway"]
    assert_figures(ours)
    assert 0.3 < ours["busiest_process_share"] < 1
    assert "its busiest process took" in printed


@pytest.mark.parametrize("load", ["--rate=50", "--share=0.3"])
def test_latency_is_measured_at_a_rate(tmp_path: Path, load: str) -> None:
    file = tmp_path / "figures.json"
    printed = run(
        *("latency", *SMALL, "--batch=20", "--seconds=1", "--peak-seconds=0.3", load),
        f"--json={file}",
    )

    row = json.loads(file.read_bytes())["traffic"]["batches of 20"]
    assert_figures(row)
    assert f"{row['latency_ms']['p99']:.2f}" in printed
    assert row["requests"] == pytest.approx(row["rate"], rel=0.5)
    assert 0 < row["lag_p99_s"] < 10
    if load == "--rate=50":
        assert (row["rate"], row["peak_requests_per_s"]) == (50, None)
    else:
        assert row["rate"] == pytest.approx(0.3 * row["peak_requests_per_s"])


def test_soak_shows_memory_descriptors_and_ledger(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    printed = run(
        *("soak", *SMALL, "--minutes=0.05", "--peak-seconds=0.3", "--share=0.3"),
        *("--sink=sandbox", f"--json={file}"),
    )

    figures = json.loads(file.read_bytes())
    samples = figures["samples"]
    assert len(samples) >= 3
    assert {sample["gap"] for sample in samples} == {0}
    assert all(20e6 < sample["largest_bytes"] <= sample["resident_bytes"] for sample in samples)
    assert all(sample["descriptors"] > 10 for sample in samples)
    assert samples[0]["accepted"] < samples[-1]["accepted"] <= figures["end"]["accepted"]
    assert figures["end"]["delivered"] == figures["end"]["accepted"]
    assert figures["end"]["pending"] == 0
    assert "MB a minute" in printed


def test_report_has_everything(tmp_path: Path) -> None:
    file, html = tmp_path / "figures.json", tmp_path / "page.html"
    printed = run(
        *("report", *SMALL, "--scale=0.05", "--batch=20", "--no-peers"),
        *(f"--json={file}", f"--html={html}"),
    )

    figures = json.loads(file.read_bytes())
    assert figures.keys() >= {"map", "ingest", "gateway", "latency", "soak", "stages", "machine"}
    titles = ["batches of 20"]
    for part in ("ingest", "gateway", "latency"):
        assert list(figures[part]["traffic"]) == titles
    assert list(figures["stages"]) == titles
    assert html.read_text() == page.render(figures)
    assert str(html) in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gateway", "--batch=0"), "sdk, or a number from 1 to 2000"),
        (("gateway", "--sink=here"), "own, sandbox, or the http URL"),
        (("gateway", "--gzip=some"), "'sdk', 'all', 'none'"),
        (("gateway", "--spool=/nowhere"), "does not exist"),
        (("ingest", "--sink=own"), "No such option"),
        (("latency", "--share=2"), "less than or equal to 1"),
        (("soak", "--minutes=x"), "a valid number"),
        (("gateway", "--sink=https://api-eu.mixpanel.com"), "must not post to Mixpanel"),
        (("gateway", "--events=3"), "3 events are too few for batches of 50"),
    ],
)
def test_wrong_options_say_what_is_accepted(arguments: tuple[str, ...], message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert message in done.stderr
