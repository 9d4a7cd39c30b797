"""The key of a store's digests: made once, by whoever is first; a bad one is said, and hurts nothing that was there."""

from __future__ import annotations

import multiprocessing
import stat
from typing import TYPE_CHECKING, Any

import httpx2
import orjson
import pytest
import turnledger
from said import completion, model, user
from store_rows import call_row, write_store
from stub_server import json_reply
from turnledger.analysis.doctor import examine
from turnledger.exporters.keys import KEY_FILE, KeyFileError, digest_key
from turnledger.exporters.store import Store
from turnledger.instrument import health
from typer.testing import CliRunner

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Recorder
    from stub_server import StubServer


def test_it_is_made_on_first_use_and_stays(tmp_path: Path):
    store = Store.at(tmp_path)
    key = digest_key(store)
    assert digest_key(store) == key
    assert digest_key(Store.at(tmp_path / "other")) != key
    path = store.root / KEY_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in path.parent.iterdir()] == ["digest.key"]


def _name(folder: str, barrier: Any, names: Any) -> None:
    barrier.wait()
    names.put(digest_key(Store.at(folder)).name)


def test_processes_that_begin_together_have_one_key(tmp_path: Path):
    fork = multiprocessing.get_context("spawn")
    barrier, names = fork.Barrier(4), fork.Queue()
    processes = [fork.Process(target=_name, args=(str(tmp_path), barrier, names)) for _ in range(4)]
    for process in processes:
        process.start()
    found = {names.get(timeout=60) for _ in processes}
    for process in processes:
        process.join(60)
    assert found == {digest_key(Store.at(tmp_path)).name}


@pytest.mark.parametrize("content", [b"", b"not a key\n", b"ab" * 31, b"\xff" * 64, b"ab" * 33])
def test_a_damaged_one_is_said_with_what_to_do(tmp_path: Path, content: bytes):
    store = Store.at(tmp_path)
    (store.root / KEY_FILE).parent.mkdir(parents=True)
    (store.root / KEY_FILE).write_bytes(content)
    with pytest.raises(KeyFileError, match=r"digest\.key is not a key .* from a backup, or delete it"):
        digest_key(store)


def ask(stub: StubServer, messages: list[Any]) -> None:
    with httpx2.Client() as client:
        client.post(f"{stub.url}/v1/chat/completions", json={"model": "gpt-4o", "messages": messages})


def test_a_damaged_one_loses_no_call(stub: StubServer, capture: Recorder, tmp_path: Path):
    (tmp_path / "meta").mkdir()
    (tmp_path / KEY_FILE).write_text("damaged")
    stub.script(json_reply({"id": "c1", "model": "gpt-4o", **completion("Hello!")}))
    turnledger.instrument(tmp_path, hosts=capture.hosts)
    ask(stub, [user("Hi")])
    ask(stub, [user("Hi"), model("Hello!"), user("More")])
    turnledger.uninstrument()
    assert health.snapshot()["digests.key"] == 1
    with turnledger.open(tmp_path) as ledger:
        assert ledger.sql("select conversation_source, calls from conversations").rows() == [("stitched", 2)]
        assert any("is not a key of message digests" in line for line in examine(ledger)["finding"])


def test_a_new_one_begins_anew_and_the_doctor_says_so(stub: StubServer, capture: Recorder, tmp_path: Path):
    stub.script(json_reply({"id": "c1", "model": "gpt-4o", **completion("Hello!")}))
    said = [[user("Hi")], [user("Hi"), model("Hello!"), user("More")]]
    for number, messages in enumerate(said):
        turnledger.instrument(tmp_path, hosts=capture.hosts)
        ask(stub, messages)
        turnledger.uninstrument()
        with turnledger.open(tmp_path) as ledger:
            assert examine(ledger).filter(finding="keys of message digests beyond the first").height == number
        (tmp_path / KEY_FILE).unlink()
        with turnledger.open(tmp_path) as ledger:
            assert any("is missing" in line for line in examine(ledger)["finding"])
            assert ledger.sql("select count(distinct conversation_id) from calls").item() == number + 1


def test_import_says_what_is_wrong_and_takes_nothing(tmp_path: Path):
    from turnledger.analysis.commands import app  # noqa: PLC0415

    store = Store.at(tmp_path / "store")
    digest_key(store)
    (store.root / KEY_FILE).write_text("damaged")
    har = tmp_path / "a.har"
    har.write_bytes(orjson.dumps({"log": {"entries": []}}))
    result = CliRunner().invoke(app, ["import", "har", str(har), "--store", str(store.root)])
    assert result.exit_code == 1
    assert "is not a key of message digests" in result.output


def test_the_doctor_has_nothing_to_say_of_a_good_ledger(tmp_path: Path):
    store = write_store(tmp_path, [call_row()])
    digest_key(store)
    with turnledger.open(store.root) as ledger:
        found = examine(ledger)
    assert found.rows() == []
    assert found.columns == ["finding", "count", "example", "advice"]
