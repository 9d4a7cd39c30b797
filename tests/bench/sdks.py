"""The real SDKs as traffic to measure with, over the same mock transport."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import openai
import traffic

if TYPE_CHECKING:
    from traffic import Sample


def message_body() -> bytes:
    """Return a message of about a kilobyte."""
    return json.dumps(
        {
            "id": "msg_bench01",
            "type": "message",
            "role": "assistant",
            "model": "claude-opus-5",
            "content": [{"type": "text", "text": "Hello from the bench. " * 30}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 19, "output_tokens": 10},
        }
    ).encode()


def openai_sdk(count: int) -> list[Sample]:
    """The OpenAI SDK, answered whole."""
    web = httpx2.Client(transport=traffic.transport(httpx2, traffic.chat_body()))
    with openai.OpenAI(api_key="none", http_client=web) as client:
        return traffic.measured(lambda: client.chat.completions.create(**traffic.ASKED), count)  # type: ignore[arg-type]


def openai_sdk_streamed(count: int) -> list[Sample]:
    """The OpenAI SDK, streaming."""
    web = httpx2.Client(transport=traffic.transport(httpx2, traffic.chat_events()))
    with openai.OpenAI(api_key="none", http_client=web) as client:
        create: Any = client.chat.completions.create
        return traffic.measured(lambda: [None for _ in create(**traffic.ASKED, stream=True)], count)


def anthropic_sdk(count: int) -> list[Sample]:
    """The Anthropic SDK, answered whole."""
    web = httpx2.Client(transport=traffic.transport(httpx2, message_body()))
    with anthropic.Anthropic(api_key="none", http_client=web) as client:
        create: Any = client.messages.create
        return traffic.measured(lambda: create(**traffic.ASKED, max_tokens=64), count)
