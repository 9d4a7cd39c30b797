"""The canonical form: an answer equals what is sent back of it, on every surface, whole, streamed or rewritten."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from said import model, rules_of, thread, user
from turnledger.instrument.digests import answers_of
from turnledger.instrument.messages import canonical

ARGUMENTS = {"city": "Berlin", "days": 2}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Berlin","days":2}'}}
CALL_BACK = {**CALL, "id": "call_x", "function": {"name": "weather", "arguments": '{ "days": 2, "city": "Berlin" }'}}
CHAT = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL]}}]}


def piece(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta}]}


def tool_piece(**function: Any) -> dict[str, Any]:
    return piece(tool_calls=[{"index": 0, "function": function}])


CHAT_PIECES = [
    piece(role="assistant", content=""),
    piece(content="Let me "),
    piece(content="see."),
    tool_piece(name="weather", arguments=""),
    tool_piece(arguments='{"city":"Ber'),
    tool_piece(arguments='lin","days":2}'),
]
CHAT_BACK = {"role": "assistant", "content": [{"type": "text", "text": "Let me see.\n"}], "tool_calls": [CALL_BACK]}

THINKING = {"type": "thinking", "thinking": "Berlin is a city.", "signature": "c2ln"}
TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": ARGUMENTS}
MESSAGE = {"role": "assistant", "content": [THINKING, {"type": "text", "text": "Let me see."}, TOOL_USE]}


def block(index: int, content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": content}


def delta(index: int, **content: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": content}


MESSAGE_PIECES = [
    {"type": "message_start", "message": {"role": "assistant", "content": []}},
    block(0, {"type": "thinking", "thinking": ""}),
    delta(0, type="thinking_delta", thinking="Berlin is a city."),
    block(1, {"type": "text", "text": ""}),
    delta(1, type="text_delta", text="Let me "),
    delta(1, type="text_delta", text="see."),
    block(2, {**TOOL_USE, "input": {}}),
    delta(2, type="input_json_delta", partial_json=""),
    delta(2, type="input_json_delta", partial_json='{"city": "Berlin",'),
    delta(2, type="input_json_delta", partial_json=' "days": 2}'),
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
]
MESSAGE_BACK = {
    "role": "assistant",
    "content": [{"type": "text", "text": "Let me see.", "cache_control": {"type": "ephemeral"}}, TOOL_USE],
}

TEXT_ITEM = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me see."}]}
CALL_ITEM = {"type": "function_call", "name": "weather", "call_id": "c1", "arguments": '{"city":"Berlin","days":2}'}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "A city."}]}
RESPONSE = {"output": [REASONING, {**TEXT_ITEM, "id": "msg_1", "status": "completed"}, {**CALL_ITEM, "id": "fc_1"}]}
RESPONSE_PIECES = [
    {"type": "response.created", "response": {"output": []}},
    {"type": "response.output_text.delta", "delta": "Let me "},
    RESPONSE,
]

GEMINI_CALL = {"functionCall": {"name": "weather", "args": ARGUMENTS}}
GEMINI = {
    "candidates": [
        {
            "content": {
                "role": "model",
                "parts": [
                    {"text": "A city.", "thought": True},
                    {"text": "Let me see."},
                    {**GEMINI_CALL, "thoughtSignature": "c2ln"},
                ],
            }
        }
    ]
}
GEMINI_PIECES = [
    {"candidates": [{"content": {"role": "model", "parts": [{"text": "Let me "}]}}]},
    {"candidates": [{"content": {"role": "model", "parts": [{"text": "see."}, GEMINI_CALL]}}]},
]
GEMINI_BACK = {"role": "model", "parts": [{"text": "Let me see."}, GEMINI_CALL]}

CONVERSE_CALL = {"toolUse": {"toolUseId": "t1", "name": "weather", "input": ARGUMENTS}}
CONVERSE = {"output": {"message": {"role": "assistant", "content": [{"text": "Let me see."}, CONVERSE_CALL]}}}
CONVERSE_PIECES = [
    {"contentBlockDelta": {"delta": {"text": "Let me "}}},
    {"contentBlockDelta": {"delta": {"text": "see."}}},
    {"contentBlockStart": {"start": {"toolUse": {"name": "weather", "toolUseId": "t1"}}}},
    {"contentBlockDelta": {"delta": {"toolUse": {"input": '{"city": "Berlin", '}}}},
    {"contentBlockDelta": {"delta": {"toolUse": {"input": '"days": 2}'}}}},
]
CONVERSE_BACK = {
    "role": "assistant",
    "content": [{"text": "Let me see."}, CONVERSE_CALL, {"cachePoint": {"type": "d"}}],
}

COHERE = {"message": {"role": "assistant", "tool_plan": "Let me see.", "tool_calls": [CALL]}}
COHERE_PIECES = [
    {"type": "tool-call-start", "delta": {"message": {"tool_calls": {**CALL, "function": {"name": "weather"}}}}},
    {"type": "tool-call-delta", "delta": {"message": {"tool_calls": {"function": {"arguments": '{"city":"Ber'}}}}},
    {"type": "tool-call-delta", "delta": {"message": {"tool_calls": {"function": {"arguments": 'lin","days":2}'}}}}},
]

SHAPES = [
    ("openai/chat.completions", [CHAT], [CHAT_BACK]),
    ("openai/chat.completions", CHAT_PIECES, [CHAT_BACK]),
    ("anthropic/messages", [MESSAGE], [MESSAGE_BACK]),
    ("anthropic/messages", MESSAGE_PIECES, [MESSAGE_BACK]),
    ("openai/responses", [RESPONSE], [TEXT_ITEM, CALL_ITEM]),
    ("openai/responses", [RESPONSE], [REASONING, TEXT_ITEM, CALL_ITEM]),
    ("openai/responses", RESPONSE_PIECES, [model("Let me see."), CALL_ITEM]),
    ("gemini/generate_content", [GEMINI], [GEMINI_BACK]),
    ("gemini/generate_content", GEMINI_PIECES, [GEMINI_BACK]),
    ("bedrock/converse", [CONVERSE], [CONVERSE_BACK]),
    ("bedrock/converse-stream", CONVERSE_PIECES, [CONVERSE_BACK]),
    ("cohere/chat", [COHERE], [{"role": "assistant", "content": "", "tool_calls": [CALL_BACK]}]),
    ("cohere/chat", COHERE_PIECES, [{"role": "assistant", "content": "", "tool_calls": [CALL_BACK]}]),
]
QUESTION = {
    "openai/responses": ("input", user("Weather?")),
    "gemini/generate_content": ("contents", {"role": "user", "parts": [{"text": "Weather?"}]}),
    "bedrock/converse": ("messages", {"role": "user", "content": [{"text": "Weather?"}]}),
    "bedrock/converse-stream": ("messages", {"role": "user", "content": [{"text": "Weather?"}]}),
}


@pytest.mark.parametrize(("place", "documents", "sent_back"), SHAPES)
def test_an_answer_sent_back_continues_its_call(place: str, documents: list[Any], sent_back: list[Any]):
    at, question = QUESTION.get(place, ("messages", user("Weather?")))
    first = thread(place, {at: [question]}, *documents)
    assert first.asks_tools
    second = thread(place, {at: [question, *sent_back, question]}, *documents)
    assert second.prefixes[0] in first.answers


def test_only_the_calls_of_an_answer_sent_back_continue_it_too():
    first = thread("openai/chat.completions", {"messages": [user("Weather?")]}, CHAT)
    back = {"role": "assistant", "content": None, "tool_calls": [CALL_BACK]}
    asked = [user("Weather?"), back, {"role": "tool", "tool_call_id": "call_x", "content": "Sun."}]
    assert thread("openai/chat.completions", {"messages": asked}).prefixes[0] in first.answers


def test_a_conversation_may_change_its_provider():
    first = thread("openai/chat.completions", {"messages": [user("Weather?")]}, CHAT)
    second = thread("anthropic/messages", {"messages": [user("Weather?"), MESSAGE_BACK, user("And now?")]})
    assert second.prefixes[0] in first.answers


def test_every_choice_can_be_continued():
    choices = [
        {"index": index, "message": {"role": "assistant", "content": text}} for index, text in ((1, "B"), (0, "A"))
    ]
    first = thread("openai/chat.completions", {"messages": [user("Hi")]}, {"choices": choices})
    for text in ("A", "B"):
        second = thread("openai/chat.completions", {"messages": [user("Hi"), model(text), user("More")]})
        assert second.prefixes[0] in first.answers
    assert len(first.answers) == 2


def test_what_a_server_tool_was_asked_is_not_a_call_of_the_application():
    server = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}
    documents = [
        block(0, TOOL_USE | {"input": {}}),
        delta(0, type="input_json_delta", partial_json='{"city": "Berlin", "days": 2}'),
        block(1, server),
        delta(1, type="input_json_delta", partial_json='{"query": "x"}'),
    ]
    (answer,) = answers_of(documents, rules_of("anthropic/messages"))
    assert answer.calls == [["weather", '{"city": "Berlin", "days": 2}']]


IDS = st.sampled_from(["id", "tool_call_id", "itemId"])


@given(
    text=st.text(min_size=1),
    ids=st.dictionaries(IDS, st.text(max_size=8)),
    nulls=st.sets(st.sampled_from(["name", "refusal", "annotations", "audio"])),
    as_parts=st.booleans(),
    marked=st.booleans(),
    data=st.data(),
)
def test_what_sdks_change_makes_no_other_message(  # noqa: PLR0913  all that they change
    text: str, ids: dict[str, str], nulls: set[str], as_parts: bool, marked: bool, data: st.DataObject
):
    rules = rules_of("openai/chat.completions")
    part = {"type": "text", "text": text, **({"cache_control": {"type": "ephemeral"}} if marked else {})}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    plain = {"role": "user", "content": [{"type": "text", "text": text}, image]}
    changed = {**dict.fromkeys(nulls), **ids, "role": "user", "content": [part, {**image, **ids}]}
    shuffled = dict(data.draw(st.permutations(list(changed.items()))))
    one, other = canonical(plain, rules), canonical(shuffled, rules)
    assert one is not None
    assert other is not None
    assert one.content() == other.content()
    alone = canonical({"role": "user", "content": text}, rules)
    listed = canonical({"role": "user", "content": [part]}, rules)
    assert alone is not None
    assert listed is not None
    assert alone.content() == listed.content()
    assert alone.content() != one.content()


KEYS = (
    *("role", "content", "text", "type", "tool_calls", "function", "name", "arguments", "parts", "functionCall"),
    *("args", "index", "message", "choices", "output", "delta", "content_block"),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=20,
)


@given(request=st.lists(ANYTHING, max_size=5), documents=st.lists(ANYTHING, max_size=4))
@pytest.mark.parametrize("place", ["openai/chat.completions", "openai/responses", "anthropic/messages",
                                   "gemini/generate_content", "bedrock/converse"])  # fmt: skip
def test_whatever_comes_off_the_wire_is_read_without_failing(place: str, request: list[Any], documents: list[Any]):
    rules = rules_of(place)
    for message in request:
        form = canonical(message, rules)
        assert form is None or (form.content() and form.size >= 0)
    assert all(answer.content() for answer in answers_of(documents, rules))
