"""An application that calls a provider from three threads until it is killed, and says when each call has returned.

Run as a script: ``killed_app.py STORE URL HOST DURABILITY ROLL_BYTES``. Each line it prints is a conversation's id (one
a call) and the Unix time when the call had returned.
"""

from __future__ import annotations

import os
import sys
import threading
import time

import httpx2
import turnledger
from turnledger.exporters import parquet
from turnledger.exporters.parquet import ParquetSpanExporter

THREADS = 3
PAUSE_S = 0.005
"""Between two calls of a thread: an application waits for its provider most of the time."""

BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}


def call_for_ever(url: str, thread: int) -> None:
    """Call, and say so."""
    with httpx2.Client(base_url=url, timeout=60) as client:
        for number in range(10**9):
            name = f"{os.getpid()}-{thread}-{number}"
            with turnledger.conversation(name):
                client.post("/v1/chat/completions", json=BODY)
            os.write(1, f"{name} {time.time()}\n".encode())
            time.sleep(PAUSE_S)


def main(store: str, url: str, host: str, durability: str, roll_bytes: str) -> None:
    """Run until killed, or asked to end by SIGTERM."""
    parquet.ROLL_BYTES = int(roll_bytes)
    parquet._LOOK_S = 0.05
    exporter = ParquetSpanExporter(store, durability=durability)  # pyright: ignore[reportArgumentType]
    turnledger.instrument(exporter=exporter, hosts={host: "openai"})
    threads = [threading.Thread(target=call_for_ever, args=(url, number), daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
