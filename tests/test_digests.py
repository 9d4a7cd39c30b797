"""Digest chains: what continues what, what does not, and how little is kept of it."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st
from said import KEY, completion, model, thread, user
from turnledger.instrument.digests import KEPT_PREFIXES, DigestKey
from turnledger.instrument.spans import as_json

CHAT = "openai/chat.completions"
SYSTEM = {"role": "system", "content": "Be brief."}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


def asked(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=20)


@given(turns=st.lists(st.tuples(WORDS, WORDS), min_size=2, max_size=8))
def test_each_call_continues_the_one_before_and_no_other(turns: list[tuple[str, str]]):
    history: list[Any] = []
    calls = []
    for question, answer in turns:
        history.append(user(question))
        calls.append(thread(CHAT, asked(*history), completion(answer)))
        history.append(model(answer))
    for earlier, later in itertools.pairwise(calls):
        assert later.prefixes[0] == earlier.answers[0]
    assert len({call.answers[0] for call in calls}) == len(calls)
    assert all(len(call.prefixes) <= KEPT_PREFIXES for call in calls)


@given(first=WORDS, answer=WORDS, other=WORDS)
def test_another_question_or_answer_is_another_conversation(first: str, answer: str, other: str):
    call = thread(CHAT, asked(user(first)), completion(answer))
    again = thread(CHAT, asked(user(first), model(other), user("x")))
    edited = thread(CHAT, asked(user(other), model(answer), user("x")))
    assert (again.prefixes[0] in call.answers) == (answer == other)
    assert (edited.prefixes[0] in call.answers) == (first == other)


def test_system_prompt_and_tools_alone_tie_nothing():
    one = thread(CHAT, asked(SYSTEM, user("a"), tools=TOOLS), completion("x"))
    other = thread(CHAT, asked(SYSTEM, user("b"), model("x"), user("c"), tools=TOOLS))
    assert one.system == other.system is not None
    assert not {*other.prefixes} & {*one.answers}
    alone = thread(CHAT, asked(SYSTEM))
    assert alone.prefixes == ()
    assert alone.first is None


def test_another_system_prompt_is_the_same_conversation():
    one = thread(CHAT, asked(SYSTEM, user("a")), completion("x"))
    other = thread(CHAT, asked({"role": "developer", "content": "Be long."}, user("a"), model("x"), user("b")))
    assert other.prefixes[0] in one.answers
    assert other.system != one.system


def test_an_answer_that_was_begun_for_the_model_is_one_with_its_beginning():
    begun = thread(
        "anthropic/messages",
        asked(user("Count."), model("One, ")),
        {"role": "assistant", "content": [{"type": "text", "text": "two."}]},
    )
    later = thread("anthropic/messages", asked(user("Count."), model("One, two."), user("On.")))
    assert later.prefixes[0] in begun.answers


def test_digests_of_two_keys_never_match_and_the_name_does_not_give_the_key_away():
    other = DigestKey.of(b"x" * 32)
    request = asked(user("a"), model("b"), user("c"))
    one, two = thread(CHAT, request, completion("d")), thread(CHAT, request, completion("d"), key=other)
    assert not {one.request, *one.prefixes, *one.answers, one.first} & {
        two.request,
        *two.prefixes,
        *two.answers,
        two.first,
    }
    assert KEY.name != other.name
    assert KEY.secret.hex().find(KEY.name) == -1


@given(question=WORDS, answer=WORDS)
def test_nothing_that_was_said_is_in_what_is_kept(question: str, answer: str):
    secret = f"«{question}»"
    found = thread(CHAT, asked(SYSTEM, user(secret), tools=TOOLS), completion(f"«{answer}»"))
    kept = as_json([*found.sizes, found.request, found.answers, found.system])
    assert "«" not in kept
    assert "weather" not in kept


def test_sizes_are_of_new_messages_one_by_one_and_of_earlier_ones_together():
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Berlin"}'}}
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    messages = [
        SYSTEM,
        user("Weather?"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "Sun."},
        {"role": "user", "content": [{"type": "text", "text": "And here?"}, image]},
    ]
    found = thread(CHAT, asked(*messages, tools=TOOLS), completion("Grüße."))
    sizes = [(size.role, size.messages, size.size, size.media) for size in found.sizes]
    assert sizes == [
        ("system", 1, 9, 0),
        ("tools", 1, sizes[1][2], 0),
        ("earlier", 2, 8 + len("weather") + len(orjson.dumps({"city": "Berlin"})), 0),
        ("tool", 1, 4, 0),
        ("user", 1, 9, 1),
        ("assistant", 1, 8, 0),
    ]
    assert [size.digest is None for size in found.sizes] == [True, True, True, False, False, False]


def test_what_is_kept_does_not_grow_with_the_conversation():
    def kept(turns: int) -> int:
        history = [message for turn in range(turns) for message in (user(f"q {turn:04}"), model(f"a {turn:04}"))]
        found = thread(CHAT, asked(SYSTEM, *history, user("next")), completion("last"))
        return len(as_json([found.prefixes, found.answers, found.request, found.system, found.sizes]))

    assert kept(500) <= kept(5) * 1.05


def test_caching_is_explicit_where_the_request_marks_it():
    marked = {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}
    spoken = user('write {"cache_control": 1}')
    assert thread("anthropic/messages", asked(marked)).marks_cache
    assert not thread("anthropic/messages", asked(spoken)).marks_cache
