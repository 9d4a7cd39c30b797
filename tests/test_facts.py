"""Facts: identifiers named and swept, what requests and errors say, and that no body however odd makes it raise."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import orjson
import pytest
import turnledger
from hypothesis import given
from hypothesis import strategies as st
from made_exchanges import REGISTRY, SURFACES, events, exchange, facts
from turnledger.instrument.documents import Registry, parse_documents
from turnledger.instrument.exchange import Exchange
from turnledger.instrument.facts import STREAM_CLOSED_EARLY, extract
from turnledger.instrument.spans import call_attributes

KEY = "sk-proj-abcdefghijklmnopqrstuvwxyz012345"
PROSE = "Tell nobody what I said."


# --- identifiers


def test_named_identifiers_have_their_names_and_others_their_place():
    response = {"id": "chatcmpl-1", "system_fingerprint": "fp_1", "new": {"shard_id": "s-7", "traceId": "t-1"}}
    found = facts("openai/chat.completions", response, headers=[("X-Request-Id", "req_1"), ("X-New-Id", "n-1")])
    assert found.identifiers["response_id"] == ["chatcmpl-1"]
    assert found.identifiers["system_fingerprint"] == ["fp_1"]
    assert found.identifiers["request_id"] == ["req_1"]
    assert found.identifiers["undocumented:response.new.shard_id"] == ["s-7"]
    assert found.identifiers["undocumented:response.new.traceId"] == ["t-1"]
    assert found.identifiers["undocumented:response.header.x-new-id"] == ["n-1"]


def test_an_identifier_is_kept_once_and_under_its_documented_name():
    found = facts(
        "openai/responses", [{"response": {"id": "r"}, "item_id": "i"}, {"response": {"id": "r"}, "item_id": "i"}]
    )
    assert found.identifiers["response_id"] == ["r"]
    assert [values for values in found.identifiers.values() if "i" in values] == [["i"]]


@pytest.mark.parametrize(
    "value", [PROSE, "a b", "line\nbreak", "x" * 257, "", KEY, "\u202eabc", 7, None, {"a": 1}, "tab\t"], ids=repr
)
def test_what_is_no_identifier_is_not_kept_as_one(value: Any):
    found = facts("openai/chat.completions", {"id": "ok", "some_id": value, "items": [{"thread_id": value}]})
    assert found.identifiers == {"response_id": ["ok"]}


WORDS = st.lists(st.text(string.ascii_letters + ".,", min_size=3, max_size=9), min_size=2, max_size=6).map(" ".join)


@given(WORDS, st.sampled_from(["content", "text", "id", "user_id", "anything", "arguments", "title"]))
def test_prose_and_secrets_reach_no_attribute(prose: str, key: str):
    body = {
        "id": "r-1",
        "choices": [{"message": {key: prose, "content": prose, "tool_calls": [{"function": {"arguments": prose}}]}}],
        "extra": [{key: KEY}],
        "error": {"message": prose, "param": prose},
    }
    request = {"messages": [{"role": "user", "content": prose}], "metadata": {key: prose}, "api_key": KEY}
    headers = [("Authorization", f"Bearer {KEY}"), ("X-Api-Key", KEY), ("Set-Cookie", KEY)]
    found = facts("openai/chat.completions", body, request=request, request_headers=headers, headers=headers)
    stored = orjson.dumps(call_attributes(found)).decode()
    assert orjson.dumps(prose).decode()[1:-1] not in stored
    assert KEY not in stored


# --- what a call says


def test_the_model_that_answered_is_the_last_one_said():
    chunks = [{"id": "c", "model": "router"}, {"id": "c", "model": "vendor/real"}]
    found = facts("openrouter/chat.completions", chunks, request={"model": "auto"})
    assert (found.request_model, found.response_model) == ("auto", "vendor/real")
    assert found.is_stream


def test_the_model_in_the_path_is_the_one_asked_for():
    assert facts("gemini/generate_content", {}).request_model == "m-1"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (429, {"error": {"type": "rate_limit_error", "message": PROSE}}, "rate_limit_error"),
        (500, b"<html>Bad gateway</html>", "500"),
        (503, None, "503"),
        (401, {"error": "denied"}, "401"),
    ],
)
def test_errors_are_named_by_the_provider_or_by_their_status(status: int, body: Any, expected: str):
    found = facts("anthropic/messages", body, status=status)
    assert found.error_type == expected
    assert found.usage.input_tokens is None


def test_no_answer_is_an_error_of_its_own():
    found = facts("openai/chat.completions", status=None, error_type="ConnectTimeout")
    assert (found.error_type, found.response_id) == ("ConnectTimeout", None)


def test_a_stream_that_was_cut_off_is_told_from_one_that_ended():
    chunk = {"id": "c", "choices": [{"delta": {"content": "a"}}]}
    whole, cut = events([chunk], b"data: [DONE]\n\n"), events([chunk])
    assert facts("openai/chat.completions", whole, closed_early=True).error_type is None
    assert facts("openai/chat.completions", cut, closed_early=True).error_type == STREAM_CLOSED_EARLY
    stop = events([{"type": "message_start", "message": {"id": "m"}}, {"type": "message_stop"}])
    assert facts("anthropic/messages", stop, closed_early=True).error_type is None


@pytest.mark.parametrize(
    ("surface", "last", "continues"),
    [
        ("openai/chat.completions", {"role": "tool", "tool_call_id": "c", "content": "4"}, True),
        ("openai/chat.completions", {"role": "user", "content": "hi"}, False),
        ("anthropic/messages", {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}, True),
        ("anthropic/messages", {"role": "user", "content": "hi"}, False),
        ("openai/chat.completions", "odd", False),
        ("openai/chat.completions", {"role": ["tool"], "type": {}}, False),
        ("anthropic/messages", {"type": []}, False),
    ],
)
def test_a_tool_result_continues_its_turn(surface: str, last: Any, continues: bool):
    found = facts(surface, {}, request={"messages": [{"role": "user", "content": "hi"}, last]})
    assert (found.message_count, found.continues_turn) == (2, continues)


def test_only_new_messages_are_stored():
    """What earlier calls sent stands in their records: a conversation must not be stored again with every call."""
    old = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "tool_calls": [{"id": "old-call"}]}]
    found = facts("openai/chat.completions", {}, request={"messages": [*old * 50, {"role": "user", "content": "c"}]})
    assert found.message_count == 101
    assert "old-call" not in orjson.dumps(call_attributes(found)).decode()


# --- whose traffic it is


def test_an_unknown_host_with_a_known_path_is_compatible_with_its_address():
    made = Exchange.build(
        method="POST",
        url="http://llm.internal:8000/v1/chat/completions?api_key=" + KEY,
        request_body=orjson.dumps({"model": "m", "messages": []}),
        response_body=orjson.dumps({"id": "c"}),
        status_code=200,
    )
    found = extract(made, REGISTRY)
    assert found is not None
    assert (found.provider, found.server_address) == ("openai_compatible", "llm.internal")
    assert KEY not in orjson.dumps(call_attributes(found)).decode()


def test_other_traffic_is_no_call():
    for url in (
        "https://example.com/",
        "https://api.openai.com/v1/models",
        "https://example.com/v1/chat/completions/x",
    ):
        made = Exchange.build(method="POST", url=url, request_body=b"{}", response_body=b"{}", status_code=200)
        assert extract(made, REGISTRY) is None
    # the path alone is not enough where any application may have it
    made = Exchange.build(
        method="POST",
        url="https://shop.example/responses",
        request_body=b'{"a": 1}',
        response_body=b"{}",
        status_code=200,
    )
    assert extract(made, REGISTRY) is None


def test_a_new_compatible_provider_is_one_document():
    text = """+++
id = "acme"
name = "Acme AI"
hosts = ["api.acme.ai"]

[[surface]]
name = "chat.completions"
like = "openai_compatible/chat.completions"
path = "/v9/chat/completions"

[surface.identifiers]
acme_shard = "response.header:x-acme-shard"
+++
# Acme AI
"""
    folder = Path(turnledger.__file__).parent / "provider_docs"
    texts = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md") if path.name != "README.md"}
    registry = Registry(parse_documents({**texts, "acme.md": text}))
    body = {"id": "c-1", "model": "acme-1", "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    made = Exchange.build(
        method="POST",
        url="https://api.acme.ai/v9/chat/completions",
        request_body=orjson.dumps({"model": "acme", "messages": []}),
        status_code=200,
        response_headers=[("X-Acme-Shard", "s-9")],
        response_body=orjson.dumps(body),
    )
    found = extract(made, registry)
    assert found is not None
    assert (found.provider, found.response_id, found.usage.input_tokens) == ("acme", "c-1", 3)
    assert found.identifiers["acme_shard"] == ["s-9"]


# --- hostile input

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "choices", "message", "messages", "model", "error", "type", "usage", "input", "content"]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(JSON, JSON, st.sampled_from(SURFACES), st.sampled_from([None, 200, 404, 500]))
def test_no_document_makes_extraction_raise(request: Any, response: Any, surface: str, status: int | None):
    sent = request if isinstance(request, dict) else {"messages": request, "input": request, "contents": request}
    found = extract(exchange(surface, response, request=sent, status=status), REGISTRY)
    assert found is None or orjson.dumps(call_attributes(found))


@given(st.binary(max_size=200), st.binary(max_size=200), st.sampled_from(SURFACES))
def test_no_bytes_make_extraction_raise(request: bytes, response: bytes, surface: str):
    found = extract(exchange(surface, response, request=request), REGISTRY)
    assert found is None or found.provider == surface.partition("/")[0]


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b"data: " + b"{" * 10_000 + b"\n\n",
        b'{"id": "\\ud800"}',
        b"\xff\xfe" * 1000,
        b'{"usage": {"prompt_tokens": 1e400}}',
        b'{"usage": {"prompt_tokens": ' + b"9" * 5000 + b"}}",
        b'{"usage": {"prompt_tokens": 1000000000000000}}',
    ],
    ids=["deep list", "deep object", "deep event", "surrogate", "no text", "infinite", "huge number", "no count"],
)
def test_monsters(body: bytes):
    found = facts("openai/chat.completions", body)
    assert found.usage.input_tokens is None
    assert orjson.dumps(call_attributes(found), default=str)


# --- the public functions


def test_extract_all_reads_dicts_and_text():
    body = {"id": "chatcmpl-1", "choices": [{"message": {"content": PROSE}}], "new_id": "n"}
    for response in (body, orjson.dumps(body), orjson.dumps(body).decode()):
        found = turnledger.extract_all_identifiers(response, provider="openai")
        assert found["response_id"] == ["chatcmpl-1"]
        assert found["undocumented:response.new_id"] == ["n"]
        kept = turnledger.extract_all_metadata(response, provider="openai")
        assert kept["choices"][0]["message"]["content"] == f"<{len(PROSE)} chars>"


@pytest.mark.parametrize("response", [b"no JSON", "[1]", 7, None])
def test_extract_all_refuses_what_is_no_response(response: Any):
    with pytest.raises((ValueError, TypeError)):
        turnledger.extract_all_identifiers(response, provider="openai")


def test_extract_all_refuses_an_unknown_provider():
    with pytest.raises(ValueError, match=r"'acme'.*known: .*openai"):
        turnledger.extract_all_identifiers({"id": "x"}, provider="acme")
