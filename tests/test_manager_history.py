"""Where conversations are kept: both stores alike, and the file under restarts, threads, processes and misuse."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from managed_apis import APIS
from stub_server import StubServer, json_reply
from turnledger import ConversationManager, History, MemoryHistory, SQLiteHistory

if TYPE_CHECKING:
    from pathlib import Path

HELLO = {"role": "user", "content": "Grüße 👋"}


@pytest.fixture(params=["memory", "sqlite"])
def history(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemoryHistory() if request.param == "memory" else SQLiteHistory(tmp_path / "chats.db")


def test_an_unknown_conversation_is_empty(history: History):
    record: Any = history.load("nobody")
    assert (record.messages, record.state) == ([], {})


def test_messages_stay_in_order_and_conversations_apart(history: History):
    history.append("a", [HELLO, {"n": 1}])
    history.append("b", [{"n": 2}])
    history.append("a", [])
    history.append("a", [{"n": 3}])
    record: Any = history.load("a")
    assert record.messages == [HELLO, {"n": 1}, {"n": 3}]


def test_named_values_are_replaced_and_forgotten(history: History):
    history.set_state("a", "server", {"name": "x", "covers": 2})
    history.set_state("a", "summary", [1])
    history.set_state("a", "server", {"name": "y"})
    history.set_state("a", "summary", None)
    history.set_state("b", "summary", None)
    record: Any = history.load("a")
    assert record.state == {"server": {"name": "y"}}


def test_what_is_no_json_leaves_nothing_behind(history: History):
    with pytest.raises(TypeError):
        history.append("a", [HELLO, {"n": object()}])
    record: Any = history.load("a")
    assert record.messages == []


def test_what_was_loaded_is_a_copy(history: History):
    history.append("a", [{"n": [1]}])
    loaded: Any = history.load("a")
    loaded.messages[0]["n"].append(2)
    again: Any = history.load("a")
    assert again.messages == [{"n": [1]}]


def test_threads_lose_and_double_nothing(history: History):
    def write(writer: int) -> None:
        for number in range(20):
            history.append("a", [{"writer": writer, "number": number, "part": part} for part in (0, 1)])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    record: Any = history.load("a")
    check_writers(record.messages, writers=8, numbers=20)


def check_writers(messages: list[Any], *, writers: int, numbers: int) -> None:
    """Assert that every writer's messages are there once, in its order, and two of one append side by side."""
    assert len(messages) == 2 * writers * numbers
    for writer in range(writers):
        mine = [message["number"] for message in messages if message["writer"] == writer]
        assert mine == [number for number in range(numbers) for _ in (0, 1)]
    assert [message["part"] for message in messages] == [0, 1] * (writers * numbers)
    pairs = zip(messages[::2], messages[1::2], strict=True)
    assert all((one["writer"], one["number"]) == (two["writer"], two["number"]) for one, two in pairs)


WRITER = """
import sys, turnledger
path, writer = sys.argv[1], int(sys.argv[2])
sys.stdin.readline()  # all begin at once
history = turnledger.SQLiteHistory(path)
for number in range(15):
    history.append("a", [{"writer": writer, "number": number, "part": part} for part in (0, 1)])
    history.set_state("a", "server", {"writer": writer})
"""


def test_processes_lose_and_double_nothing(tmp_path: Path):
    path = tmp_path / "chats.db"
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(writer)], stdin=subprocess.PIPE)
        for writer in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0] * 4
    check_writers(SQLiteHistory(path).load("a").messages, writers=4, numbers=15)


TALK = """
import sys, openai, turnledger
path, url, text = sys.argv[1:]
manager = turnledger.ConversationManager(
    "support-4711", provider="openai", surface="responses", strategy=sys.stdin.read(),
    history=turnledger.SQLiteHistory(path),
)
client = openai.OpenAI(api_key="k", base_url=url, max_retries=0)
manager.call(lambda **arguments: client.responses.create(model="gpt-x", **arguments), text)
"""


@pytest.mark.parametrize(("strategy", "count", "previous"), [("full_history", 4, None), ("server_state", 1, "resp_1")])
def test_a_conversation_survives_a_restart(
    strategy: str, count: int, previous: str | None, stub: StubServer, tmp_path: Path
):
    api = APIS["openai responses"]
    stub.script(json_reply(api.answer("a1", 1)), json_reply(api.answer("a2", 2)))
    for text in ("q1", "q2"):
        command = [sys.executable, "-c", TALK, str(tmp_path / "chats.db"), f"{stub.url}/v1", text]
        subprocess.run(command, input=strategy, text=True, timeout=60, check=True)
    asked = json.loads(stub.requests[1].body)
    assert len(asked["input"]) == count
    assert asked["input"][-1] == {"role": "user", "content": "q2"}
    assert asked.get("previous_response_id") == previous


def test_a_manager_over_a_file(tmp_path: Path):
    named: dict[str, Any] = {"provider": "anthropic", "surface": "messages", "strategy": "full_history"}
    for number in (1, 2):
        manager = ConversationManager("c", history=SQLiteHistory(tmp_path / "chats.db"), **named)
        with manager.turn(f"q{number}") as turn:
            arguments = turn.arguments()
            turn.answer(f"a{number}")
    assert [message["content"] for message in arguments["messages"]] == ["q1", "a1", "q2"]


def test_the_file_is_in_wal_mode_and_has_a_version(tmp_path: Path):
    SQLiteHistory(tmp_path / "chats.db")
    connection = sqlite3.connect(tmp_path / "chats.db")
    try:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    finally:
        connection.close()


def made(path: Path, *statements: str) -> Path:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path


def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path):
    path = made(tmp_path / "other.db", "CREATE TABLE books (title TEXT)")
    with pytest.raises(ValueError, match=r"other\.db is a database of something else"):
        SQLiteHistory(path)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("books",)]
    connection.close()


def test_a_broken_file_is_refused(tmp_path: Path):
    (tmp_path / "broken.db").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(ValueError, match=r"broken\.db is no history of conversations, or is broken"):
        SQLiteHistory(tmp_path / "broken.db")


def test_a_later_version_is_refused(tmp_path: Path):
    SQLiteHistory(tmp_path / "chats.db")
    made(tmp_path / "chats.db", "PRAGMA user_version = 2")
    with pytest.raises(ValueError, match="written by a later turnledger"):
        SQLiteHistory(tmp_path / "chats.db")


def test_a_folder_that_is_not_there(tmp_path: Path):
    with pytest.raises(OSError, match="cannot be used"):
        SQLiteHistory(tmp_path / "nowhere" / "chats.db")


def test_memory_is_no_file():
    with pytest.raises(ValueError, match="MemoryHistory"):
        SQLiteHistory(":memory:")
