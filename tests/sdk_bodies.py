"""Small hand-written bodies in the shape the providers' APIs send, for the loopback server."""

from __future__ import annotations

from typing import Any

from stub_server import events

CHAT: dict[str, Any] = {
    "id": "chatcmpl-7QmTest01",
    "object": "chat.completion",
    "created": 1795000000,
    "model": "gpt-5-mini-2025-08-07",
    "system_fingerprint": "fp_44709d6fcb",
    "service_tier": "default",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Grüße from the loopback.", "refusal": None},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ],
    "usage": {
        "prompt_tokens": 19,
        "completion_tokens": 10,
        "total_tokens": 29,
        "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 0},
    },
}


def _chat_chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-7QmTest01",
        "object": "chat.completion.chunk",
        "created": 1795000000,
        "model": "gpt-5-mini-2025-08-07",
        "system_fingerprint": "fp_44709d6fcb",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}],
        "usage": None,
    }


CHAT_STREAM = events(
    [
        _chat_chunk({"role": "assistant", "content": ""}),
        _chat_chunk({"content": "Grüße from "}),
        _chat_chunk({"content": "the loopback."}),
        _chat_chunk({}, "stop"),
        {**_chat_chunk({}), "choices": [], "usage": CHAT["usage"]},
    ],
    done=True,
)

_MESSAGE_ITEM: dict[str, Any] = {
    "type": "message",
    "id": "msg_0001test",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Hello there.", "annotations": [], "logprobs": []}],
}
RESPONSE: dict[str, Any] = {
    "id": "resp_0001test",
    "object": "response",
    "created_at": 1795000000,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "metadata": {},
    "model": "gpt-5-mini-2025-08-07",
    "output": [_MESSAGE_ITEM],
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "service_tier": "default",
    "usage": {
        "input_tokens": 19,
        "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 0},
        "output_tokens": 10,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 29,
    },
}
_STARTED = {**RESPONSE, "status": "in_progress", "output": [], "usage": None}
_PLACE = {"item_id": "msg_0001test", "output_index": 0, "content_index": 0}
_PART = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
RESPONSE_STREAM = events(
    {**event, "sequence_number": number}
    for number, event in enumerate(
        [
            {"type": "response.created", "response": _STARTED},
            {"type": "response.in_progress", "response": _STARTED},
            {
                "type": "response.output_item.added",
                "output_index": 0,
                "item": {**_MESSAGE_ITEM, "status": "in_progress", "content": []},
            },
            {"type": "response.content_part.added", **_PLACE, "part": _PART},
            {"type": "response.output_text.delta", **_PLACE, "delta": "Hello ", "logprobs": []},
            {"type": "response.output_text.delta", **_PLACE, "delta": "there.", "logprobs": []},
            {"type": "response.output_text.done", **_PLACE, "text": "Hello there.", "logprobs": []},
            {"type": "response.content_part.done", **_PLACE, "part": {**_PART, "text": "Hello there."}},
            {"type": "response.output_item.done", "output_index": 0, "item": _MESSAGE_ITEM},
            {"type": "response.completed", "response": RESPONSE},
        ]
    )
)

_MESSAGE_USAGE: dict[str, Any] = {
    "input_tokens": 7,
    "cache_creation_input_tokens": 4,
    "cache_read_input_tokens": 8,
    "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 10,
    "service_tier": "standard",
}
MESSAGE: dict[str, Any] = {
    "id": "msg_01TestMessage",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-5",
    "content": [{"type": "text", "text": "Hello there."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": _MESSAGE_USAGE,
}
MESSAGE_STREAM = events(
    [
        {
            "type": "message_start",
            "message": {
                **MESSAGE,
                "content": [],
                "stop_reason": None,
                "usage": {**_MESSAGE_USAGE, "output_tokens": 1},
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello "}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "there."}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 10},
        },
        {"type": "message_stop"},
    ]
)

GEMINI: dict[str, Any] = {
    "candidates": [
        {
            "content": {"role": "model", "parts": [{"text": "Hello there."}]},
            "finishReason": "STOP",
            "index": 0,
        }
    ],
    "usageMetadata": {
        "promptTokenCount": 19,
        "cachedContentTokenCount": 8,
        "candidatesTokenCount": 6,
        "thoughtsTokenCount": 4,
        "totalTokenCount": 29,
    },
    "modelVersion": "gemini-2.5-flash",
    "responseId": "GeminiTest01",
}


def _gemini_chunk(text: str, **more: Any) -> dict[str, Any]:
    part = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    return {**GEMINI, "candidates": [{**part, **more}]}


GEMINI_STREAM = events([_gemini_chunk("Hello "), _gemini_chunk("there.", finishReason="STOP")])
