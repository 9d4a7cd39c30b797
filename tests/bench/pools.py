"""urllib3 and aiohttp as traffic to measure with: the method that capture wraps, with an answer at once behind it."""

from __future__ import annotations

import asyncio
import io
import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import traffic
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import HTTPResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traffic import Sample

_BODY = json.dumps(traffic.ASKED).encode()
_HEADERS = {"content-type": "application/json", "user-agent": "bench"}
_EVENTS = b"".join(traffic.chat_events())


@contextmanager
def answering(body: bytes | None) -> Iterator[None]:
    """Let urllib3 answer every request with ``body``, None with nothing, and aiohttp with nothing."""
    original, session = HTTPConnectionPool._make_request, aiohttp.ClientSession._request

    def answer(*_: Any, **__: Any) -> Any:
        if body is not None:
            headers = {"content-type": "application/json", "x-request-id": "req_bench01"}
            return HTTPResponse(io.BytesIO(body), headers, 200, preload_content=False)
        return None

    async def nothing(_session: Any, _method: str, _url: Any, *, middlewares: Any = None) -> None:
        return None

    HTTPConnectionPool._make_request = answer  # type: ignore[assignment]
    aiohttp.ClientSession._request = nothing  # type: ignore[assignment]
    try:
        yield
    finally:
        HTTPConnectionPool._make_request = original  # type: ignore[method-assign]
        aiohttp.ClientSession._request = session  # type: ignore[method-assign]


def _asked() -> Any:
    pool: Any = HTTPSConnectionPool("api.openai.com")
    return pool._make_request(None, "POST", "/v1/chat/completions", body=_BODY, headers=_HEADERS)


def plain(count: int) -> list[Sample]:
    """Answers read at once."""
    return traffic.measured(lambda: _asked().read(), count)


def streamed(count: int) -> list[Sample]:
    """Answers read in as many pieces as a stream has chunks."""
    size = len(_EVENTS) // traffic.CHUNKS + 1

    def call() -> None:
        response = _asked()
        while response.read(size):
            pass

    return traffic.measured(call, count)


def untouched(count: int) -> list[Sample]:
    """Requests of urllib3 to a host that is no provider's."""
    pool: Any = HTTPSConnectionPool("www.example.com")
    send = pool._make_request
    begun_cpu, begun = time.thread_time_ns(), time.perf_counter_ns()
    for _ in range(count):
        send(None, "GET", "/a/page", body=None, headers=_HEADERS)
    wall, cpu = time.perf_counter_ns() - begun, time.thread_time_ns() - begun_cpu
    return [(wall // count, cpu // count)]


def auntouched(count: int) -> list[Sample]:
    """The same of aiohttp."""

    async def all_of() -> list[Sample]:
        async with aiohttp.ClientSession() as session:
            send = session._request
            begun_cpu, begun = time.thread_time_ns(), time.perf_counter_ns()
            for _ in range(count):
                await send("GET", "https://www.example.com/a/page")
            wall, cpu = time.perf_counter_ns() - begun, time.thread_time_ns() - begun_cpu
        return [(wall // count, cpu // count)]

    return asyncio.run(all_of())
