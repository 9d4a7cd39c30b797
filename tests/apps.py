"""Applications in processes of their own, each a few lines of code behind the same beginning."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Self

import turnledger
from turnledger.exporters.snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stub_server import StubServer
    from turnledger.exporters.store import Store

BEGINNING = """
    import asyncio, atexit, multiprocessing, os, signal, sys, threading, time
    import httpx2, turnledger

    STORE, URL, HOST = sys.argv[1:4]
    BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}

    def begin(**options):
        turnledger.instrument(store=STORE, hosts={HOST: "openai"}, **options)

    def say(*words):
        os.write(1, (" ".join(map(str, words)) + "\\n").encode())

    def call(name, client=httpx2):
        with turnledger.conversation(name):
            client.post(f"{URL}/v1/chat/completions", json=BODY, timeout=60)
        say(name)

    def call_on(name):
        with httpx2.Client() as client:
            for number in range(10**9):
                call(f"{name}-{number}", client)
                time.sleep(0.002)

    def keep_calling(threads=2):
        for number in range(threads):
            threading.Thread(target=call_on, args=(f"t{os.getpid()}-{number}",), daemon=True).start()
"""
"""``begin`` switches capture on, ``call`` calls the provider and then says the name of the call."""


class App:
    """A running application; what it says is a line each."""

    def __init__(
        self, store: Path, stub: StubServer, code: str, before: Sequence[str] = (), stdin: int | None = None
    ) -> None:
        script = textwrap.dedent(BEGINNING) + textwrap.dedent(code)
        command = [*before, sys.executable, "-c", script, str(store), stub.url, stub.host]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=stdin, stdout=pipe, stderr=pipe, text=True)
        self.said: list[str] = []

    def __enter__(self) -> Self:
        """Return the application."""
        return self

    def __exit__(self, *_: object) -> None:
        """See that it is gone."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.communicate()

    def listen(self, lines: int) -> None:
        """Wait until it has said so many lines more."""
        assert self.process.stdout is not None
        for _ in range(lines):
            line = self.process.stdout.readline()
            assert line, self.process.communicate()[1]
            self.said.append(line.strip())

    def end(self, status: int, signalled: int = 0) -> list[str]:
        """Wait until it ends with this status, after a signal perhaps; returns all it has said."""
        if signalled:
            self.process.send_signal(signalled)
        said, errors = self.process.communicate(timeout=60)
        self.said += said.split()
        assert self.process.returncode == status, errors
        return self.said


def conversations(store: Store) -> Counter[str]:
    """Return how often each conversation is in a store, by its files and spools, all of which can be read."""
    found = snapshot(store)
    assert found.listing.problems == []
    assert [reading.damaged for reading in found.spools.values() if reading.damaged] == []
    with turnledger.open(store.root) as ledger:
        assert ledger.problems == ()
        rows = ledger.sql("select conversation_id from spans where call_id is not null")
    return Counter(rows["conversation_id"].to_list())
