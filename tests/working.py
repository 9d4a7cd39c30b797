"""The work of a child process that multiprocessing begins; it is imported there by its name."""

from __future__ import annotations

import time
from typing import Any

import httpx2
import turnledger


def work(queue: Any, store: str, url: str, host: str, returns: bool) -> None:
    """Call the provider, say so, and return or wait to be terminated."""
    turnledger.instrument(store=store, hosts={host: "openai"})
    with turnledger.conversation("child"):
        httpx2.post(f"{url}/v1/chat/completions", json={"model": "gpt-4o"}, timeout=60)
    queue.put("child")
    if not returns:
        time.sleep(60)
