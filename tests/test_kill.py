"""kill -9 at any moment: what ended more than 200 ms before is in the store, once, and every file can be read."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from apps import conversations
from said import completion
from sizes import sized
from stub_server import json_reply
from turnledger.exporters.rolling import recover
from turnledger.exporters.snapshot import list_files
from turnledger.exporters.spool import spool_files
from turnledger.exporters.store import Store

if TYPE_CHECKING:
    from collections import Counter

    from stub_server import StubServer

APP = Path(__file__).with_name("killed_app.py")
LOST_S = 0.2
"""What is younger than this when its process is killed may be lost."""

NEVER = 1 << 40
LITTLE = 20_000
"""So few bytes become Parquet at once that the process is often killed while that happens."""


class Killed(NamedTuple):
    """What a killed application had said: its calls, and how long before its death each had returned."""

    calls: dict[str, float]

    def older_than(self, seconds: float) -> set[str]:
        """Return the calls that had returned so long before."""
        return {name for name, age in self.calls.items() if age > seconds}


def kill(store: Path, stub: StubServer, chance: random.Random, *, durability: str, roll_bytes: int) -> Killed:
    """Run an application, and kill it at some moment after it has made some calls."""
    arguments = [str(store), stub.url, stub.host, durability, str(roll_bytes)]
    with subprocess.Popen([sys.executable, APP, *arguments], stdout=subprocess.PIPE) as app:
        assert app.stdout is not None
        lines = [app.stdout.readline() for _ in range(chance.randrange(1, 30))]
        time.sleep(chance.random() * 0.4)  # the moment is what is tried here
        killed_at = time.time()
        app.kill()
        lines += app.stdout.readlines()
        assert app.wait() == -signal.SIGKILL
    said = [line.decode().split() for line in lines if line.endswith(b"\n")]
    return Killed({name: killed_at - float(at) for name, at in said})


def check(store: Store, killed: list[Killed], lost_s: float) -> Counter[str]:
    """See that what must be there is there once, and nothing twice."""
    there = conversations(store)
    assert [name for name, count in there.items() if count > 1] == []
    missing = {name: age for one in killed for name, age in one.calls.items() if name not in there and age > lost_s}
    assert missing == {}
    return there


@pytest.mark.parametrize("roll_bytes", [NEVER, LITTLE])
@pytest.mark.parametrize("part", range(sized(2, 50)))
def test_what_is_older_than_200_ms_survives(part: int, roll_bytes: int, stub: StubServer, tmp_path: Path):
    stub.script(json_reply({"id": "c1", "model": "gpt-4o", **completion("Hello!")}))
    chance = random.Random(f"{part} {roll_bytes}")
    store = Store.at(tmp_path)
    killed: list[Killed] = []
    for _ in range(2):  # the second one takes over what the first has left
        killed.append(kill(tmp_path, stub, chance, durability="batch", roll_bytes=roll_bytes))
        there = check(store, killed, LOST_S)
    recover(store)
    assert spool_files(store.spool) == []
    assert check(store, killed, LOST_S) == there
    assert [path.name for path in tmp_path.rglob("*.tmp") if path.parent.name == "spool"] == []


@pytest.mark.parametrize("durability", ["span", "disk"])
def test_with_more_durability_what_has_returned_survives(durability: str, stub: StubServer, tmp_path: Path):
    stub.script(json_reply({"id": "c1", "model": "gpt-4o", **completion("Hello!")}))
    chance = random.Random(durability)
    for run in range(sized(2, 20)):
        killed = kill(tmp_path / str(run), stub, chance, durability=durability, roll_bytes=NEVER)
        check(Store.at(tmp_path / str(run)), [killed], 0)


def test_those_who_take_over_at_the_same_time_do_it_once(stub: StubServer, tmp_path: Path):
    stub.script(json_reply({"id": "c1", "model": "gpt-4o", **completion("Hello!")}))
    chance = random.Random(11)
    store = Store.at(tmp_path)
    killed = [kill(tmp_path, stub, chance, durability="span", roll_bytes=NEVER) for _ in range(3)]
    before = conversations(store)
    barrier = threading.Barrier(4)

    def take_over() -> None:
        barrier.wait(30)
        recover(Store.at(tmp_path))

    threads = [threading.Thread(target=take_over) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert check(store, killed, 0) == before
    assert spool_files(store.spool) == []
    assert len(list_files(store.storage).files) == len({file.name for file in list_files(store.storage).files})
