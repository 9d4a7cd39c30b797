"""What the surfaces say in full: state, tiers, streams that settle, and what SDKs hand out as objects."""

from __future__ import annotations

from typing import Any

import anthropic.types
import google.genai.types
import openai.types.chat
import openai.types.responses
import pytest
import turnledger
from made_exchanges import REGISTRY, SURFACES, exchange, facts
from sdk_bodies import CHAT, GEMINI, MESSAGE, RESPONSE
from turnledger.instrument.documents import Match
from turnledger.instrument.facts import extract_matched


def test_a_stored_response_names_its_conversation_and_the_one_before():
    request = {"previous_response_id": "resp-0", "conversation": {"id": "conv-1"}, "prompt_cache_key": "k-1"}
    events = [
        {"type": "response.created", "response": {"id": "resp-1", "status": "queued", "service_tier": "auto"}},
        {"type": "response.in_progress", "response": {"id": "resp-1", "status": "in_progress"}},
        {
            "type": "response.incomplete",
            "response": {
                "id": "resp-1",
                "status": "incomplete",
                "service_tier": "flex",
                "incomplete_details": {"reason": "max_output_tokens"},
            },
        },
    ]
    found = facts("openai/responses", events, request=request)
    assert (found.response_id, found.previous_response_id, found.conversation_id) == ("resp-1", "resp-0", "conv-1")
    assert found.finish_reasons == ("max_output_tokens", "incomplete")
    assert found.service_tier == "flex"
    assert found.identifiers["prompt_cache_key"] == ["k-1"]
    assert facts("openai/responses", {}, request={"conversation": "conv-2"}).conversation_id == "conv-2"


def test_an_interaction_and_the_one_it_continues():
    events = [
        {"event_type": "interaction.created", "interaction": {"id": "int-1", "status": "in_progress", "model": "m-2"}},
        {
            "event_type": "step.start",
            "event_id": "e-1",
            "step": {"id": "s-1", "type": "function_call", "call_id": "fc-1"},
        },
        {
            "event_type": "interaction.completed",
            "interaction": {
                "id": "int-1",
                "status": "completed",
                "service_tier": "standard",
                "usage": {
                    "total_input_tokens": 1000,
                    "total_output_tokens": 40,
                    "total_thought_tokens": 10,
                    "total_cached_tokens": 900,
                    "input_tokens_by_modality": [
                        {"modality": "text", "tokens": 900},
                        {"modality": "audio", "tokens": 100},
                    ],
                    "grounding_tool_count": [{"type": "google_search", "count": 2}],
                },
            },
        },
    ]
    found = facts("gemini/interactions", events, request={"previous_interaction_id": "int-0"}, closed_early=True)
    assert (found.response_id, found.previous_response_id, found.response_model) == ("int-1", "int-0", "m-2")
    assert (found.finish_reasons, found.service_tier, found.error_type) == (("completed",), "standard", None)
    assert (found.usage.input_tokens, found.usage.output_tokens, found.usage.cache_read_tokens) == (1000, 50, 900)
    assert found.usage.details["web_search_requests"] == 2
    assert found.usage.details["input_audio_tokens"] == 100
    assert found.identifiers["tool_call_id"] == ["fc-1"]
    assert found.identifiers["step_id"] == ["s-1"]
    assert facts("gemini/interactions", events[:2], closed_early=True).error_type == "stream_closed_early"


@pytest.mark.parametrize(
    ("usage", "tier", "billing"),
    [
        ({"service_tier": "standard", "speed": "standard"}, "standard", {"speed": "standard"}),
        ({"service_tier": "priority", "speed": "fast"}, "priority", {"speed": "fast"}),
        ({"service_tier": "batch", "inference_geo": "us"}, "batch", {"inference_geo": "us"}),
        ({"input_tokens": 1}, None, {}),
        ({"speed": "written by a model that was asked to"}, None, {}),
        ({"speed": {"fast": 1}, "inference_geo": "x" * 65}, None, {}),
    ],
)
def test_what_the_price_depends_on_is_read_beside_the_tier(
    usage: dict[str, Any], tier: str | None, billing: dict[str, str]
):
    found = facts("anthropic/messages", {"id": "m", "usage": usage})
    assert (found.service_tier, found.billing) == (tier, billing)
    start = {"type": "message_start", "message": {"id": "m", "usage": usage}}
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}
    found = facts("anthropic/messages", [start, delta])
    assert (found.service_tier, found.billing) == (tier, billing)


def test_the_tier_that_served_stands_in_a_header():
    found = facts("gemini/generate_content", {"candidates": []}, headers=[("X-Gemini-Service-Tier", "flex")])
    assert found.service_tier == "flex"


def test_a_thread_s_run_goes_on_when_its_tools_have_answered():
    surface = "openai/threads.runs.submit_tool_outputs"
    events = [
        {
            "id": "run_1",
            "object": "thread.run",
            "status": "completed",
            "usage": {"prompt_tokens": 9, "completion_tokens": 4},
        }
    ]
    found = facts(
        surface, events, request={"tool_outputs": [{"tool_call_id": "call-1", "output": "4"}], "stream": True}
    )
    assert (found.conversation_id, found.finish_reasons) == ("thread_1", ("completed",))
    assert (found.usage.input_tokens, found.usage.output_tokens) == (9, 4)
    assert found.identifiers["tool_result_for"] == ["call-1"]


def test_a_session_of_the_router_is_the_conversation_in_body_or_header():
    said = facts(
        "openrouter/chat.completions", {}, request={"session_id": "s-1"}, request_headers=[("X-Session-Id", "s-2")]
    )
    assert said.conversation_id == "s-1"
    assert facts("openrouter/responses", {}, request_headers=[("X-Session-Id", "s-2")]).conversation_id == "s-2"


def test_an_error_can_come_in_a_stream_that_began_well():
    chunk = {"id": "gen-1", "choices": [{"delta": {"content": "Hel"}}]}
    broken = {
        "id": "gen-1",
        "error": {"code": 502, "message": "upstream went away"},
        "choices": [{"finish_reason": "error"}],
    }
    found = facts("openrouter/chat.completions", [chunk, broken])
    assert (found.error_type, found.finish_reasons) == ("502", ("error",))
    assert "went away" not in str(found.raw_metadata)
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "busy now"}, "request_id": "req_1"}
    found = facts("anthropic/messages", [{"type": "message_start", "message": {"id": "msg_1"}}, overloaded])
    assert (found.error_type, found.request_id, found.response_id) == ("overloaded_error", "req_1", "msg_1")


def test_what_a_form_holds_is_not_read():
    body = b"--x\r\nContent-Disposition: form-data; name=model\r\n\r\nm-1\r\n--x--"
    found = facts("openai/responses", {"id": "r"}, request=body)
    assert (found.request_model, found.response_id, found.message_count) == (None, "r", None)


@pytest.mark.parametrize("surface", SURFACES)
def test_a_request_that_could_not_be_read_is_a_call_where_the_host_is_known(surface: str):
    document, _, name = surface.partition("/")
    found = next(item for item in REGISTRY.documents[document].surfaces if item.name == name)
    unread = exchange(surface, {"id": "r"}, request=b"")
    known = "*" not in REGISTRY.documents[document].hosts
    match = Match(REGISTRY.documents[document], found, {}, known)
    assert (extract_matched(type(unread)(**{**_parts(unread), "request_body": None}), match) is not None) == (
        known or not found.requires
    )


def _parts(made: Any) -> dict[str, Any]:
    return {name: getattr(made, name) for name in made.__slots__}


# --- the objects of SDKs

OBJECTS = [
    ("openai", openai.types.chat.ChatCompletion, CHAT, {"response_id": [CHAT["id"]]}),
    (
        "openai",
        openai.types.responses.Response,
        RESPONSE,
        {"response_id": [RESPONSE["id"]], "item_id": ["msg_0001test"]},
    ),
    ("anthropic", anthropic.types.Message, MESSAGE, {"response_id": [MESSAGE["id"]]}),
    ("gemini", google.genai.types.GenerateContentResponse, GEMINI, {"response_id": [GEMINI["responseId"]]}),
    ("gcp.gemini", google.genai.types.GenerateContentResponse, GEMINI, {"response_id": [GEMINI["responseId"]]}),
]


@pytest.mark.parametrize(("provider", "kind", "body", "named"), OBJECTS, ids=[item[1].__name__ for item in OBJECTS])
def test_an_sdk_s_object_is_read_by_the_names_of_the_wire(provider: str, kind: Any, body: Any, named: dict[str, Any]):
    strict = kind.__module__.startswith("google")  # this SDK refuses or drops what it does not know
    response = kind.model_validate(body if strict else {**body, "shard_id": "s-1"})
    found = turnledger.extract_all_identifiers(response, provider=provider)
    assert {name: found.get(name) for name in named} == named
    assert strict or found["undocumented:response.shard_id"] == ["s-1"]
    kept = turnledger.extract_all_metadata(response, provider=provider)
    assert "Hello there." not in str(kept)
    assert "loopback" not in str(kept)
    assert kept["usageMetadata" if strict else "usage"]


def test_the_request_s_id_beside_an_object_is_an_identifier():
    response = openai.types.chat.ChatCompletion.model_validate(CHAT)
    response._request_id = "req-7"
    assert turnledger.extract_all_identifiers(response, provider="openai")["request_id"] == ["req-7"]


def test_without_a_documented_name_all_is_undocumented():
    assert turnledger.extract_all_identifiers({"x": {"gizmo_id": "g"}}, provider="anthropic") == {
        "undocumented:response.x.gizmo_id": ["g"]
    }
    assert turnledger.extract_all_identifiers({}, provider="anthropic") == {}
