"""The fuzzer: ``make fuzz``, or ``python -m tests.fuzz.fuzz_events`` with libFuzzer's options."""

import json
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["gateway", "fastmap"]):
    from gateway.ingest.syft import decode_upload
    from tests.fuzz.checks import check_body, check_inputs, check_records


def one_input(data: bytes) -> None:
    """Check one input of the fuzzer."""
    check_inputs(data)
    check_body(data)
    check_body(data, decode_upload)
    check_records(data)


def write_seeds(folder: Path) -> None:
    """Write events of the vectors, alone and repeated, one a file, for the fuzzer to start from."""
    context = {"library": {"name": "analytics-kotlin", "version": "1.19.1"}}
    vectors = Path(__file__).parent.parent / "vectors" / "syft.json"
    for i, case in enumerate(json.loads(vectors.read_bytes())):
        (folder / str(i)).write_text(json.dumps(case["input"]))
        batch = [{"context": context, **case["input"]}] * 2
        (folder / f"{i}-batch").write_text(json.dumps({"batch": batch}))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as seeds:
        write_seeds(Path(seeds))
        atheris.Setup([*sys.argv, seeds], one_input)
        atheris.Fuzz()
