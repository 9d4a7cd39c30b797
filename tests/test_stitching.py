"""Where no identifier ties two calls, their messages do: measured on recordings, whose files are the truth.

The corpus is looked for where ``make stitching`` looks, or where ``TURNLEDGER_CORPUS`` (a folder) says.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chains
import pytest
import recorded
import turnledger
from chain_hiding import write_hidden

if TYPE_CHECKING:
    from collections.abc import Iterable

_BESIDE = Path(__file__).parent.parent.parent / "shared"
CORPUS = sorted(Path(os.environ.get("TURNLEDGER_CORPUS") or _BESIDE / "corpus").glob("*.har.gz"))
OPENAI = "https://api.openai.com/v1"
WEATHER = {"name": "weather", "arguments": '{"city": "Oslo"}'}
FOUND = {"city": "Oslo", "degrees": None}


def measured(paths: Iterable[Path], folder: Path) -> tuple[chains.Score, dict[str, str | None]]:
    """Import recordings whose identifiers are hidden; returns the score, and the conversations it is of."""
    hidden = write_hidden(paths, folder / "har")
    reports, _ = recorded.imported(hidden, folder / "store")
    assert [report.error for report in reports] == [None] * len(hidden)
    with turnledger.open(folder / "store") as ledger:
        rows = ledger.connection.execute("select source, conversation_id from calls").fetchall()
    conversations = dict(rows)
    calls = chains.read_calls(hidden)
    assert [call.source for call in calls if call.source not in conversations] == []
    return chains.score(calls, conversations), conversations


@pytest.mark.skipif(not CORPUS, reason="no corpus beside this checkout")
def test_conversations_of_the_corpus_are_found_by_messages_alone(tmp_path: Path):
    score, conversations = measured(CORPUS, tmp_path)
    failures = "\n".join(chains.lines(score, conversations, 50))
    assert len(score.true) >= 1000
    assert score.precision >= 0.99, failures
    assert score.recall >= 0.97, failures


@pytest.mark.skipif(not CORPUS, reason="no corpus beside this checkout")
def test_hiding_identifiers_changes_nothing_of_what_was_said(tmp_path: Path):
    before, after = (
        {(call.recording, call.place): (call.parent.place if call.parent else None, call.said) for call in calls}
        for calls in (chains.read_calls(CORPUS), chains.read_calls(write_hidden(CORPUS, tmp_path)))
    )
    assert before == after


def exchange(source: str, path: str, request: dict[str, Any], response: dict[str, Any] | str) -> dict[str, Any]:
    """Return an entry of a HAR as recordings have it."""
    text = response if isinstance(response, str) else json.dumps(response)
    kind = "text/event-stream" if isinstance(response, str) else "application/json"
    headers = [{"name": "Content-Type", "value": kind}, {"name": "x-request-id", "value": "req_1"}]
    return {
        "startedDateTime": "1970-01-01T00:00:00Z",
        "request": {
            "method": "POST",
            "url": OPENAI + path,
            "headers": [{"name": "session-id", "value": "s1"}],
            "postData": {"mimeType": "application/json", "text": json.dumps({"model": "gpt-4o", **request})},
        },
        "response": {"status": 200, "headers": headers, "content": {"mimeType": kind, "text": text}},
        "_source": source,
        "_provider": "openai",
    }


def chat(source: str, said: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
    """Return a call of chat completions; texts are of user and assistant by turns."""
    roles = ("user", "assistant")
    messages = [
        {"role": roles[place % 2], "content": item} if isinstance(item, str) else item
        for place, item in enumerate(said)
    ]
    message = {"role": "assistant", "content": None, **answer}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "choices": [{"index": 0, "message": message}]}
    return exchange(source, "/chat/completions", {"messages": messages}, body)


def text(said: str) -> dict[str, Any]:
    """Return an answer."""
    return {"content": said}


def calling(identifier: str, arguments: str = WEATHER["arguments"]) -> dict[str, Any]:
    """Return an answer that calls a tool."""
    call = {"id": identifier, "type": "function", "function": {**WEATHER, "arguments": arguments}}
    return {"role": "assistant", "tool_calls": [call]}


def result(identifier: str) -> dict[str, Any]:
    """Return a tool's result."""
    return {"role": "tool", "tool_call_id": identifier, "content": json.dumps(FOUND)}


MINI = {
    # The user goes on, asks the first question in another way, goes on from there, then takes another turn after "4".
    "branch": [
        (["2+2?"], text("4"), None),
        (["2+2?", "4", "And 3+3?"], text("6"), 0),
        (["2 + 2, please?"], text("Four"), None),
        (["2 + 2, please?", "Four", "Thanks"], text("Welcome"), 2),
        (["2+2?", " 4\n", "And 4+4?"], text("8"), 0),
    ],
    # The tool's call comes back with arguments written otherwise; the answer is edited before the last call.
    "tools": [
        (["Weather?"], calling("call_a"), None),
        (["Weather?", calling("call_a", '{"city":"Oslo"}'), result("call_a")], text("Cold."), 0),
        (["Weather?", calling("call_a"), result("call_a"), text("Cold.") | {"role": "assistant"}], text("!"), 1),
        (["Weather?", calling("call_a"), result("call_a"), text("Hot.") | {"role": "assistant"}, "Why?"], text("?"), 0),
    ],
    # Two users begin alike and are answered otherwise.
    "ada": [(["Hi"], text("Hello, Ada"), None), (["Hi", "Hello, Ada", "Bye"], text("Bye"), 0)],
    "bob": [(["Hi"], text("Hello, Bob"), None), (["Hi", "Hello, Bob", "Bye"], text("Bye"), 0)],
}
"""Recordings: of each call what was sent, what was answered, and the place of the call it continues."""


@pytest.fixture
def mini(tmp_path: Path) -> Path:
    """A file of recordings, whose calls do not stand in order."""
    entries = [
        chat(f"{name}.yaml#{place}", said, answer)
        for name, calls in MINI.items()
        for place, (said, answer, _) in enumerate(calls)
    ]
    path = tmp_path / "mini.har.gz"
    path.write_bytes(gzip.compress(json.dumps({"log": {"entries": entries[::-1]}}).encode()))
    return path


def test_chains_are_read_from_messages(mini: Path):
    found = {(call.recording, call.place): call.parent for call in chains.read_calls([mini])}
    for name, calls in MINI.items():
        for place, (_, _, parent) in enumerate(calls):
            continued = found[f"{name}.yaml", place]
            assert (continued and continued.place) == parent, (name, place)


def test_conversations_of_the_mini_set_are_found(mini: Path, tmp_path: Path):
    score, _ = measured([mini], tmp_path)
    assert len(score.true) == 3 + 1 + 6 + 1 + 1
    assert (score.missed, score.wrong, score.unrelated) == ([], [], [])


def test_score_counts_what_is_missed_and_what_is_wrong(mini: Path):
    calls = chains.read_calls([mini])
    sources = {(call.recording, call.place): call.source for call in calls}
    conversations = dict.fromkeys(sources.values())
    for key in (("ada.yaml", 0), ("ada.yaml", 1), ("bob.yaml", 0), ("branch.yaml", 0), ("branch.yaml", 2)):
        conversations[sources[key]] = "one" if key[0] != "branch.yaml" else "two"
    score = chains.score(calls, conversations)
    assert (len(score.true), len(score.missed)) == (12, 11)
    assert (len(score.tied), len(score.wrong), len(score.unrelated)) == (4, 2, 1)
    assert score.recall == pytest.approx(1 / 12)
    assert score.precision == pytest.approx(0.5)
    said = list(chains.lines(score, conversations, 100))
    assert sum(line.startswith("missed:") for line in said) == 11
    assert sum(line.startswith("wrong:") for line in said) == 2


def test_nothing_hidden_is_left(tmp_path: Path):
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": '{"id": "x1"}'}
    body = {"id": "resp_1", "conversation": {"id": "conv_1"}, "status": "completed", "output": [call]}
    stream = f"event: response.completed\ndata: {json.dumps({'type': 'response.completed', 'response': body})}\n\n"
    output = {"type": "function_call_output", "call_id": "call_1", "output": "4"}
    asked = {"input": "2+2?", "conversation": "conv_1"}
    further = {"input": [{"role": "user", "content": "2+2?"}, call, output], "metadata": {"chat": "c1"}}
    state = {"input": [output], "previous_response_id": "resp_1"}
    entries = [
        exchange(f"r.yaml#{place}", "/responses", sent, stream) for place, sent in enumerate([asked, further, state])
    ]
    (tmp_path / "r.har.gz").write_bytes(gzip.compress(json.dumps({"log": {"entries": entries}}).encode()))
    [hidden] = write_hidden([tmp_path / "r.har.gz"], tmp_path / "hidden")
    written = recorded.entries(hidden)
    for name in ("resp_1", "conv_1", "call_1", "fc_1", "req_1", "s1", "c1"):
        assert f'"{name}"' not in json.dumps(written).replace('\\"', '"')
    first, second, third = (json.loads(entry["request"]["postData"]["text"]) for entry in written)
    assert first == {"model": "gpt-4o", "input": "2+2?"}
    assert second["input"][1]["call_id"] == second["input"][2]["call_id"] != third["input"][0]["call_id"]
    assert second["input"][1]["arguments"] == '{"id": "x1"}'
    # What depends on the provider's memory continues nothing that its messages say.
    assert [call.parent and call.parent.place for call in chains.read_calls([hidden])] == [None, 0, None]
