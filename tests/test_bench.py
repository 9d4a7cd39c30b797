"""The benchmark works and gives every figure; how large they are is for people to judge, on a quiet machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import turnledger

ROOT = Path(__file__).parent.parent
BENCH = ROOT / "tests" / "bench"
CASES = (
    *("httpx call", "httpx async call", "httpx stream chunk", "httpx async stream chunk", "httpx untouched request"),
    *("httpx2 call", "httpx2 async call", "httpx2 stream chunk", "httpx2 async stream chunk"),
    *("httpx2 untouched request", "openai SDK call", "openai SDK stream chunk", "anthropic SDK call"),
    *("urllib3 call", "urllib3 stream chunk", "urllib3 untouched request", "aiohttp untouched request"),
)


def test_quick_run(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, BENCH / "run.py", "--quick", "--only", "capture", "--output", "figures.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "figures.json").read_text())
    assert {path.name for path in tmp_path.iterdir()} == {"figures.json"}
    assert {"python", "system", "cores", "load", "versions"} == set(found["machine"])
    assert sorted(found["callers"]) == sorted(CASES)
    for name, figure in found["callers"].items():
        assert figure["plain_us"] > 0, name
        assert figure["captured_us"] > 0, name
        assert figure["ratio"] > 0, name
        assert {"added_us", "added_cpu_us", "background_cpu_us"} <= set(figure), name
        assert name in done.stdout
    assert set(found["exporting"]) == {
        *("spans", "spans_per_s", "spans_per_s_and_core", "cpu_us_per_span", "cpu_us_per_span_until_spooled"),
        *("bytes_per_span", "bytes_per_recorded_span", "batch_us", "span_us", "disk_us"),
    }
    assert set(found["importing"]) == {"entries_per_s", "entries"}
    assert set(found["conversing"]) == {
        *("bytes_per_call_of_5_turns", "bytes_per_call_of_500_turns", "bytes_ratio"),
        *("us_per_call_of_5_turns", "us_per_call_of_500_turns"),
    }
    assert found["conversing"]["bytes_ratio"] <= 1.2, "what a call takes grows with its new messages only"
    assert set(found["imports"]) == {"import_turnledger_ms", "import_capture_ms", "instrument_ms", "import_open_ms"}
    assert set(found["memory"]) == {"calls", "plain_mib", "captured_mib", "switched_on_mib", "added_mib"}
    assert all(figure > 0 for group in ("exporting", "importing", "imports") for figure in found[group].values())


def test_made_store_is_costed(tmp_path: Path):
    store = tmp_path / "store"
    subprocess.run([sys.executable, BENCH / "made_store.py", store, "2000"], check=True)
    with turnledger.open(store) as ledger:
        assert ledger.problems == ()
        calls = ledger.calls()
    assert calls.height >= 2000
    assert set(calls["conversation_source"]) == {"app", "call", "chain", "stitched"}
    assert {"billed", "computed", "estimated", None} <= set(calls["cost_source"])
    assert set(calls["attempts"]) == {1, 2}


def test_costing(tmp_path: Path):
    code = (
        "import dataclasses, json, figures, run;"
        "found = run.measure(dataclasses.replace(figures.QUICK, stores=(2000,)), 'costing');"
        "print(json.dumps([found['costing'], run.table(found)]))"
    )
    path = {**os.environ, "PYTHONPATH": f"{BENCH}{os.pathsep}{BENCH.parent}"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found, table = json.loads(done.stdout)
    assert set(found) == {"2000"}
    assert set(found["2000"]) == {
        *("open_s", "costs_s", "by_hand_s", "by_hand_in_memory_s", "costs_ratio", "costs_ratio_in_memory"),
        *("costs_peak_mib", "messages_of_one_s", "conversations_s", "peak_mib"),
    }
    assert all(figure > 0 for figure in found["2000"].values())
    assert "2,000 made calls" in table
    assert all(name in table for name in found["2000"])
