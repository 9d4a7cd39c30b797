"""Calls over gRPC, which no HTTP seam sees: a real SDK against a real server, read from what functions hand out."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import grpc
import orjson
import pytest
import turnledger
import xai_sdk
from grpc_server import GrpcServer, completion
from turnledger.instrument import health
from xai_sdk.chat import Response, user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from conftest import Recorder


@pytest.fixture(scope="module")
def server() -> Iterator[GrpcServer]:
    """One server for all tests of this file."""
    logging.getLogger("grpc").setLevel(logging.CRITICAL)
    found = GrpcServer()
    yield found
    found.close()


@contextmanager
def sync_chat(server: GrpcServer, model: str = "grok-4.7") -> Iterator[Any]:
    with xai_sdk.Client(api_key="key-for-loopback", api_host=server.address, use_insecure_channel=True) as client:
        chat = client.chat.create(model=model)
        chat.append(user("What do you say?"))
        yield chat


def whole(server: GrpcServer) -> Any:
    @turnledger.observe(conversation="chat-1", user="u1")
    def answer() -> Any:
        with sync_chat(server) as chat:
            return chat.sample()

    return answer()


def whole_async(server: GrpcServer) -> Any:
    @turnledger.observe(conversation="chat-1", user="u1")
    async def answer() -> Any:
        async with xai_sdk.AsyncClient(
            api_key="key-for-loopback", api_host=server.address, use_insecure_channel=True
        ) as client:
            chat = client.chat.create(model="grok-4.7")
            chat.append(user("What do you say?"))
            return await chat.sample()

    return asyncio.run(answer())


def kept_of_a_stream(server: GrpcServer) -> Any:
    @turnledger.observe(conversation="chat-1", user="u1")
    def answer() -> Any:
        response = None
        with sync_chat(server) as chat:
            for response, _ in chat.stream():  # noqa: B007  the last one is the whole
                pass
        return response

    return answer()


def yielded_pairs(server: GrpcServer) -> Any:
    @turnledger.observe(conversation="chat-1", user="u1")
    def answer() -> Iterator[Any]:
        with sync_chat(server) as chat:
            yield from chat.stream()

    return list(answer())[-1][0]


def yielded_chunks(server: GrpcServer) -> Any:
    @turnledger.observe(conversation="chat-1", user="u1")
    def answer() -> Iterator[Any]:
        with sync_chat(server) as chat:
            for _, chunk in chat.stream():
                yield chunk

    return list(answer())[-1]


def yielded_messages(server: GrpcServer) -> Any:
    @turnledger.observe(conversation="chat-1", user="u1")
    def answer() -> Iterator[Any]:
        with sync_chat(server) as chat:
            for _, chunk in chat.stream():
                yield chunk.proto

    return list(answer())[-1]


def returned_stream(server: GrpcServer) -> Any:
    @turnledger.observe(conversation="chat-1", user="u1")
    def answer(chat: Any) -> Any:
        return chat.stream()

    with sync_chat(server) as chat:
        return list(answer(chat))[-1][0]


def async_stream(server: GrpcServer) -> Any:
    @turnledger.observe(conversation="chat-1", user="u1")
    async def answer() -> AsyncIterator[Any]:
        async with xai_sdk.AsyncClient(
            api_key="key-for-loopback", api_host=server.address, use_insecure_channel=True
        ) as client:
            chat = client.chat.create(model="grok-4.7")
            chat.append(user("What do you say?"))
            async for pair in chat.stream():
                yield pair

    async def consume() -> Any:
        return [pair async for pair in answer()][-1][0]

    return asyncio.run(consume())


def returned_async_stream(server: GrpcServer) -> Any:
    @turnledger.observe(conversation="chat-1", user="u1")
    def answer(chat: Any) -> Any:
        return chat.stream()

    async def consume() -> Any:
        async with xai_sdk.AsyncClient(
            api_key="key-for-loopback", api_host=server.address, use_insecure_channel=True
        ) as client:
            chat = client.chat.create(model="grok-4.7")
            chat.append(user("What do you say?"))
            return [pair async for pair in answer(chat)][-1][0]

    return asyncio.run(consume())


WHOLE = [whole, whole_async]
STREAMS = [yielded_pairs, yielded_chunks, yielded_messages, returned_stream, async_stream, returned_async_stream]


@pytest.mark.parametrize("call", [*WHOLE, kept_of_a_stream, *STREAMS], ids=lambda call: call.__name__)
def test_a_call_is_a_row(call: Any, server: GrpcServer, recorder: Recorder):
    result = call(server)
    row = recorder.row()
    assert (row["provider"], row["surface"], row["operation"]) == ("xai", "chat.grpc", "chat")
    assert (row["response_id"], row["response_model"]) == (getattr(result, "id", None) or result.proto.id, "grok-4.7")
    assert (row["input_tokens"], row["cache_read_tokens"]) == (100, 64)
    # Reasoning is beside the completion here, as the total says; the books have it inside of the output.
    assert (row["output_tokens"], row["reasoning_tokens"]) == (50, 30)
    assert row["usage_problems"] is None
    assert row["billed_cost_usd"] == Decimal("0.0012345678")
    assert row["finish_reasons"] == ["REASON_STOP"]
    assert dict(row["identifiers"])["system_fingerprint"] == ["fp_grpc01"]
    assert (row["conversation_id"], row["conversation_source"], row["user_id"]) == ("chat-1", "app", "u1")
    assert row["is_stream"] is (True if call in STREAMS else None)
    assert (row["first_chunk_ms"] is not None) is (call in STREAMS)
    assert (row["error_type"], row["status_code"], row["server_address"]) == (None, None, None)
    assert "ello" not in row["raw_metadata"]
    assert "ello" not in row["raw_usage"]
    assert health.snapshot() == {}


def test_a_whole_response_says_more(server: GrpcServer, recorder: Recorder):
    response = whole(server)
    row = recorder.row()
    number = response.id.removeprefix("resp-")
    assert dict(row["identifiers"]) == {
        "response_id": [f"resp-{number}"],
        "previous_response_id": ["resp-0"],
        "user_id": ["user-1"],
        "system_fingerprint": ["fp_grpc01"],
        "tool_call_id": [f"call-{number}"],
    }
    assert (row["previous_response_id"], row["service_tier"]) == ("resp-0", "SERVICE_TIER_PRIORITY")
    raw = orjson.loads(row["raw_metadata"])["response"]
    assert raw["outputs"][0]["message"]["tool_calls"][0]["function"]["arguments"] == "<12 chars>"
    assert raw["citations"] == ["<26 chars>"]
    assert orjson.loads(row["raw_usage"])["num_sources_used"] == 0  # what is not sent is 0 in a message that is there


def test_a_stream_that_was_left_is_a_row_with_what_was_seen(server: GrpcServer, recorder: Recorder):
    @turnledger.observe
    def answer() -> Iterator[Any]:
        with sync_chat(server) as chat:
            yield from chat.stream()

    stream: Any = answer()
    next(stream)
    stream.close()
    row = recorder.row()
    assert (row["error_type"], row["is_stream"], row["input_tokens"]) == ("stream_closed_early", True, 100)


def test_a_stream_that_fails_is_a_row_and_its_error_the_application_s(server: GrpcServer, recorder: Recorder):
    @turnledger.observe
    def answer() -> Iterator[Any]:
        with sync_chat(server, "busy") as chat:
            yield from chat.stream()

    with pytest.raises(grpc.RpcError, match="too much"):
        list(answer())
    row = recorder.row()
    assert (row["error_type"], row["response_model"]) == ("stream_closed_early", "grok-4.7")


def test_a_call_that_fails_leaves_nothing_to_read(server: GrpcServer, recorder: Recorder):
    @turnledger.observe
    def answer() -> Any:
        with sync_chat(server, "busy") as chat:
            return chat.sample()

    with pytest.raises(grpc.RpcError, match="too much"):
        answer()
    assert recorder.rows() == []


def test_the_same_response_is_counted_once(server: GrpcServer, recorder: Recorder):
    response = whole(server)
    turnledger.observe(lambda: response)()
    assert len(recorder.rows()) == 1


def test_the_public_functions_read_messages_and_what_wraps_them():
    message = completion(7)
    for response in (message, Response(message, 0)):
        for provider in ("xai", "x_ai", None):
            found = turnledger.extract_all_identifiers(response, provider=provider)
            assert (found["response_id"], found["tool_call_id"]) == (["resp-7"], ["call-7"])
            assert found["system_fingerprint"] == ["fp_grpc01"]
        kept = turnledger.extract_all_metadata(response, provider="xai")
        assert kept["usage"]["cached_prompt_text_tokens"] == 64
        assert kept["outputs"][0]["message"]["content"] == "<12 chars>"
        assert kept["created"].startswith("2026-")


def test_metadata_of_grpc_is_headers():
    metadata = (("x-request-id", "req-9"), ("x-trace-id", b"t-1"))
    found = turnledger.extract_all_identifiers(completion(8), metadata, "xai")
    assert "req-9" in {value for values in found.values() for value in values}
    assert found["undocumented:response.header.x-trace-id"] == ["t-1"]
