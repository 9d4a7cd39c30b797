"""Trouble with the store never reaches the application: its calls go on, and what can be kept is kept and counted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import turnledger
from said import completion
from stub_server import json_reply
from turnledger.exporters import spool
from turnledger.exporters.parquet import ParquetSpanExporter
from turnledger.exporters.reporting import REPORT
from turnledger.exporters.store import Store
from turnledger.instrument import health

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Recorder
    from stub_server import StubServer

    Stored = Callable[[Path], list[dict[str, Any]]]

LONG_S = 30.0


class App:
    """An application that calls a provider, with its ledger in a folder."""

    def __init__(self, stub: StubServer, folder: Path) -> None:
        self.stub, self.folder, self.calls = stub, folder, 0

    def call(self, times: int = 1) -> None:
        """Call the provider; the answers are as they were sent."""
        with httpx2.Client(base_url=self.stub.url) as client:
            for _ in range(times):
                self.calls += 1
                name = f"c{self.calls}"
                self.stub.script(json_reply({"id": name, "model": "gpt-4o", **completion("Hello!")}))
                answer = client.post("/v1/chat/completions", json={"model": "gpt-4o", "messages": []})
                assert answer.json()["id"] == name

    def on(self, **options: Any) -> None:
        """Switch capture on."""
        exporter = ParquetSpanExporter(self.folder, **options)
        turnledger.instrument(exporter=exporter, hosts={self.stub.host: "openai"})


@pytest.fixture
def app(stub: StubServer, capture: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    del capture  # which leaves capture off and the counts at zero
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    yield App(stub, tmp_path / "store")
    turnledger.uninstrument()


def ids(stored: Stored, folder: Path) -> list[str]:
    return sorted((row["response_id"] for row in stored(folder)), key=lambda name: int(name[1:]))


def names(count: int) -> list[str]:
    return [f"c{number}" for number in range(1, count + 1)]


class Hanging:
    """Writes that hang like those to a network file system whose server is away, until it is back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, below: Path) -> None:
        self.hangs, self.back, self._below = threading.Event(), threading.Event(), str(below)
        self._write = os.write
        monkeypatch.setattr(spool.os, "write", self.write)

    def write(self, descriptor: int, data: bytes) -> int:
        """Write, once the file system is back."""
        if Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(self._below):
            self.hangs.set()
            assert self.back.wait(LONG_S)
        return self._write(descriptor, data)


def test_a_file_system_that_hangs(app: App, stored: Stored, monkeypatch: pytest.MonkeyPatch):
    disk = Hanging(monkeypatch, app.folder)
    app.on()
    app.call()
    assert disk.hangs.wait(LONG_S)
    app.call(20)  # each returns while the write is stuck
    assert not turnledger.flush(0.1)
    disk.back.set()
    assert turnledger.flush(LONG_S)
    turnledger.uninstrument()
    assert ids(stored, app.folder) == names(21)


@pytest.mark.parametrize("durability", ["span", "disk"])
def test_waiting_for_the_disk_ends_where_it_hangs(
    durability: str, app: App, stored: Stored, monkeypatch: pytest.MonkeyPatch
):
    disk = Hanging(monkeypatch, app.folder)
    app.on(durability=durability)
    app.call(3)
    assert disk.hangs.is_set()
    disk.back.set()
    turnledger.uninstrument()
    assert ids(stored, app.folder) == names(3)


def test_what_is_over_the_bound_is_spilled_seen_and_taken_back(
    app: App, stored: Stored, monkeypatch: pytest.MonkeyPatch
):
    disk = Hanging(monkeypatch, app.folder)
    app.on(held_bytes=1, durability="span")  # each call is a record of its own
    app.call(10)
    spill = Store.at(app.folder).spill
    assert [path.suffix for path in spill.iterdir()] == [".spool"]
    assert ids(stored, app.folder) == names(9)[1:]  # readers see them: all but the one that hangs and the latest
    disk.back.set()
    turnledger.uninstrument()
    assert ids(stored, app.folder) == names(10)
    assert list(spill.iterdir()) == list(Store.at(app.folder).spool.iterdir()) == []
    assert health.snapshot()["store.spilled_spans"] == 8


FULL = """
    import os, resource, sys, threading
    import httpx2, turnledger
    from turnledger.instrument import health
    store, mode, calls = sys.argv[1], sys.argv[2], int(sys.argv[3])
    answers = iter(range(1, 1000))

    def reply(request):
        return httpx2.Response(200, json={"id": f"c{next(answers)}", "pad": ["x" * 200] * 60})

    client = httpx2.Client(transport=httpx2.MockTransport(reply))

    def call(times):
        for _ in range(times):
            client.post("https://api.openai.com/v1/chat/completions", json={"model": "m", "messages": []})
            turnledger.flush(0.2)

    from turnledger.exporters.parquet import ParquetSpanExporter
    turnledger.instrument(exporter=ParquetSpanExporter(store, held_bytes=20_000))
    if mode == "read-only":
        os.setuid(65534)  # now, since the interpreter's own files may be closed to others
    if mode == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
    call(calls)
    if mode == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        call(1)
    turnledger.uninstrument()
    counts = health.snapshot()
    print(counts.get("store.lost_spans", 0), counts.get("store.spilled_spans", 0), counts.get("store.write", 0))
"""


def run(code: str, *arguments: object, before: tuple[str, ...] = (), **environment: str) -> str:
    command = [*before, sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_a_disk_that_is_full_everywhere_loses_what_it_says(tmp_path: Path, stored: Stored):
    # No file may grow beyond a limit of the system's: neither the store's spool nor what is spilled.
    (tmp_path / "temporary").mkdir()
    lost, spilled, failures = map(
        int, run(FULL, tmp_path / "store", "limit", 40, TMPDIR=str(tmp_path / "temporary")).split()
    )
    assert failures > 0
    assert lost > 0
    assert spilled > 0
    found = ids(stored, tmp_path / "store")
    assert len(found) == len(set(found)) == 41 - lost
    with turnledger.open(tmp_path / "store") as ledger:
        assert ledger.problems == ()
        (row,) = ledger.sql("select attributes from spans where name = ?", [REPORT]).rows()
    assert f'"store.lost_spans":{lost}' in row[0]


CAN_MOUNT = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not CAN_MOUNT, reason="this user cannot mount a small disk")
def test_a_disk_that_is_full_is_no_loss_while_another_has_room(tmp_path: Path, stored: Stored):
    folder, temporary = tmp_path / "disk", tmp_path / "temporary"
    for path in (folder, temporary, tmp_path / "kept"):
        path.mkdir()
    script = f'mount -t tmpfs -o size=128k tmpfs {folder} && "$0" "$@" && cp -r {folder}/. {tmp_path}/kept'
    said = run(FULL, folder, "tmpfs", 60, before=("unshare", "-m", "sh", "-c", script), TMPDIR=str(temporary))
    lost, spilled, failures = map(int, said.split())
    assert lost == 0
    assert spilled > 0
    assert failures > 0
    # The small disk is gone with the process; what did not fit on it waits where it was spilled.
    kept = {row["response_id"] for row in stored(tmp_path / "kept")}
    shutil.copytree(next(temporary.glob("turnledger-*/*")), folder / "spool")
    waiting = {row["response_id"] for row in stored(folder)}
    assert kept | waiting == set(names(60))
    assert kept & waiting == set()


@pytest.mark.skipif(not hasattr(os, "setuid") or os.getuid() != 0, reason="only root can become somebody else")
def test_a_folder_that_cannot_be_written_to(stored: Stored):
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "store").mkdir(mode=0o755)
        (folder / "temporary").mkdir()
        (folder / "temporary").chmod(0o777)
        said = run(FULL, folder / "store", "read-only", 5, TMPDIR=str(folder / "temporary"))
        lost, spilled, failures = map(int, said.split())
        assert (lost, spilled) == (0, 5)
        assert failures > 0
        (spill,) = (folder / "temporary").glob("turnledger-*/*")
        shutil.copytree(spill, folder / "store" / "spool")
        assert ids(stored, folder / "store") == names(5)


def test_a_store_that_is_removed_while_it_is_used(app: App, stored: Stored):
    app.on()
    app.call(2)
    assert turnledger.flush(LONG_S)
    shutil.rmtree(app.folder)
    app.call(2)
    assert turnledger.flush(LONG_S)
    assert ids(stored, app.folder) == ["c3", "c4"]  # what was removed stays removed
    assert health.snapshot()["store.removed"] == 1
    turnledger.uninstrument()
    assert ids(stored, app.folder) == ["c3", "c4"]


def test_a_clock_that_goes_back(app: App, stored: Stored, monkeypatch: pytest.MonkeyPatch):
    clock = iter(range(10**9, 0, -1))
    monkeypatch.setattr(time, "time_ns", lambda: 1_795_435_200 * 10**9 + next(clock) * 10**6)
    app.on()
    for _ in range(3):
        app.call()
        assert turnledger.flush(LONG_S)
    turnledger.uninstrument()
    rows = stored(app.folder)
    assert ids(stored, app.folder) == names(3)
    assert all(row["ended_at"] >= row["started_at"] and row["duration_ms"] >= 0 for row in rows)
    with turnledger.open(app.folder) as ledger:
        assert ledger.calls().height == 3


def test_a_response_of_ten_megabytes(app: App, stored: Stored):
    app.on()
    text = "word " * 2_000_000
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    fields = {f"field_{number}": number for number in range(300_000)}
    for name, more in (("c1", completion(text)), ("c2", {"odd": fields})):
        app.stub.script(json_reply({"id": name, "model": "gpt-4o", "usage": usage, **more}))
        answer = httpx2.post(f"{app.stub.url}/v1/chat/completions", json={"model": "gpt-4o"}, timeout=LONG_S)
        assert len(answer.content) > 5_000_000
    assert turnledger.flush(LONG_S)
    for row in stored(app.folder):
        assert (row["input_tokens"], row["output_tokens"]) == (3, 4)
        assert len(row["raw_metadata"]) < 20_000
        assert "word word" not in str(row)


def test_our_own_failures_are_told_once_and_counted(
    app: App, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    app.folder.write_text("a file where the store should be")
    app.on(durability="span")
    app.call(5)
    assert [record.getMessage().split(" failed")[0] for record in caplog.records] == [
        "turnledger: digests.key",
        "turnledger: store.write",
    ]
    assert capfd.readouterr() == ("", "")
    app.folder.unlink()
    turnledger.uninstrument()
    with turnledger.open(app.folder) as ledger:
        assert ledger.calls().height == 5
