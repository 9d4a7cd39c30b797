"""Calls without any id become conversations: as they happen, across processes, and where nothing else ties them."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import openai
import orjson
import pytest
import turnledger
from said import completion, model, user
from store_rows import NOON, call_row, write_store
from stub_server import Reply, StubServer, json_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from conftest import Recorder

USAGE = {"prompt_tokens": 20, "completion_tokens": 5}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Berlin"}'}}
SYSTEM = {"role": "system", "content": "Be brief."}


def answer(text: str, number: int = 0, **more: Any) -> Reply:
    """Return a reply without anything that could tie it to another but its text."""
    return json_reply({"id": f"chatcmpl-{number}-{text[:8]}", "model": "gpt-4o-2024-08-06", "usage": USAGE,
                       **completion(text, **more)})  # fmt: skip


CLIENTS: list[Any] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while CLIENTS:
        CLIENTS.pop().close()


class Chat:
    """An application that talks to the stub through the real SDK, and keeps what was said."""

    def __init__(self, stub: StubServer, *, system: bool = True) -> None:
        self.stub = stub
        self.client = openai.OpenAI(base_url=f"{stub.url}/v1", api_key="test-key", max_retries=0)
        CLIENTS.append(self.client)
        self.messages: list[Any] = [SYSTEM] if system else []

    def say(self, text: str, reply: Reply) -> None:
        """Send one more user message with all before it."""
        self.messages.append(user(text))
        self.go_on(reply)

    def go_on(self, reply: Reply) -> None:
        """Send what there is."""
        self.stub.script(reply)
        got = self.client.chat.completions.create(model="gpt-4o", messages=self.messages)
        # what the SDK makes of an answer, nulls and all
        self.messages.append(got.choices[0].message.model_dump())

    def copy(self) -> Chat:
        """Return another that begins with what was said so far."""
        other = Chat(self.stub)
        other.messages = list(self.messages)
        return other


@pytest.fixture
def ledger_at(tmp_path: Path, stub: StubServer) -> Callable[..., turnledger.Ledger]:
    """Record what a function does into one store, as a process of its own would; return the ledger."""
    opened: list[turnledger.Ledger] = []

    def record(*steps: Callable[[], Any]) -> turnledger.Ledger:
        for step in steps:
            turnledger.instrument(tmp_path / "store", hosts={stub.host: "openai"})
            try:
                step()
            finally:
                turnledger.uninstrument()
        opened.append(turnledger.open(tmp_path / "store"))
        return opened[-1]

    yield record  # type: ignore[misc]
    for ledger in opened:
        ledger.close()


def conversations(ledger: turnledger.Ledger) -> list[tuple[Any, ...]]:
    """Return source, calls, turns, threads and branches of every conversation, by its first call."""
    return ledger.sql(
        "select conversation_source, calls, turns, threads, branches from conversations order by started_at"
    ).rows()


def test_turns_of_one_chat_are_one_conversation_as_they_happen(stub: StubServer, recorder: Recorder):
    chat = Chat(stub)
    for number in range(3):
        chat.say(f"question {number}", answer(f"answer {number}", number))
    first, *later = recorder.rows()
    assert first["conversation_id"] is None
    assert {row["conversation_id"] for row in later} == {first["call_id"]}
    assert {row["conversation_source"] for row in later} == {"stitched"}
    assert [row["parent_call_id"] for row in later] == [first["call_id"], later[0]["call_id"]]


def test_a_chat_goes_on_in_another_process(stub: StubServer, ledger_at: Callable[..., turnledger.Ledger]):
    chat = Chat(stub)
    steps = [lambda text=text: chat.say(text, answer(f"re: {text}")) for text in ("one", "two", "three", "four")]
    ledger = ledger_at(lambda: (steps[0](), steps[1]()), steps[2], steps[3])
    assert conversations(ledger) == [("stitched", 4, 4, 1, 0)]
    rows = ledger.sql("select turn_index, strategy, conversation_confidence from calls order by started_at").rows()
    assert [row[:2] for row in rows] == [(0, "single_turn"), *((turn, "full_history") for turn in (1, 2, 3))]
    assert [float(row[2]) for row in rows] == pytest.approx([1.0, 0.99, 0.99**2, 0.99**3], rel=0.02)


def test_the_same_first_message_of_two_users_is_two_conversations(
    stub: StubServer, ledger_at: Callable[..., turnledger.Ledger]
):
    one, other = Chat(stub), Chat(stub)

    def talk() -> None:
        one.say("Hi", answer("Hello!"))
        other.say("Hi", answer("Hello!"))
        one.say("I am Ann.", answer("Hello Ann."))
        other.say("I am Bob.", answer("Hello Bob."))
        one.say("Bye", answer("Bye Ann."))
        other.say("Bye", answer("Bye Bob."))

    assert conversations(ledger_at(talk)) == [("stitched", 3, 3, 1, 0), ("stitched", 3, 3, 1, 0)]


def test_users_that_the_application_tells_apart_never_share_a_conversation(
    stub: StubServer, ledger_at: Callable[..., turnledger.Ledger]
):
    one, other = Chat(stub), Chat(stub)

    def talk() -> None:
        for text in ("Hi", "Who am I?", "Bye"):
            for name, chat in (("ann", one), ("bob", other)):
                with turnledger.conversation(user=name):
                    chat.say(text, answer(f"re: {text}"))

    ledger = ledger_at(talk)
    assert conversations(ledger) == [("stitched", 3, 3, 1, 0), ("stitched", 3, 3, 1, 0)]
    assert ledger.sql("select count(distinct user_id) as users from calls group by conversation_id").rows() == [
        (1,),
        (1,),
    ]


def test_system_prompt_and_tools_alone_tie_no_calls(stub: StubServer, ledger_at: Callable[..., turnledger.Ledger]):
    def talk() -> None:
        for text in ("one", "two", "three"):
            Chat(stub).say(text, answer(f"re: {text}"))

    assert conversations(ledger_at(talk)) == [("call", 1, 1, 1, 0)] * 3


def test_regenerated_and_edited_answers_are_branches(stub: StubServer, ledger_at: Callable[..., turnledger.Ledger]):
    def talk() -> None:
        chat = Chat(stub)
        chat.say("one", answer("first"))
        again, edited = chat.copy(), chat.copy()
        chat.say("two", answer("second"))
        again.say("two", answer("second, again"))
        edited.say("two, edited", answer("another second"))
        edited.say("three", answer("third"))

    ledger = ledger_at(talk)
    assert conversations(ledger) == [("stitched", 5, 4, 1, 2)]
    turns = ledger.sql("select turn_index, calls from turns order by turn_index").rows()
    assert turns == [(0, 1), (1, 2), (2, 1), (3, 1)], "the same asked again is the same turn"


def test_a_tool_loop_is_one_turn_with_its_sub_agents(stub: StubServer, ledger_at: Callable[..., turnledger.Ledger]):
    def talk() -> None:
        with turnledger.conversation("support-1"):
            chat = Chat(stub)
            chat.say("Weather?", answer("", tool_calls=[CALL]))
            for number in range(2):
                helper = Chat(stub)
                helper.say(f"Find station {number}.", answer(f"Station {number}."))
                helper.say("And its height?", answer(f"{number} m"))
            chat.messages.append({"role": "tool", "tool_call_id": "call_1", "content": "Sun."})
            chat.go_on(answer("It is sunny."))
            chat.say("Thanks!", answer("Welcome."))

    ledger = ledger_at(talk)
    rows = ledger.sql("select turn_index, calls, tool_rounds, input_tokens from turns order by turn_index").rows()
    assert rows == [(0, 6, 1, 120), (1, 1, 0, 20)], "the question, two calls of each sub-agent, the answer; the thanks"
    assert conversations(ledger) == [("app", 7, 2, 3, 0)]


def test_another_conversation_of_the_application_wins_and_the_disagreement_is_shown(
    stub: StubServer, ledger_at: Callable[..., turnledger.Ledger]
):
    def talk() -> None:
        chat = Chat(stub)
        with turnledger.conversation("one"):
            chat.say("Hi", answer("Hello!"))
        with turnledger.conversation("two"):
            chat.say("Go on", answer("Gladly."))
        chat.say("And on", answer("Still."))

    ledger = ledger_at(talk)
    rows = ledger.sql("select conversation_id, conversation_source from calls order by started_at").rows()
    assert rows == [("one", "app"), ("two", "app"), ("two", "stitched")]
    conflicts = ledger.sql("select conversation_id, other_source, other_conversation_id from identity_conflicts").rows()
    assert conflicts == [("two", "stitched", "one")]


def test_a_failed_try_does_not_break_a_chain(stub: StubServer, ledger_at: Callable[..., turnledger.Ledger]):
    def talk() -> None:
        chat = Chat(stub)
        chat.say("one", answer("first"))
        chat.messages.append(user("two"))
        stub.script(json_reply({"error": {"type": "overloaded", "message": "Try later."}}, 503))
        with pytest.raises(openai.InternalServerError):
            chat.client.chat.completions.create(model="gpt-4o", messages=chat.messages)
        chat.go_on(answer("second"))
        chat.say("three", answer("third"))

    assert conversations(ledger_at(talk)) == [("stitched", 4, 3, 1, 1)], "the failed call belongs to its turn"


def test_a_conversation_changes_its_provider(stub: StubServer, tmp_path: Path):
    other = StubServer()
    try:
        turnledger.instrument(tmp_path, hosts={stub.host: "openai", other.host: "anthropic"})
        chat = Chat(stub)
        chat.say("Hi", answer("Hello!"))
        chat.messages.append(user("And you?"))
        other.script(json_reply({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-5",
                                 "content": [{"type": "text", "text": "Fine."}], "stop_reason": "end_turn",
                                 "usage": {"input_tokens": 9, "output_tokens": 3}}))  # fmt: skip
        client = anthropic.Anthropic(base_url=other.url, api_key="test-key", max_retries=0)
        CLIENTS.append(client)
        said = [{"role": item["role"], "content": item["content"]} for item in chat.messages[1:]]
        client.messages.create(model="claude-opus-5", max_tokens=64, system="Be brief.", messages=said)
    finally:
        turnledger.uninstrument()
        other.close()
    with turnledger.open(tmp_path) as ledger:
        assert ledger.sql("select providers, calls from conversations").rows() == [(["anthropic", "openai"], 2)]


@pytest.mark.parametrize(
    ("build", "strategy", "detail"),
    [
        (lambda said: said[-4:], "sliding_window", "4 messages"),
        (lambda said: [user("Summary: they counted."), *said[-2:]], "summarised", None),
    ],
)
def test_windows_and_summaries_are_told_apart(
    stub: StubServer,
    ledger_at: Callable[..., turnledger.Ledger],
    build: Callable[[Sequence[Any]], list[Any]],
    strategy: str,
    detail: str | None,
):
    def talk() -> None:
        said: list[Any] = []
        with turnledger.conversation("count"):
            for number in range(5):
                said.append(user(f"number {number}"))
                chat = Chat(stub, system=False)
                chat.messages = build([*said[:-1], said[-1]]) if number >= 3 else list(said)
                while chat.messages[0]["role"] != "user":
                    chat.messages.pop(0)
                chat.go_on(answer(f"re {number}"))
                said.append(model(f"re {number}"))

    rows = ledger_at(talk).sql("select strategy, strategy_detail from calls order by started_at").rows()
    assert [row[0] for row in rows] == ["single_turn", "full_history", "full_history", strategy, strategy]
    if detail:
        assert rows[-1][1] in (detail, "3 messages")


def _serve(store: str, host: str, url: str, messages: list[Any]) -> None:
    turnledger.instrument(store, hosts={host: "openai"})
    with httpx2.Client() as client:
        client.post(f"{url}/v1/chat/completions", json={"model": "gpt-4o", "messages": messages})
    turnledger.uninstrument()


def test_every_turn_in_a_process_of_its_own(stub: StubServer, tmp_path: Path):
    spawn = multiprocessing.get_context("spawn")
    messages: list[Any] = []
    for number in range(3):
        messages.append(user(f"question {number}"))
        stub.script(answer(f"answer {number}"))
        process = spawn.Process(target=_serve, args=(str(tmp_path), stub.host, stub.url, messages))
        process.start()
        process.join(60)
        assert process.exitcode == 0
        messages.append(model(f"answer {number}"))
    with turnledger.open(tmp_path) as ledger:
        assert conversations(ledger) == [("stitched", 3, 3, 1, 0)]


def test_messages_add_up_to_their_calls(stub: StubServer, ledger_at: Callable[..., turnledger.Ledger]):
    sizes = iter([(30, 7), (52, 9), (75, 5)])

    def sized(text: str) -> Reply:
        asked, answered = next(sizes)
        usage = {"prompt_tokens": asked, "completion_tokens": answered}
        body = orjson.loads(answer(text).body) | {"usage": usage}
        return json_reply(body)

    def talk() -> None:
        chat = Chat(stub)
        for text in ("one", "two", "three"):
            chat.say(text, sized(f"re: {text}"))

    ledger = ledger_at(talk)
    sums = ledger.sql("""
        select calls.input_tokens + calls.output_tokens as tokens, calls.cost_usd, sum(messages.tokens)::bigint,
            sum(messages.cost_usd)
        from calls inner join messages using (call_id) group by all order by 1
    """).rows()
    assert [row[:2] for row in sums] == [row[2:] for row in sums]
    assert [row[0] for row in sums] == [37, 61, 80]
    exact = ledger.sql("select role, tokens from messages where tokens_source = 'exact' order by place, message_index")
    assert exact.rows() == [("assistant", 7), ("user", 15), ("assistant", 9), ("user", 14), ("assistant", 5)]


def test_what_the_cache_served_are_the_first_tokens_of_the_prompt(tmp_path: Path):
    sizes = [("system", 1, 400), ("earlier", 4, 400), ("user", 1, 200), ("assistant", 1, 40)]
    row = call_row(
        input_tokens=1000,
        output_tokens=40,
        cache_read_tokens=600,
        message_sizes=[{"role": role, "messages": count, "size": size, "media": 0, "digest": None}
                       for role, count, size in sizes],
    )  # fmt: skip
    with turnledger.open(write_store(tmp_path, [row]).root) as ledger:
        rows = ledger.sql(
            "select role, tokens, cached_tokens, read_from_cache from messages order by message_index"
        ).rows()
    assert rows == [
        ("system", 400, 400, True),
        ("earlier", 400, 200, False),
        ("user", 200, 0, False),
        ("assistant", 40, 0, None),
    ]


def test_a_chain_of_responses_says_more_than_messages_and_an_older_store_still_opens(tmp_path: Path):
    rows = [
        call_row(call_id="a", span_id="a", response_id="resp_1", started_at=NOON),
        call_row(call_id="b", span_id="b", response_id="resp_2", previous_response_id="resp_1"),
        call_row(call_id="c", span_id="c", response_id="resp_3", previous_response_id="resp_9"),
    ]
    with turnledger.open(write_store(tmp_path, rows).root) as ledger:
        found = ledger.sql(
            "select call_id, conversation_id, conversation_source, strategy from calls order by 1"
        ).rows()
    assert found == [
        ("a", "resp_1", "chain", None),
        ("b", "resp_1", "chain", "server_state"),
        ("c", "resp_9", "chain", "server_state"),
    ]


def test_a_chain_of_responses_comes_before_a_session_of_the_sdk(tmp_path: Path):
    said = {"conversation_source": "sdk_session", "conversation_id": "session-2", "session_id": "session-2"}
    rows = [
        call_row(
            call_id="a", span_id="a", response_id="resp_1", conversation_id="conv_1", conversation_source="provider"
        ),
        call_row(call_id="b", span_id="b", response_id="resp_2", previous_response_id="resp_1", **said),
        call_row(call_id="c", span_id="c", response_id="resp_3", **said),
    ]
    with turnledger.open(write_store(tmp_path, rows).root) as ledger:
        found = ledger.sql("select conversation_id, conversation_source from calls order by call_id").rows()
        conflicts = ledger.sql("select distinct other_source from identity_conflicts").rows()
    assert found == [("conv_1", "provider"), ("conv_1", "chain"), ("session-2", "sdk_session")]
    assert conflicts == [("sdk_session",)]
