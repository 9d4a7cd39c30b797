"""How fast the analysis is on a made store: opening it, costs of all conversations, the messages of one, and memory.

``python costing.py STORE ROUNDS`` opens the store in this process and prints the figures of it as JSON. Each opening is
a process of its own, so that nothing is left of the one before; the store's files are in the system's cache by then.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import made_store
import turnledger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import polars as pl

T = TypeVar("T")

_BY_HAND: Final = """
    select {conversation} as conversation_id, count(*) as calls, sum(input_tokens) as input_tokens,
        sum(output_tokens) as output_tokens, sum(cache_read_tokens) as cache_read_tokens,
        sum(cache_write_tokens) as cache_write_tokens, sum(reasoning_tokens) as reasoning_tokens
    from {source}
    group by 1
    order by input_tokens desc nulls last, conversation_id
"""
"""The sums of ``Ledger.costs`` over columns that hold no price, the largest first, as a person writes it."""

_IN_FILES: Final = {
    # what was not given a conversation when it was recorded is one by itself: nothing stitches calls here
    "conversation": "coalesce(conversation_id, call_id)",
    "source": "read_parquet('{}/spans/*/*.parquet', hive_partitioning = false) where call_id is not null",
}
_IN_MEMORY: Final = {"conversation": "conversation_id", "source": "call_costs"}


MOST_LISTED: Final = 200_000
"""Larger stores are only summed: their conversations and messages are listed for minutes."""


def costing(sizes: Sequence[int], processes: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return the figures of stores of so many calls: times in seconds, medians over processes, memory in MiB.

    Args:
        sizes: how many calls each store holds.
        processes: how often each is opened.
        rounds: how often in each process costs are asked for, in turn with the same sums by hand.
    """
    found: dict[str, dict[str, float]] = {}
    for calls in sizes:
        with tempfile.TemporaryDirectory() as folder:
            made_store.make_store(Path(folder), calls)
            runs = [_opened(folder, rounds) for _ in range(processes)]
        found[str(calls)] = {name: round(statistics.median(run[name] for run in runs), 4) for name in runs[0]}
    return found


def _opened(folder: str, rounds: int) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, folder, str(rounds)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def measured(folder: str, rounds: int) -> dict[str, float]:
    """Open a store in this process and measure it."""
    ledger, opened = _timed(lambda: turnledger.open(folder))
    with ledger:
        files = _BY_HAND.format(**_IN_FILES).format(folder)
        memory = _BY_HAND.format(**_IN_MEMORY)
        asked: dict[str, Callable[[], pl.DataFrame]] = {
            "costs_s": lambda: ledger.costs(by="conversation"),
            "by_hand_s": lambda: ledger.sql(files),
            "by_hand_in_memory_s": lambda: ledger.sql(memory),
        }
        times: dict[str, list[float]] = {name: [] for name in asked}
        for _ in range(rounds):
            for name, ask in asked.items():
                times[name].append(_timed(ask)[1])
        figures = {"open_s": opened} | {name: statistics.median(taken) for name, taken in times.items()}
        figures["costs_ratio"] = figures["costs_s"] / figures["by_hand_s"]
        figures["costs_ratio_in_memory"] = figures["costs_s"] / figures["by_hand_in_memory_s"]
        figures["costs_peak_mib"] = _peak_mib()
        if ledger.sql("select count(*) from call_costs").item() > MOST_LISTED:
            return figures
        one = ledger.sql("select conversation_id from call_costs order by place desc, conversation_id limit 1").item()
        figures["messages_of_one_s"] = _timed(lambda: ledger.messages(conversation=one))[1]
        figures["conversations_s"] = _timed(ledger.conversations)[1]
        figures["peak_mib"] = _peak_mib()
    return figures


def _timed(ask: Callable[[], T]) -> tuple[T, float]:
    begun = time.perf_counter()
    answer = ask()
    return answer, time.perf_counter() - begun


def _peak_mib() -> float:
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measured(sys.argv[1], int(sys.argv[2]))) + "\n")
