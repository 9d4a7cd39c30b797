"""The benchmark works and gives every figure; how large they are is for people to judge, on a quiet machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
CASES = (
    *("httpx call", "httpx async call", "httpx stream chunk", "httpx async stream chunk", "httpx untouched request"),
    *("httpx2 call", "httpx2 async call", "httpx2 stream chunk", "httpx2 async stream chunk"),
    *("httpx2 untouched request", "openai SDK call", "openai SDK stream chunk", "anthropic SDK call"),
    *("urllib3 call", "urllib3 stream chunk", "urllib3 untouched request", "aiohttp untouched request"),
)


def test_quick_run(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "bench" / "run.py", "--quick", "--output", "figures.json"],
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
