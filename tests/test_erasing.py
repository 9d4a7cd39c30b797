"""Erasure: a conversation or a user is gone from everything there is of a store, and nothing else is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import pyarrow.parquet as pq
import pytest
import turnledger
from apps import App, conversations
from commands import run
from dying import dying
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from said import completion
from sizes import sized
from store_rows import call_row, write_store
from stub_server import StubServer, json_reply
from turnledger.exporters.batches import rows_table
from turnledger.exporters.erasing import erase
from turnledger.exporters.mentions import SHORT, Mention
from turnledger.exporters.rewriting import upkeep
from turnledger.exporters.snapshot import list_files
from turnledger.exporters.spool import SpoolFile, batch_record, read_spool
from turnledger.exporters.store import Store
from turnledger.exporters.writing import write_rows
from upkeep_rows import DAYS, add_file, counted

if TYPE_CHECKING:
    from collections.abc import Iterator

ALICE = "alice@example.com"


# --- an independent search


def everything(store: Store) -> Iterator[str]:
    """Yield every text in every file there is of a store, JSON unpacked, whatever the place or the name."""
    for folder in (store.root, *store.spools):
        for path in folder.rglob("*"):
            if path.is_file():
                yield from texts_of(path)


def texts_of(path: Path) -> Iterator[str]:
    yield str(path.name)
    if path.suffix == ".parquet":
        yield from texts(pq.read_table(path).to_pylist())
    elif path.suffix == ".spool":
        yield from texts([batch.to_pylist() for batch in read_spool(path.read_bytes()).batches])
    else:
        yield path.read_bytes().decode("utf-8", "replace")


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        if value[:1] in ("{", "["):
            yield from texts(json.loads(value))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from (*texts(key), *texts(item))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts(item)
    elif isinstance(value, int | float):
        yield str(value)


def found(store: Store, identifier: str) -> list[str]:
    """Return the texts of a store in which an identifier stands, in any spelling."""
    spellings = {identifier, quote(identifier), quote(identifier, safe=""), quote_plus(identifier)}
    return [text for text in everything(store) if any(one in text for one in spellings)]


def users(store: Store, user: str) -> set[str]:
    with turnledger.open(store.root) as ledger:
        return set(ledger.sql("select span_id from spans where user_id = ?", [user])["span_id"].to_list())


def rows(store: Store) -> dict[str, dict[str, Any]]:
    """Return the rows of a store by their span's id."""
    tables = [pq.read_table(store.storage.path(file.name)) for file in list_files(store.storage).files]
    return {row["span_id"]: row for table in tables for row in table.to_pylist()}


# --- what goes, what stays

MENTIONS: dict[str, Any] = {
    "tags": [("team", "a"), ("owner", ALICE), ("path", f"/users/{ALICE}/x")],
    "identifiers": [("response_id", ["r1"]), ("user", [ALICE]), (f"undocumented:{ALICE}", ["u", quote(ALICE)])],
    "raw_metadata": json.dumps(
        {"url": f"https://api.acme.test/u/{quote(ALICE)}?q=1", "request": {"user": ALICE, ALICE: [1.50, ALICE.upper()]}}
    ),
    "attributes": json.dumps({"said": f'{{"user": "{ALICE}"}}'}),
    "content": f"no JSON, but of {ALICE}",
    "conversation_id": f"tenant:{ALICE}:1",
    "previous_response_id": ALICE,
    "finish_reasons": ["stop", ALICE],
    "name": f"chat {ALICE}",
    "source": f"{ALICE}.har#1",
}


def test_the_spans_of_a_user_go_and_so_does_every_mention_in_others(store: Store):
    his = [call_row(user_id=ALICE, identifiers=[("user", [ALICE])]) for _ in range(3)]
    mentioning, other = call_row(user_id="bob@example.com", **MENTIONS), call_row(user_id="bob@example.com")
    write_rows(store, DAYS[0], [his[0], mentioning, other])
    write_rows(store, DAYS[0], [call_row(), his[1]])
    write_rows(store, DAYS[1], untouched := [call_row() for _ in range(3)])
    spool = SpoolFile(store.spool, below=store.root)
    for batch in rows_table([his[2], call_row(started_at=None, user_id=ALICE), call_row()]).to_batches():
        spool.append(batch_record(batch), batch.num_rows)
    spool.close()
    before = rows(store)
    (kept,) = (file.name for file in list_files(store.storage).files if DAYS[1] in file.name)
    assert len(found(store, ALICE)) > 10

    report = erase(store, Mention(ALICE), lambda: users(store, ALICE))

    assert found(store, ALICE) == []
    assert (report.spans, report.changed, report.remaining) == (4, 1, [])
    assert report.searched == len(counted(store)) == 3 + len(untouched) + 1
    assert kept in {file.name for file in list_files(store.storage).files}
    after = rows(store)
    assert after[other["span_id"]] == before[other["span_id"]]
    changed, was = after[mentioning["span_id"]], before[mentioning["span_id"]]
    assert {name: value for name, value in changed.items() if name not in MENTIONS} == {
        name: value for name, value in was.items() if name not in MENTIONS
    }
    mark = changed["name"].removeprefix("chat ")
    assert mark.startswith("erased-")
    assert changed["tags"] == [("team", "a"), ("path", f"/users/{mark}/x")]
    assert changed["identifiers"] == [("response_id", ["r1"]), (f"undocumented:{mark}", ["u"])]
    assert changed["raw_metadata"] == (
        f'{{"url": "https://api.acme.test/u/{mark}?q=1", "request": {{"user": "{mark}", "{mark}": '
        f'[1.5, "{ALICE.upper()}"]}}}}'
    )
    assert json.loads(changed["attributes"]) == {"said": f'{{"user": "{mark}"}}'}
    assert (changed["content"], changed["conversation_id"]) == (f"no JSON, but of {mark}", f"tenant:{mark}:1")
    assert (changed["previous_response_id"], changed["finish_reasons"]) == (None, ["stop"])


def test_erasing_again_finds_nothing_and_changes_nothing(store: Store):
    write_rows(store, DAYS[0], [call_row(user_id=ALICE), call_row(user_id="bob", **MENTIONS)])
    erase(store, Mention(ALICE), lambda: users(store, ALICE))
    before = sorted(store.root.rglob("*"))
    again = erase(store, Mention(ALICE), lambda: users(store, ALICE))
    assert (again.spans, again.changed, again.removed.files, again.remaining) == (0, 0, 0, [])
    assert sorted(store.root.rglob("*")) == before


def test_replaced_files_and_what_the_dead_left_unfinished_go_too(store: Store):
    write_rows(store, DAYS[0], [call_row(user_id=ALICE)])
    (name,) = (file.name for file in list_files(store.storage).files)
    half = Path(store.storage.path(name)).with_name(".x.parquet.0001.tmp")
    half.write_bytes(b"half of " + ALICE.encode())
    os.utime(half, (1e9, 1e9))
    write_rows(store, DAYS[0], [call_row()])
    run("compact", "--store", str(store.root))
    assert len(list_files(store.storage).replaced) == 2
    assert erase(store, Mention(ALICE), lambda: users(store, ALICE)).remaining == []
    assert found(store, ALICE) == []
    assert not half.exists()


def test_a_short_id_is_taken_out_where_ids_stand_and_nowhere_else(store: Store):
    row = call_row(
        span_id="b" * 16,
        user_id=None,
        input_tokens=42,
        error_type="42",
        tags=[("user", "42"), ("n", "142")],
        identifiers=[("user_id", ["42", "421"])],
        raw_metadata='{"user_id": 42, "user":"42", "n":42, "x":["42"], "content-length": "42", "session_ids": [1, 42]}',
    )
    write_rows(store, DAYS[0], [row, call_row(user_id="42")])
    assert len("42") < SHORT
    report = erase(store, Mention("42"), lambda: users(store, "42"))
    assert (report.spans, report.changed, report.remaining) == (1, 1, [])
    (after,) = rows(store).values()
    said = json.loads(after["raw_metadata"])
    mark = said["user"]
    assert said == {
        "user_id": mark,
        "user": mark,
        "n": 42,
        "x": ["42"],
        "content-length": "42",
        "session_ids": [1, mark],
    }
    assert (after["input_tokens"], after["error_type"], after["tags"]) == (42, "42", [("n", "142")])
    assert after["identifiers"] == [("user_id", ["421"])]


IDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=SHORT, max_size=24).filter(
    lambda text: text.strip() != "" and not any(text in one for one in ("erased-", "https://a.test/"))
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(IDS, st.text(max_size=4), st.sampled_from(["", "x", "/", '"', "\\", "\n"]), st.booleans())
def test_whatever_the_id_it_is_gone_and_json_stays_json(identifier: str, more: str, beside: str, inside: bool):
    said = f"{beside}{identifier}{more}" if inside else identifier
    document = {"url": f"https://a.test/{quote(said)}/{quote_plus(said)}", said: [said, {"n": 1, "s": said}], "t": more}
    row = call_row(
        tags=[("k", said), ("other", "o")],
        identifiers=[("x", ["1", said])],
        raw_metadata=json.dumps(document),
        attributes=json.dumps(document, ensure_ascii=False),
        usage_problems=[said],
    )
    (batch,) = rows_table([call_row(), row]).to_batches()
    clean = Mention(identifier).rows(batch)[1]
    every = list(texts([value for name, value in clean.items() if name not in ("call_id", "span_id", "trace_id")]))
    assert [text for text in every if identifier in text or quote(identifier) in text] == []
    for name in ("raw_metadata", "attributes"):
        after = json.loads(clean[name])
        assert list(after.values())[1][1]["n"] == 1
        assert len(after) == len(document)
    assert clean["span_id"] == row["span_id"]
    (again,) = rows_table([clean]).to_batches()
    assert Mention(identifier).rows(again) == {}


@given(st.text(max_size=30), st.text(min_size=SHORT, max_size=12))
def test_what_does_not_mention_it_stays_as_it_is(text: str, identifier: str):
    if not identifier.strip() or identifier in text or quote(identifier) in text:
        return
    document = json.dumps({"a": text, "b": [1.10, 1e3, text]})
    assert identifier in document or Mention(identifier).in_json(document) == document


def test_an_empty_id_is_refused():
    for text in ("", " \n"):
        with pytest.raises(ValueError, match="identifier"):
            Mention(text)


# --- conversations


def test_a_conversation_is_erased_by_any_of_its_ids(store: Store):
    def made() -> None:
        shutil.rmtree(store.root, ignore_errors=True)
        ids = {
            "conversation_source": "app",
            "conversation_id": "chat-4711-a",
            "provider_conversation_id": "conv_88776655",
        }
        calls = [call_row(span_id=f"{n:016x}", session_id="session-1234", **ids) for n in (1, 2)]
        attempt = call_row(span_id="0000000000000003", call_id="0000000000000002", attempt_index=1)
        stitched = [
            call_row(span_id="0000000000000005", response_id="resp_00000005"),
            call_row(span_id="0000000000000006", previous_response_id="resp_00000005"),
        ]
        write_store(store.root, [*calls, attempt, *stitched, call_row(span_id="0000000000000009")])

    for identifier, left in (
        ("chat-4711-a", {5, 6, 9}),
        ("conv_88776655", {5, 6, 9}),
        ("session-1234", {5, 6, 9}),
        ("resp_00000005", {1, 2, 3, 9}),
        ("0000000000000009", {1, 2, 3, 5, 6}),
    ):
        made()
        said = run("erase", "--conversation", identifier, "--store", str(store.root))
        assert "it is not there" in said
        assert found(store, identifier) == []
        assert {int(one, 16) for one in counted(store)} == left


def test_the_command_says_what_it_did(store: Store):
    write_store(store.root, [call_row(user_id=ALICE), call_row(user_id="bob", tags=[("x", ALICE)]), call_row()])
    where = ("--store", str(store.root))
    assert "would erase: 1 spans" in run("erase", "--user", ALICE, "--dry-run", *where)
    assert len(counted(store)) == 3
    said = run("erase", "--user", ALICE, *where)
    assert "erased: 1 spans; 1 others mentioned it" in said
    assert "files with 2 spans: it is not there" in said
    assert "erased: 0 spans; 0 others" in run("erase", "--user", ALICE, *where)
    for words in ((), ("--user", "a", "--conversation", "b"), ("--user", " "), ("--user", "a", "--wait", "x")):
        run("erase", *words, *where, status=2)
    assert "no store at" in run("erase", "--user", ALICE, "--store", str(store.root / "none"), status=1)
    with upkeep(store):
        assert len(counted(store)) == 2


def test_what_cannot_be_searched_is_said(store: Store):
    write_rows(store, DAYS[0], [call_row(user_id=ALICE)])
    add_file(store)
    damaged = Path(store.storage.path(list_files(store.storage).files[1].name))
    damaged.write_bytes(b"PAR1 of whatever PAR1")
    elsewhere = store.root / "elsewhere"
    elsewhere.mkdir()
    (store.root / "spans" / "date=2026-11-03").symlink_to(elsewhere)
    (store.root / "meta").mkdir()
    (store.root / "meta" / "note").write_text(f"of {ALICE}")
    said = run("erase", "--user", ALICE, "--store", str(store.root), status=1)
    assert f"{damaged}: it cannot be searched, it is damaged" in said
    assert "date=2026-11-03: it is not searched: it is a link" in said
    assert "note: a mention" in said
    assert "it is not there" not in said
    assert ALICE not in said


# --- killed


def test_a_killed_erasure_is_done_by_the_next(tmp_path: Path):
    def made(folder: Path) -> Store:
        store = Store.at(folder)
        for _ in range(2):
            write_rows(store, DAYS[0], [call_row(user_id=ALICE), call_row(tags=[("x", ALICE)]), call_row()])
        spool = SpoolFile(store.spool, below=store.root)
        for batch in rows_table([call_row(user_id=ALICE), call_row()]).to_batches():
            spool.append(batch_record(batch), batch.num_rows)
        spool.close()
        return store

    touches = dying("erase", made(tmp_path / "whole").root)
    assert touches > 20
    for before in range(1, touches + 1, max(1, touches // sized(5, 60))):
        store = made(tmp_path / str(before))
        others = set(counted(store)) - users(store, ALICE)
        assert dying("erase", store.root, before) == -9
        seen = counted(store)
        assert len(seen) == len(set(seen))
        assert others <= set(seen)
        for half in store.root.rglob(".*.tmp"):
            os.utime(half, (1e9, 1e9))
        assert erase(store, Mention(ALICE), lambda store=store: users(store, ALICE)).remaining == []
        assert set(counted(store)) == others
        assert found(store, ALICE) == []


# --- while it is recorded


@pytest.fixture
def provider(stub: StubServer) -> StubServer:
    """A provider that always answers the same."""
    stub.script(json_reply({"id": "c1", "model": "gpt-4o", **completion("Hello!")}))
    return stub


APP = """
    begin()
    for name in sys.stdin:
        call(name.strip())
        say(f"{turnledger.flush(10)}!")
"""


def ask(app: App, *names: str) -> None:
    assert app.process.stdin is not None
    for name in names:
        app.process.stdin.write(f"{name}\n")
        app.process.stdin.flush()
        app.listen(2)


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")


def test_a_process_that_is_recording_lets_go_of_its_spool(provider: StubServer, store: Store):
    with App(store.root, provider, APP, stdin=subprocess.PIPE) as app:
        ask(app, "conversation-a", "conversation-b")
        (spool,) = store.spool.glob("*.spool")
        said = run("erase", "--conversation", "conversation-x", "--store", str(store.root))
        assert spool.exists()  # there was nothing in it
        said = run("erase", "--conversation", "conversation-a", "--store", str(store.root))
        assert "it is not there" in said
        assert not spool.exists()
        assert found(store, "conversation-a") == []
        ask(app, "conversation-c")
        assert conversations(store) == {"conversation-b": 1, "conversation-c": 1}
        app.process.communicate(timeout=60)
    assert conversations(store) == {"conversation-b": 1, "conversation-c": 1}
    assert found(store, "conversation-a") == []


def test_a_process_that_does_not_let_go_is_named(provider: StubServer, store: Store):
    with App(store.root, provider, APP, stdin=subprocess.PIPE) as app:
        ask(app, "conversation-a", "conversation-b")
        app.process.send_signal(signal.SIGSTOP)
        os.waitpid(app.process.pid, os.WUNTRACED)
        said = run("erase", "--conversation", "conversation-a", "--wait", "1s", "--store", str(store.root), status=1)
        assert f"1 spans, and process {app.process.pid} does not let go of them" in said
        assert conversations(store) == {"conversation-a": 1, "conversation-b": 1}
        app.process.send_signal(signal.SIGCONT)
        assert "it is not there" in run("erase", "--conversation", "conversation-a", "--store", str(store.root))
        app.process.communicate(timeout=60)
    assert conversations(store) == {"conversation-b": 1}
