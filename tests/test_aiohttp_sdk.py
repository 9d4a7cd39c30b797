"""The SDK that makes its async calls with a session class of its own where aiohttp is installed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from google import genai
from google.genai import types
from stub_server import events, json_reply, sse_reply

if TYPE_CHECKING:
    from conftest import Recorder
    from stub_server import StubServer


ANSWER = {
    "candidates": [{"content": {"parts": [{"text": "Hello."}], "role": "model"}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 19, "candidatesTokenCount": 10, "totalTokenCount": 29},
    "modelVersion": "gemini-3-flash",
    "responseId": "r1esp0nse",
}


@pytest.mark.filterwarnings("ignore:Inheritance class")  # the SDK's session is a subclass
@pytest.mark.parametrize("is_stream", [False, True])
def test_the_sdk_that_takes_aiohttp_where_it_is_installed(is_stream: bool, stub: StubServer, capture: Recorder):
    capture.hosts = {stub.host: "gemini"}

    async def ask() -> Any:
        stub.script(sse_reply(events([ANSWER])) if is_stream else json_reply(ANSWER))
        options = types.HttpOptions(base_url=stub.url)
        client = genai.Client(api_key="none", http_options=options)
        try:
            if is_stream:
                stream = await client.aio.models.generate_content_stream(model="gemini-3-flash", contents="Hi")
                return [chunk.text async for chunk in stream]
            return (await client.aio.models.generate_content(model="gemini-3-flash", contents="Hi")).text
        finally:
            await client.aio.aclose()

    found, rows = capture.same_with_and_without(lambda: asyncio.run(ask()))
    assert found == (["Hello."] if is_stream else "Hello.")
    assert [(row["response_id"], row["input_tokens"], row["output_tokens"], row["error_type"]) for row in rows] == [
        ("r1esp0nse", 19, 10, None)
    ]
    assert (rows[0]["is_stream"], rows[0]["request_model"]) == (is_stream, "gemini-3-flash")
