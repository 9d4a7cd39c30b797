"""Responses at hand as HTTP clients, SDKs and recordings have them: with their headers and the request they answer."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
import httpx2
import openai
import pytest
import recorded
import requests
import turnledger
from sdk_bodies import CHAT, CHAT_STREAM
from stub_server import StubServer, json_reply, sse_reply
from turnledger.instrument.documents import load_documents
from turnledger.instrument.facts import extract
from turnledger.instrument.har_entry import to_exchange
from turnledger.instrument.redact import skeleton

if TYPE_CHECKING:
    from collections.abc import Callable

identifiers, metadata_of = turnledger.extract_all_identifiers, turnledger.extract_all_metadata
SAID = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "What do you say?"}], "user": "user-7"}
KEY = "sk-planted-5b1f07c2d94e4a3f8c"
PROSE = ("Grüße", "loopback", "What do you say")


def safe(*found: Any) -> None:
    """Assert that neither text nor a credential is in what was found."""
    text = json.dumps(found, ensure_ascii=False)
    assert not [word for word in (*PROSE, KEY) if word in text]


# --- HTTP clients


def by_httpx(stub: StubServer, library: Any) -> Any:
    with library.Client(headers={"authorization": f"Bearer {KEY}"}) as client:
        return client.post(f"{stub.url}/v1/chat/completions", json=SAID)


def by_requests(stub: StubServer) -> Any:
    headers = {"authorization": f"Bearer {KEY}"}
    return requests.post(f"{stub.url}/v1/chat/completions", json=SAID, headers=headers, timeout=10)


def by_aiohttp(stub: StubServer) -> Any:
    async def ask() -> Any:
        async with (
            aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as session,
            session.post(f"{stub.url}/v1/chat/completions", json=SAID) as response,
        ):
            await response.read()
            return response

    return asyncio.run(ask())


def by_raw_sdk(stub: StubServer) -> Any:
    with openai.OpenAI(api_key=KEY, base_url=f"{stub.url}/v1", max_retries=0) as client:
        return client.chat.completions.with_raw_response.create(**SAID)


CLIENTS: dict[str, Callable[[StubServer], Any]] = {
    "httpx": lambda stub: by_httpx(stub, httpx),
    "httpx2": lambda stub: by_httpx(stub, httpx2),
    "requests": by_requests,
    "aiohttp": by_aiohttp,
    "raw response": by_raw_sdk,
}


@pytest.mark.parametrize("provider", ["openai", None])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_s_response(client: str, provider: str | None, stub: StubServer):
    stub.script(json_reply({**CHAT, "shard_id": "s-1"}, x_request_id="req-9", set_cookie=f"a={KEY}", x_trace_id="t-2"))
    response = CLIENTS[client](stub)
    found, kept = identifiers(response, provider=provider), metadata_of(response, provider=provider)
    safe(found, kept)
    assert (found["response_id"], found["request_id"]) == ([CHAT["id"]], ["req-9"])
    assert found["undocumented:response.shard_id"] == ["s-1"]
    assert found["undocumented:response.header.x-trace-id"] == ["t-2"]
    assert (kept["method"], kept["status_code"], kept["url"]) == ("POST", 200, f"{stub.url}/v1/chat/completions")
    assert kept["response"]["usage"] == CHAT["usage"]
    assert kept["response_headers"]["x-request-id"] == "req-9"
    if client == "aiohttp":  # it keeps no request body
        assert "request" not in kept
    else:
        assert found["user_id"] == ["user-7"]
        assert kept["request"]["messages"][0]["content"] == "<16 chars>"


@pytest.mark.parametrize("client", sorted(CLIENTS.keys() - {"raw response"}))
def test_a_stream_that_was_read(client: str, stub: StubServer):
    stub.script(sse_reply(CHAT_STREAM, x_request_id="req-9"))
    response = CLIENTS[client](stub)
    found, kept = identifiers(response), metadata_of(response)
    safe(found, kept)
    assert (found["response_id"], found["request_id"]) == ([CHAT["id"]], ["req-9"])
    assert kept["response"]["last"]["usage"] == CHAT["usage"]
    assert kept["response"]["ended"] is True


def test_an_sdk_s_error_has_its_response(stub: StubServer):
    stub.script(json_reply({"error": {"type": "rate_limit", "message": PROSE[0]}}, 429, x_request_id="req-9"))
    with pytest.raises(openai.RateLimitError) as error:
        by_raw_sdk(stub)
    assert identifiers(error.value, provider="openai")["request_id"] == ["req-9"]
    assert metadata_of(error.value)["status_code"] == 429


def unread_httpx(stub: StubServer) -> Any:
    with httpx.Client() as client, client.stream("POST", f"{stub.url}/v1/chat/completions", json=SAID) as response:
        return response


def unread_requests(stub: StubServer) -> Any:
    return requests.post(f"{stub.url}/v1/chat/completions", json=SAID, stream=True, timeout=10)


def unread_aiohttp(stub: StubServer) -> Any:
    async def ask() -> Any:
        async with aiohttp.ClientSession() as session, session.post(f"{stub.url}/v1/x", json=SAID) as response:
            return response

    return asyncio.run(ask())


@pytest.mark.parametrize("client", [unread_httpx, unread_requests, unread_aiohttp])
def test_a_body_that_was_not_read_is_left_to_the_application(client: Any, stub: StubServer):
    stub.script(json_reply(CHAT))
    response = client(stub)
    with pytest.raises(TypeError, match=r"^the body of this [\w.]+Response was not read yet: read it, then pass the "):
        identifiers(response)
    if client is unread_requests:
        assert response.json() == CHAT


def test_a_response_without_a_request():
    response = httpx.Response(200, json=CHAT, headers={"x-request-id": "req-9"})
    assert identifiers(response, provider="openai")["request_id"] == ["req-9"]
    assert "url" not in metadata_of(response)


# --- recordings: what is read of an entry is what is read of the exchange


@pytest.mark.parametrize("path", recorded.FILES, ids=lambda path: path.name.partition(".")[0])
def test_entries_of_recordings_are_read_as_exchanges_are(path: Any):
    registry = load_documents()
    for entry in recorded.entries(path):
        facts = extract(to_exchange(entry), registry)
        if facts is None:  # another endpoint, which is no call
            continue
        for provider in (None, facts.provider):
            assert identifiers(entry, provider=provider) == facts.identifiers
            kept = metadata_of(entry, provider=provider)
            assert kept == {name: value for name, value in facts.raw_metadata.items() if value not in (None, "", {})}
        body = recorded.answer_of(entry)
        surfaces = registry.documents[facts.provider].surfaces
        rules = next(surface.rules for surface in surfaces if surface.name == facts.surface)
        if body.startswith(b"{"):
            assert metadata_of(body, provider=facts.provider) == skeleton(json.loads(body), rules)
            found = identifiers(body, provider=facts.provider)
            assert not facts.identifiers.get("response_id") or "response_id" in found


def test_an_entry_that_is_damaged_is_told():
    with pytest.raises(TypeError, match=r"^the HAR entry cannot be read: "):
        identifiers({"request": {"method": "POST", "url": "x", "headers": [{}]}, "response": {}})


@pytest.mark.parametrize("client", ["httpx", "requests", "aiohttp", "raw response"])
def test_an_object_with_headers_beside_an_object(client: str, stub: StubServer):
    stub.script(json_reply(CHAT, x_request_id="req-9"))
    assert identifiers(dict(CHAT), CLIENTS[client](stub), "openai")["request_id"] == ["req-9"]
