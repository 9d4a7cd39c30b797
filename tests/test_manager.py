"""The conversation manager without a provider: what it sends, keeps and refuses, and what happens when a turn fails."""

from __future__ import annotations

import asyncio
import base64
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import turnledger
from hypothesis import given
from hypothesis import strategies as st
from turnledger import ConversationManager, MemoryHistory
from turnledger.instrument import context, health
from turnledger.instrument.documents import load_documents
from turnledger.instrument.managing.expiry import is_expired
from turnledger.instrument.managing.windows import estimated_tokens, window

if TYPE_CHECKING:
    from collections.abc import Callable

    from turnledger.instrument.managing.turn import Turn

SURFACES = {
    f"{document.id}/{surface.name}": surface
    for document in load_documents().documents.values()
    for surface in document.surfaces
}
CHAT = SURFACES["openai/chat.completions"].messages


def chat(**options: Any) -> ConversationManager:
    named = {"provider": "openai", "surface": "chat.completions", "strategy": "full_history", **options}
    return ConversationManager("chat-1", **named)


def responses(**options: Any) -> ConversationManager:
    named = {"provider": "openai", "surface": "responses", "strategy": "server_state", **options}
    return ConversationManager("chat-1", **named)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


CALL = {"role": "assistant", "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f"}}]}
RESULT = {"role": "tool", "tool_call_id": "t1", "content": "12"}


def response(text: str, number: int) -> dict[str, Any]:
    part = {"type": "output_text", "text": text}
    return {"id": f"resp_{number}", "output": [{"type": "message", "role": "assistant", "content": [part]}]}


def ask(manager: ConversationManager, text: str, answer: object) -> dict[str, Any]:
    """Do a turn and return the arguments that it was asked with."""
    with manager.turn(text) as turn:
        arguments = turn.arguments()
        turn.answer(answer)
    return arguments


# Windows.


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return turns with tool loops, several calls at once, system messages between, the last turn unanswered."""
    messages: list[dict[str, Any]] = []
    turns = draw(st.integers(1, 8))
    for number in range(turns):
        if draw(st.booleans()):
            messages.append({"role": "system", "content": f"s{number}"})
        messages += [user(f"q{number}") for _ in range(draw(st.integers(1, 2)))]
        for loop in range(draw(st.integers(0, 3))):
            ids = [f"t{number}-{loop}-{call}" for call in range(draw(st.integers(1, 3)))]
            messages.append({"role": "assistant", "tool_calls": [{"id": name} for name in ids]})
            messages += [
                {"role": "tool", "tool_call_id": name, "content": "x" * draw(st.integers(0, 50))} for name in ids
            ]
        if number < turns - 1:
            messages.append(said(f"a{number}"))
    return messages


@given(messages=histories(), most=st.none() | st.integers(1, 12), tokens=st.none() | st.integers(1, 200))
def test_window_never_splits(messages: list[dict[str, Any]], most: int | None, tokens: int | None):
    kept, left_out = window(messages, CHAT, most, tokens)
    assert len(kept) + left_out == len(messages)
    assert [message for message in kept if message["role"] == "system"] == [
        message for message in messages if message["role"] == "system"
    ]
    assert kept[-1] == messages[-1]
    rest = [message for message in kept if message["role"] != "system"]
    assert rest[0]["role"] == "user"
    everything = [message for message in messages if message["role"] != "system"]
    assert rest == everything[len(everything) - len(rest) :]
    called = {call["id"] for message in rest for call in message.get("tool_calls", ())}
    results = {message["tool_call_id"] for message in rest if message["role"] == "tool"}
    assert results == called
    fits = (most is None or len(rest) <= most) and (tokens is None or estimated_tokens(rest) <= tokens)
    is_one_turn = not any(m["role"] == "user" != before["role"] for before, m in pairwise(rest))
    assert fits or is_one_turn


@given(messages=histories())
def test_a_wide_window_leaves_nothing_out(messages: list[dict[str, Any]]):
    assert window(messages, CHAT, len(messages), None) == (messages, 0)


def test_window_of_tool_results_that_are_user_messages():
    rules = SURFACES["anthropic/messages"].messages
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]}
    result = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "t1"}, {"type": "text", "text": "and?"}],
    }
    messages = [user("q1"), said("a1"), user("q2"), call, result]
    assert window(messages, rules, 1, None) == (messages[2:], 2)


def test_window_in_tokens():
    manager = chat(strategy="sliding_window", window_tokens=30)
    for number in (1, 2, 3):
        asked = ask(manager, f"question {number}", f"answer {number}")
    assert asked["messages"] == [user("question 2"), said("answer 2"), user("question 3")]


# Summaries.


def test_a_summary_is_made_once_and_kept():
    asked: list[list[Any]] = []

    def summarise(messages: list[Any]) -> str:
        asked.append(messages)
        return f"summary {len(asked)}"

    history = MemoryHistory()
    for number in range(1, 9):  # a manager of its own for each turn: the store has all there is
        manager = chat(strategy="summary", summarise=summarise, window=2, summarise_over=5, history=history)
        last = ask(manager, f"q{number}", f"a{number}")
    summary = "Summary of the earlier conversation:\nsummary {}".format
    assert asked == [
        [user("q1"), said("a1"), user("q2"), said("a2"), user("q3"), said("a3")],
        [user(summary(1)), user("q4"), said("a4"), user("q5"), said("a5"), user("q6"), said("a6")],
    ]
    assert last["messages"] == [user(summary(2)), user("q7"), said("a7"), user("q8")]
    assert len(history.load("chat-1").messages) == 16


def test_a_summary_that_fails():
    health.reset()

    def summarise(_: list[Any]) -> str:
        raise RuntimeError("secret words")

    manager = chat(strategy="summary", summarise=summarise, window=1, summarise_over=2)
    ask(manager, "q1", "a1")
    with manager.turn("q2") as turn:
        assert turn.arguments()["messages"] == [user("q1"), said("a1"), user("q2")]
        assert turn.strategy == "full_history"
        assert turn.reason == (
            "summary fell back: making the summary failed (RuntimeError), so the full history is sent"
        )
        assert context.current().strategy_reason == turn.reason  # type: ignore[union-attr]
    assert context.current() is None
    health.reset()


def test_a_coroutine_in_a_plain_turn():
    health.reset()

    async def summarise(_: list[Any]) -> str:
        return "short"

    manager = chat(strategy="summary", summarise=summarise, window=1, summarise_over=2)
    ask(manager, "q1", "a1")
    with manager.turn("q2") as turn:
        assert "TypeError" in turn.reason
    health.reset()


# What auto chooses.


@pytest.mark.parametrize(
    ("provider", "surface", "model", "words", "strategy", "reason"),
    [
        ("anthropic", "messages", "claude-x", 10, "full_history", "The whole history is sent"),
        ("anthropic", "messages", "claude-x", 1000, "cached_history", "costs 0.1 of the input price"),
        ("anthropic", "messages", "claude-opus-4-6-20260101", 1000, "full_history", "The whole history is sent"),
        ("anthropic", "messages", None, 1000, "cached_history", "fewer than 1024 tokens is not cached"),
        ("openai", "responses", "gpt-x", 1000, "server_state", "That does not lower the bill by itself"),
        ("openai", "chat.completions", "gpt-x", 1000, "full_history", "Prompts are cached (implicit"),
        ("openai_compatible", "chat.completions", None, 9, "full_history", "The whole history is sent"),
    ],
)
def test_auto(provider: str, surface: str, model: str | None, words: int, strategy: str, reason: str):  # noqa: PLR0913
    manager = ConversationManager("c", provider=provider, surface=surface, model=model, system="word " * words)
    with manager.turn("hello") as turn:
        assert turn.strategy == strategy
        assert turn.reason.startswith("auto: ")
        assert reason in turn.reason


@pytest.mark.parametrize(
    "name", [name for name, item in SURFACES.items() if item.continuing.messages and item.is_billed]
)
def test_auto_can_be_done_everywhere(name: str):
    provider, _, surface = name.partition("/")
    health.reset()
    with ConversationManager("c", provider=provider, surface=surface, system="word " * 9000).turn("hello") as turn:
        assert turn.reason.startswith("auto: ")
        assert turn.strategy in ("full_history", "cached_history", "server_state")
        assert "cannot be done here" not in turn.reason or turn.strategy == "full_history"
    assert health.snapshot() == {}


# The provider's state.


def test_state_is_not_used_when_the_history_was_changed_elsewhere():
    history = MemoryHistory()
    manager = responses(history=history)
    ask(manager, "q1", response("a1", 1))
    assert ask(manager, "q2", response("a2", 2)) == {"input": [user("q2")], "previous_response_id": "resp_1"}
    mine, theirs = manager.turn("mine"), manager.turn("theirs")
    with mine, theirs:  # two processes at once
        mine.arguments()
        theirs.arguments()
        mine.answer(response("a3", 3))
        theirs.answer(response("a4", 4))
    with manager.turn("q5") as turn:
        arguments = turn.arguments()
        assert "the history was changed elsewhere" in turn.reason
    assert "previous_response_id" not in arguments
    assert [item["content"] for item in arguments["input"] if item["role"] == "user"] == [
        "q1", "q2", "theirs", "mine", "q5"
    ]  # fmt: skip


def test_state_of_a_streamed_answer():
    manager = responses()
    ask(manager, "q1", {"type": "response.completed", "response": response("a1", 1)})
    with manager.turn("q2") as turn:
        assert turn.arguments()["previous_response_id"] == "resp_1"
        turn.answer("a2", state_id="resp_2")
    with manager.turn("q3") as turn:
        assert turn.arguments()["previous_response_id"] == "resp_2"
        turn.answer("a3")  # nothing says how it is called: it is sent with what comes next
    assert ask(manager, "q4", "a4") == {
        "input": [user("q3"), said("a3"), user("q4")],
        "previous_response_id": "resp_2",
    }


class FailingError(Exception):
    """An SDK's error, made of what it says of itself."""

    def __init__(self, **said_of_it: Any) -> None:
        super().__init__("it failed")
        self.__dict__.update(said_of_it)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FailingError(status_code=404), True),
        (FailingError(code=404), True),
        (FailingError(response=FailingError(status_code=404)), True),
        (FailingError(response={"ResponseMetadata": {"HTTPStatusCode": 404}}), True),
        (FailingError(status_code=400, body={"code": "previous_response_not_found"}), True),
        (FailingError(status_code=400, body={"error": {"code": "previous_response_not_found"}}), True),
        (FailingError(status_code=400, body='{"error": {"code": "previous_response_not_found"}}'), True),
        (FailingError(status_code=400, code="previous_response_not_found"), True),
        (FailingError(status_code=400, body="not JSON"), False),
        (FailingError(status_code=429, body={"code": "rate_limit"}), False),
        (FailingError(), False),
        (ConnectionError("404"), False),
    ],
)
def test_expired(error: Exception, expected: bool):
    assert is_expired(error, SURFACES["openai/responses"].continuing) is expected


# Turns that fail.


class BrokenError(Exception):
    """What an application's own code, its tool or its SDK raises inside a turn."""


def broken(turn: Turn, *steps: Callable[[Turn], object]) -> None:
    """Begin a turn that ends with an exception after some steps."""

    def run() -> None:
        with turn:
            for step in steps:
                step(turn)
            raise BrokenError

    with pytest.raises(BrokenError):
        run()


ASK: Callable[[Turn], object] = lambda turn: turn.arguments()  # noqa: E731


def test_what_was_not_answered_is_asked_again_and_not_twice():
    history = MemoryHistory()
    manager = chat(history=history)
    ask(manager, "q1", "a1")
    asked: list[Any] = []
    for _ in range(3):
        broken(manager.turn("q2"), lambda turn: asked.append(turn.arguments()["messages"]))
    assert asked == [[user("q1"), said("a1"), user("q2")]] * 3
    assert history.load("chat-1").messages == [user("q1"), said("a1"), user("q2")]
    with manager.turn() as turn:
        assert turn.arguments()["messages"][-1] == user("q2")
    assert ask(manager, "q3", "a3")["messages"][2:] == [user("q2"), user("q3")]
    assert history.load("chat-1").messages[2:] == [user("q2"), user("q3"), said("a3")]


def test_the_same_words_after_an_answer_are_a_new_question():
    manager = chat()
    ask(manager, "go on", "a1")
    assert ask(manager, "go on", "a2")["messages"] == [user("go on"), said("a1"), user("go on")]


def test_an_answer_is_kept_when_the_application_fails_after_it():
    history = MemoryHistory()
    broken(chat(history=history).turn("q1"), ASK, lambda turn: turn.answer("a1"))
    assert history.load("chat-1").messages == [user("q1"), said("a1")]


def test_a_tool_that_fails_is_asked_for_again():
    history = MemoryHistory()
    broken(chat(history=history).turn("q1"), ASK, lambda turn: turn.answer([CALL]))
    assert history.load("chat-1").messages == [user("q1")]


def test_a_tools_result_that_was_sent_is_kept():
    history = MemoryHistory()
    manager = chat(history=history)
    broken(manager.turn("q1"), ASK, lambda turn: turn.answer([CALL]), lambda turn: turn.add(RESULT), ASK)
    assert history.load("chat-1").messages == [user("q1"), CALL, RESULT]
    assert ask(manager, "q1", "a1")["messages"] == [user("q1"), CALL, RESULT]
    assert history.load("chat-1").messages == [user("q1"), CALL, RESULT, said("a1")]


def test_a_failed_turn_goes_on_from_the_last_state():
    manager = responses()
    ask(manager, "q1", response("a1", 1))
    call = {"id": "resp_2", "output": [{"type": "function_call", "call_id": "t1", "name": "f", "arguments": "{}"}]}
    broken(manager.turn("q2"), ASK, lambda turn: turn.answer(call))
    assert ask(manager, "q2", response("a2", 3)) == {"input": [user("q2")], "previous_response_id": "resp_1"}


def test_a_response_without_an_answer_leaves_the_question_open():
    manager = chat()
    with manager.turn("q1") as turn:
        assert turn.answer({"choices": []}) == []
    assert ask(manager, "q1", "a1")["messages"] == [user("q1")]


# What goes in and out.


def test_messages_in_the_sdks_own_shape():
    part = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    manager = chat()
    message = {"role": "user", "content": [part]}
    with manager.turn([message, user("what is it?")]) as turn:
        assert turn.arguments()["messages"] == [message, user("what is it?")]
        message["content"] = "changed by the application"
        turn.add("quick!")
        assert turn.arguments()["messages"][0]["content"] == [part]
        assert turn.arguments()["messages"][-1] == user("quick!")
        with pytest.raises(TypeError, match="a message is a text, a dict"):
            turn.add(["a", "b"])
    with pytest.raises(TypeError, match="does not say what it holds"):
        manager.turn(object())


def test_bytes_are_base64_in_the_history_and_bytes_in_arguments():
    history = MemoryHistory()
    picture = {"role": "user", "content": [{"image": {"format": "png", "source": {"bytes": b"\x89PNG\xff"}}}]}
    manager = ConversationManager("c", provider="bedrock", surface="converse", strategy="full_history", history=history)
    with manager.turn(picture) as turn:
        assert turn.arguments()["messages"] == [picture]
    kept = history.load("c").messages[0]["content"][0]["image"]["source"]["bytes"]
    assert base64.b64decode(kept) == b"\x89PNG\xff"


def test_arguments_of_the_application_are_laid_into_ours():
    manager = ConversationManager(
        "c", provider="gemini", surface="generate_content", strategy="full_history", system="Be brief."
    )
    with manager.turn("q1") as turn:
        arguments = turn.arguments(config={"temperature": 0}, model="m")
    assert arguments == {
        "contents": [{"role": "user", "parts": [{"text": "q1"}]}],
        "config": {"system_instruction": "Be brief.", "temperature": 0},
        "model": "m",
    }


def test_the_conversation_is_set_for_the_turn_alone():
    with turnledger.conversation("outer", user="u0"):
        with chat(user="u1").turn("q1"):
            said_here = context.current()
            assert said_here is not None
            assert (said_here.id, said_here.user) == ("chat-1", "u1")
            assert (said_here.strategy, said_here.strategy_reason) == ("full_history", "chosen by the application")
        assert context.current().id == "outer"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: chat(strategy="magic"), "'magic': there is no such strategy; possible: full_history, sliding_window"),
        (lambda: chat(strategy="server_state"), "openai/chat.completions keeps no state to go on from"),
        (lambda: chat(strategy="summary"), "it needs summarise="),
        (lambda: chat(provider="mistral", strategy="cached_history"), "takes no explicit cache breakpoints"),
        (lambda: chat(provider="nobody"), "no provider document 'nobody'"),
        (lambda: chat(surface="embeddings"), "surfaces where one can: chat.completions, responses"),
        (lambda: chat(window=0), "positive numbers"),
        (lambda: chat(state={"conversation": "conv_1"}), "it has: none"),
        (lambda: responses(state={"thread": "t"}), "it has: conversation, previous_response_id"),
    ],
)
def test_what_cannot_be_done_is_said(make: Callable[[], Any], words: str):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the words are compared
        make()
    assert words in str(caught.value)


def test_an_async_history():
    kept = MemoryHistory()

    class Remote:
        async def load(self, conversation_id: str) -> Any:
            return kept.load(conversation_id)

        async def append(self, conversation_id: str, messages: Any) -> None:
            kept.append(conversation_id, messages)

        async def set_state(self, conversation_id: str, name: str, value: Any) -> None:
            kept.set_state(conversation_id, name, value)

    manager = responses(history=Remote())

    async def talk() -> dict[str, Any]:
        for number in (1, 2):
            async with manager.turn(f"q{number}") as turn:
                arguments = turn.arguments()
                turn.answer(response("a", number))
        return arguments

    assert asyncio.run(talk()) == {"input": [user("q2")], "previous_response_id": "resp_1"}
    with pytest.raises(TypeError, match="use 'async with'"), manager.turn("q3"):
        pass
