"""Identifiers: every one is kept, named or not; text and secrets never, whatever the exchange looks like."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_exchanges import REGISTRY, SURFACES, exchange, facts
from turnledger.instrument.facts import extract
from turnledger.instrument.identifiers import (
    MAX_NAMES,
    MAX_VALUES,
    UNDOCUMENTED,
    is_identifier_key,
    sweep,
    sweep_headers,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

RULES = REGISTRY.documents["openai"].surfaces[0].rules
CHAT = "openai/chat.completions"


@pytest.mark.parametrize("key", ["id", "ids", "run_id", "file_ids", "runId", "fileIDs", "requestID", "an_uuid",
                                 "modelArn", "guid", "a_guid", "system_fingerprint", "prompt_cache_key"])  # fmt: skip
def test_keys_of_identifiers(key: str):
    assert is_identifier_key(key)


@pytest.mark.parametrize(
    "key", ["", "idea", "paid", "valid", "Idle", "grid", "identity", "id_type", "video", "width", "text"]
)
def test_keys_of_other_things(key: str):
    assert not is_identifier_key(key)


def test_named_ones_have_their_name_and_others_say_where_they_stood():
    response = {
        "id": "chatcmpl-1",
        "batch": {"job_id": "job-7", "items": [{"traceId": "t-1"}, {"traceId": "t-2"}, {"traceId": "t-1"}]},
        "choices": [{"message": {"tool_calls": [{"id": "call-1", "function": {"arguments": '{"id":"x"}'}}]}}],
    }
    found = facts(
        CHAT,
        response,
        request={"user": "u-1", "metadata": {"ticket_id": "T-9"}},
        headers=[("X-Request-Id", "req-1"), ("x-vendor-trace", "v-1"), ("content-type", "application/json")],
        request_headers=[("X-Correlation-Id", "c-1")],
    ).identifiers
    assert found == {
        "response_id": ["chatcmpl-1"],
        "tool_call_id": ["call-1"],
        "user_id": ["u-1"],
        "request_id": ["req-1"],
        UNDOCUMENTED + "response.batch.job_id": ["job-7"],
        UNDOCUMENTED + "response.batch.items[].traceId": ["t-1", "t-2"],
        UNDOCUMENTED + "request.metadata.ticket_id": ["T-9"],
        UNDOCUMENTED + "response.header.x-vendor-trace": ["v-1"],
        UNDOCUMENTED + "request.header.x-correlation-id": ["c-1"],
    }


def test_a_value_that_has_a_name_is_not_told_again():
    found = facts(CHAT, {"id": "c-1", "parent_id": "c-1", "other_id": "c-2"}).identifiers
    assert found == {"response_id": ["c-1"], UNDOCUMENTED + "response.other_id": ["c-2"]}


def test_messages_that_were_sent_before_are_not_told_again():
    earlier = [{"role": "tool", "tool_call_id": f"call-{n}"} for n in range(50)]
    messages = [*earlier, {"role": "assistant"}, {"role": "tool", "tool_call_id": "call-new"}]
    assert facts(CHAT, {}, request={"messages": messages}).identifiers == {"tool_result_for": ["call-new"]}
    items = [
        {"id": "msg-old"},
        {"type": "function_call", "call_id": "c-1"},
        {"type": "function_call_output", "call_id": "c-1"},
    ]
    assert facts("openai/responses", {}, request={"input": items}).identifiers == {"tool_result_for": ["c-1"]}


def test_a_stream_s_identifiers_are_those_of_all_its_events():
    events = [
        {"type": "response.created", "response": {"id": "resp-1"}},
        {"type": "response.output_item.added", "item": {"id": "ws-1", "type": "web_search_call"}},
        {"type": "response.x", "new_thing": {"gizmo_id": "g-1"}},
        {"type": "response.completed", "response": {"id": "resp-1", "output": [{"id": "ws-1"}, {"id": "msg-1"}]}},
    ]
    found = facts("openai/responses", events).identifiers
    assert found["response_id"] == ["resp-1"]
    assert found["item_id"] == ["ws-1", "msg-1"]
    assert found[UNDOCUMENTED + "response.new_thing.gizmo_id"] == ["g-1"]


def test_what_an_application_writes_into_tool_arguments_is_none():
    response = {"choices": [{"message": {"function_call": {"arguments": {"patient_id": "p-1"}}}}]}
    assert facts(CHAT, response).identifiers == {}
    assert facts("anthropic/messages", {"content": [{"input": {"patient_id": "p-1"}}]}).identifiers == {}


def test_bounds():
    many = facts(CHAT, {"thing_ids": [f"t-{n}" for n in range(5_000)]}).identifiers
    assert len(many[UNDOCUMENTED + "response.thing_ids[]"]) == MAX_VALUES
    keyed = facts(CHAT, {f"user{n}": {"id": f"u-{n}"} for n in range(5_000)}).identifiers
    assert len(keyed) == MAX_NAMES
    assert facts(CHAT, {"id": "x" * 257}).identifiers == {}


_ASCII = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_SECRETS = st.one_of(
    st.text(_ASCII, min_size=20, max_size=40).map("sk-{}".format),
    st.text(_ASCII + "_-", min_size=20, max_size=60).map("sk-ant-api03-{}".format),
    st.text(_ASCII, min_size=35, max_size=35).map("AIza{}".format),
    st.text(_ASCII, min_size=20, max_size=40).map("sk-or-v1-{}".format),
    st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=16, max_size=16).map("AKIA{}".format),
    st.tuples(*[st.text(_ASCII + "_-", min_size=12, max_size=30)] * 3).map(lambda parts: "eyJ" + ".".join(parts)),
)
_PROSE = st.lists(st.text(_ASCII, min_size=3, max_size=8), min_size=2, max_size=6).map(" ".join)
_KEYS = st.sampled_from(
    ["id", "user", "user_id", "thread_id", "x", "items", "metadata", "choices", "message", "status", "code"]
)
_IDS = st.text(_ASCII + "_-", min_size=1, max_size=30)


def _json(leaves: st.SearchStrategy[Any], keys: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
    )


def kept(surface: str, **parts: Any) -> str:
    """Return all that a row of the exchange is made of, as text; it may be of a surface that shares the path."""
    found = extract(exchange(surface, **parts), REGISTRY)
    assert found is not None
    return json.dumps(
        [getattr(found, name) for name in found.__slots__ if name not in ("exchange", "usage")], default=str
    )


@given(st.sampled_from(SURFACES), _json(_SECRETS, _KEYS | _SECRETS), _json(_SECRETS, _KEYS | _SECRETS), _SECRETS)
def test_no_secret_is_kept_wherever_it_stands(surface: str, response: Any, request: Any, secret: str):
    document = {
        "id": secret,
        "error": {"type": secret, "code": secret},
        "status": secret,
        "usage": {"tier": secret},
        "x": response,
    }
    headers = [("x-request-id", secret), ("x-new-id", secret), ("x-odd", f"a {secret}")]
    body = {"model": secret, "user": secret, "metadata": {"user_id": secret}, "y": request}
    found = kept(surface, response=document, request=body, headers=headers, request_headers=headers)
    assert [value for value in _values([document, body]) if value in found] == []


@given(st.sampled_from(SURFACES), _json(_PROSE, _KEYS | _PROSE), _json(_PROSE, _KEYS | _PROSE), _PROSE)
def test_no_text_is_kept_wherever_it_stands(surface: str, response: Any, request: Any, text: str):
    document = {
        "id": text,
        "error": {"type": text, "message": text},
        "status": text,
        "choices": [{"message": {"content": text}}],
        "x": response,
    }
    body = {
        "model": text,
        "user": text,
        "messages": [{"role": text, "content": text}],
        "input": text,
        "prompt": text,
        "y": request,
    }
    found = kept(surface, response=document, request=body)
    assert [value for value in _values([document, body]) if value in found] == []


def _values(node: Any) -> Iterator[str]:
    """Yield every text of a document that is longer than a word the format itself has, keys too."""
    if isinstance(node, str) and (len(node) > 19 or " " in node):
        yield node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _values(key)
            yield from _values(value)
    elif isinstance(node, list):
        for value in node:
            yield from _values(value)


@given(_json(_IDS, _KEYS))
def test_every_id_like_leaf_is_found_once_and_where_it_stands(document: Any):
    found = list(sweep([document, document], "response", RULES))
    assert len(found) == len(set(found))
    assert {value for _, value in found} == set(_leaves(document, ""))
    assert all(re.fullmatch(r"response(?:\.\w+|\[\])*", name) for name, _ in found)


def _leaves(node: Any, key: str) -> Iterator[str]:
    if isinstance(node, str) and is_identifier_key(key):
        yield node
    elif isinstance(node, dict):
        for name, value in node.items():
            yield from _leaves(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from _leaves(value, key)


def test_nothing_is_looked_for_under_keys_of_secrets():
    document = {"credentials": {"id": "abc"}, "token": [{"id": "def"}], "encrypted_content": {"id": "ghi"}}
    assert list(sweep([document], "response", RULES)) == []


@pytest.mark.parametrize(
    "name", ["x-request-id", "request-id", "cf-ray", "openai-organization", "traceparent", "x-amzn-requestid"]
)
def test_headers_of_identifiers(name: str):
    assert list(sweep_headers([(name, " v ")], "h")) == [(f"h.{name}", "v")]


@pytest.mark.parametrize("name", ["content-type", "x-identity", "date", "x-ratelimit-limit-tokens", "idle"])
def test_headers_of_other_things(name: str):
    assert list(sweep_headers([(name, "v")], "h")) == []
