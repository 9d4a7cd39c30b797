"""What is measured: each figure with its unit, medians throughout, with and without capture in turn in one process."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import conversations
import costing as made_costs
import pools
import recorded
import sdks
import storing
import traffic
import turnledger
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from turnledger.analysis.har import import_har
from turnledger.exporters.parquet import ParquetSpanExporter
from turnledger.exporters.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traffic import Case


@dataclass(frozen=True)
class Effort:
    """How much is measured: rounds of blocks with and without capture, calls a block, spans to export and so on."""

    rounds: int = 9
    calls: int = 300
    streams: int = 40
    sends: int = 200_000
    spans: int = 40_000
    single_spans: int = 500
    copies: int = 12
    processes: int = 7
    memory_calls: int = 3_000
    turns: int = 1_000
    stores: tuple[int, ...] = (100_000, 1_000_000)
    openings: int = 3


QUICK: Final = Effort(
    rounds=1,
    calls=5,
    streams=2,
    sends=50,
    spans=60,
    single_spans=5,
    copies=1,
    processes=1,
    memory_calls=20,
    turns=500,
    stores=(100_000,),
    openings=1,
)


def overhead(case: Case, count: int, rounds: int, *, parts: int = 1) -> dict[str, Any]:
    """Compare a case with and without capture.

    Args:
        case: what to run.
        count: calls a block.
        rounds: pairs of blocks; the order within a pair changes, and one pair before them is not counted.
        parts: what one call consists of, such as the chunks of a stream; times are for one part.
    """
    found: dict[bool, list[traffic.Sample]] = {False: [], True: []}
    background: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(-1, rounds):
            for captured in (False, True) if number % 2 else (True, False):
                begun = time.process_time_ns()
                if captured:
                    turnledger.instrument(store=folder)
                    begun = time.process_time_ns()
                samples = case(count)
                if captured:
                    turnledger.flush()
                    spent = time.process_time_ns() - begun - sum(cpu for _, cpu in samples)
                    background.append(spent / len(samples))
                    turnledger.uninstrument()
                if number >= 0:
                    found[captured] += samples
    walls = {captured: statistics.median(wall for wall, _ in samples) / parts for captured, samples in found.items()}
    cpus = {captured: statistics.median(cpu for _, cpu in samples) / parts for captured, samples in found.items()}
    return {
        "plain_us": round(walls[False] / 1e3, 3),
        "captured_us": round(walls[True] / 1e3, 3),
        "added_us": round((walls[True] - walls[False]) / 1e3, 3),
        "added_cpu_us": round((cpus[True] - cpus[False]) / 1e3, 3),
        "ratio": round(walls[True] / walls[False], 3),
        "background_cpu_us": round(max(statistics.median(background), 0) / parts / 1e3, 3),
    }


@contextmanager
def empty_send(library: Any) -> Iterator[None]:
    """Replace the client's ``send`` by a function that does nothing."""
    original = library.Client.send
    library.Client.send = lambda _self, _request, **_options: None
    try:
        yield
    finally:
        library.Client.send = original


def callers(effort: Effort) -> dict[str, dict[str, Any]]:
    """Return what capture adds on the calling thread, by case."""
    found: dict[str, dict[str, Any]] = {}
    for name, library in traffic.LIBRARIES.items():
        found[f"{name} call"] = overhead(traffic.plain(library), effort.calls, effort.rounds)
        found[f"{name} async call"] = overhead(traffic.aplain(library), effort.calls, effort.rounds)
        options = {"parts": traffic.CHUNKS}
        found[f"{name} stream chunk"] = overhead(traffic.streamed(library), effort.streams, effort.rounds, **options)
        found[f"{name} async stream chunk"] = overhead(
            traffic.astreamed(library), effort.streams, effort.rounds, **options
        )
        with empty_send(library):
            untouched = overhead(traffic.untouched(library), effort.sends, effort.rounds)
        found[f"{name} untouched request"] = {**untouched, "background_cpu_us": 0.0}  # there is no work to pass on
    found["openai SDK call"] = overhead(sdks.openai_sdk, effort.calls, effort.rounds)
    found["openai SDK stream chunk"] = overhead(
        sdks.openai_sdk_streamed, effort.streams, effort.rounds, parts=traffic.CHUNKS
    )
    found |= pooled(effort)
    found["anthropic SDK call"] = overhead(sdks.anthropic_sdk, effort.calls, effort.rounds)
    return found


def pooled(effort: Effort) -> dict[str, dict[str, Any]]:
    """Return the same for the clients that are not measured whole: what lies around the method that capture wraps."""
    found: dict[str, dict[str, Any]] = {}
    with pools.answering(traffic.chat_body()):
        found["urllib3 call"] = overhead(pools.plain, effort.calls, effort.rounds)
    with pools.answering(b"".join(traffic.chat_events())):
        found["urllib3 stream chunk"] = overhead(pools.streamed, effort.streams, effort.rounds, parts=traffic.CHUNKS)
    with pools.answering(None):
        for name, case in (("urllib3", pools.untouched), ("aiohttp", pools.auntouched)):
            untouched = overhead(case, effort.sends, effort.rounds)
            found[f"{name} untouched request"] = {**untouched, "background_cpu_us": 0.0}
    return found


def exporting(effort: Effort) -> dict[str, float]:
    """Return what it takes to store a span, and how large one of a recorded call is in Parquet, no two alike."""
    memory = InMemorySpanExporter()
    turnledger.instrument(exporter=memory)
    for path in recorded.FILES:
        for entry in recorded.entries(path):
            recorded.replay(entry)
    turnledger.uninstrument()
    spans = memory.get_finished_spans()
    with tempfile.TemporaryDirectory() as folder:
        exporter = ParquetSpanExporter(folder)
        exporter.export(spans)
        exporter.shutdown()
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
    return {
        **storing.storing(effort.spans),
        **storing.durable(effort.single_spans),
        "bytes_per_recorded_span": round(size / len(spans), 1),
    }


def importing(effort: Effort) -> dict[str, float]:
    """Return how fast recordings are imported: the sample beside the tests, every file several times over."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / path.name for path in recorded.FILES]
        for path, copy in zip(recorded.FILES, files, strict=True):
            entries = recorded.entries(path) * effort.copies
            copy.write_text(json.dumps({"log": {"entries": entries}}))
        begun = time.perf_counter()
        reports = import_har(files, Store.at(Path(folder) / "store"))
        spent = time.perf_counter() - begun
    entries = sum(report.taken + sum(report.skipped.values()) for report in reports)
    return {"entries_per_s": round(entries / spent), "entries": entries}


def conversing(effort: Effort) -> dict[str, float]:
    """Return what a call takes in the store and on the worker, in short conversations and in long ones."""
    return conversations.short_and_long(effort.turns)


def costing(effort: Effort) -> dict[str, dict[str, float]]:
    """Return how fast stores of made calls are costed, by their number of calls."""
    return made_costs.costing(effort.stores, effort.openings, effort.rounds)


_IMPORT: Final = "import time; t = time.perf_counter(); {}; print((time.perf_counter() - t) * 1e3)"


def _printed(*arguments: str | Path) -> list[float]:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def imports(effort: Effort) -> dict[str, float]:
    """Return how long imports take in a fresh interpreter."""
    statements = {
        "import_turnledger_ms": "import turnledger",
        "import_capture_ms": "import turnledger; turnledger.observe; import turnledger.instrument.runtime",
        "instrument_ms": "import httpx2, tempfile, turnledger; d = tempfile.TemporaryDirectory(); "
        "t = time.perf_counter(); turnledger.instrument(store=d.name)",
        "import_open_ms": "import turnledger; turnledger.open",
    }
    return {
        name: round(statistics.median(_printed("-c", _IMPORT.format(code))[0] for _ in range(effort.processes)), 2)
        for name, code in statements.items()
    }


def memory(effort: Effort) -> dict[str, float]:
    """Return the resident memory of a process after it made calls, without and with capture."""
    script = Path(__file__).with_name("memory.py")
    runs = {
        name: [_printed(script, str(effort.memory_calls), name) for _ in range(min(effort.processes, 3))]
        for name in ("plain", "captured")
    }
    plain, captured = (statistics.median(run[2] for run in runs[name]) for name in runs)
    return {
        "calls": effort.memory_calls,
        "plain_mib": round(plain, 1),
        "captured_mib": round(captured, 1),
        "switched_on_mib": round(statistics.median(run[1] - run[0] for run in runs["captured"]), 1),
        "added_mib": round(captured - plain, 1),
    }
