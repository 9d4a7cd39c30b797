"""Traffic to measure with: answers as providers give them, sent through a mock transport; nothing reaches a network."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import httpx
import httpx2

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBRARIES: Final = {"httpx2": httpx2, "httpx": httpx}
CHUNKS: Final = 200
ASKED: Final = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Say hello."}]}
_CHAT_URL: Final = "https://api.openai.com/v1/chat/completions"
_JSON: Final = {"content-type": "application/json", "x-request-id": "req_bench01"}
_EVENTS: Final = {"content-type": "text/event-stream", "x-request-id": "req_bench01"}
_USAGE: Final = {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29}
_HEAD: Final = {"id": "chatcmpl-bench01", "created": 1795000000, "model": "gpt-5-mini-2025-08-07"}

Sample = tuple[int, int]
"""Wall time and the calling thread's processor time of one call, in nanoseconds."""


def chat_body() -> bytes:
    """Return a chat completion of about a kilobyte."""
    message = {"role": "assistant", "content": "Hello from the bench. " * 30}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps({**_HEAD, "object": "chat.completion", "choices": [choice], "usage": _USAGE}).encode()


def chat_events() -> list[bytes]:
    """Return a streamed chat completion, an event a chunk."""
    deltas = [{"choices": [{"index": 0, "delta": {"content": f"word{index} "}}]} for index in range(CHUNKS - 2)]
    found = [
        {**_HEAD, "object": "chat.completion.chunk", **event} for event in [*deltas, {"choices": [], "usage": _USAGE}]
    ]
    return [*(b"data: " + json.dumps(event).encode() + b"\n\n" for event in found), b"data: [DONE]\n\n"]


def transport(library: Any, body: bytes | list[bytes]) -> Any:
    """Return a mock transport that always answers with ``body``: JSON, or a stream of chunks."""

    class Chunks(library.SyncByteStream, library.AsyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            return iter(body)

        async def __aiter__(self) -> Any:
            for chunk in body:
                yield chunk

    def answer(_request: Any) -> Any:
        if isinstance(body, bytes):
            return library.Response(200, headers=_JSON, stream=library.ByteStream(body))
        return library.Response(200, headers=_EVENTS, stream=Chunks())

    return library.MockTransport(answer)


def measured(call: Callable[[], object], count: int) -> list[Sample]:
    """Time ``count`` calls, one after the other."""
    samples: list[Sample] = []
    for _ in range(count):
        cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
        call()
        samples.append((time.perf_counter_ns() - wall, time.thread_time_ns() - cpu))
    return samples


async def ameasured(call: Callable[[], Any], count: int) -> list[Sample]:
    """Time ``count`` awaited calls, one after the other."""
    samples: list[Sample] = []
    for _ in range(count):
        cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
        await call()
        samples.append((time.perf_counter_ns() - wall, time.thread_time_ns() - cpu))
    return samples


Case = Callable[[int], list[Sample]]
"""Makes this many calls and times each."""


def plain(library: Any) -> Case:
    """Calls that are answered whole."""

    def run(count: int) -> list[Sample]:
        with library.Client(transport=transport(library, chat_body())) as client:
            return measured(lambda: client.post(_CHAT_URL, json=ASKED).json(), count)

    return run


def aplain(library: Any) -> Case:
    """The same with an async client."""

    async def all_of(count: int) -> list[Sample]:
        async with library.AsyncClient(transport=transport(library, chat_body())) as client:
            return await ameasured(lambda: client.post(_CHAT_URL, json=ASKED), count)

    return lambda count: asyncio.run(all_of(count))


def streamed(library: Any) -> Case:
    """Calls whose answer is read chunk by chunk."""

    def run(count: int) -> list[Sample]:
        with library.Client(transport=transport(library, chat_events())) as client:

            def call() -> None:
                with client.stream("POST", _CHAT_URL, json={**ASKED, "stream": True}) as response:
                    for _ in response.iter_raw():
                        pass

            return measured(call, count)

    return run


def astreamed(library: Any) -> Case:
    """The same with an async client."""

    async def all_of(count: int) -> list[Sample]:
        async with library.AsyncClient(transport=transport(library, chat_events())) as client:

            async def call() -> None:
                async with client.stream("POST", _CHAT_URL, json={**ASKED, "stream": True}) as response:
                    async for _ in response.aiter_raw():
                        pass

            return await ameasured(call, count)

    return lambda count: asyncio.run(all_of(count))


def untouched(library: Any) -> Case:
    """Requests to a host that is no provider's, with nothing behind the client's ``send`` but an empty function.

    What is left is what the patched method itself costs, which a whole request would drown. The replacement is made
    before capture is switched on, so that capture wraps it.
    """

    def run(count: int) -> list[Sample]:
        client = library.Client()
        request = library.Request("GET", "https://www.example.com/a/page")
        send = client.send
        begun_cpu, begun = time.thread_time_ns(), time.perf_counter_ns()
        for _ in range(count):
            send(request)
        wall, cpu = time.perf_counter_ns() - begun, time.thread_time_ns() - begun_cpu
        client.close()
        return [(wall // count, cpu // count)]

    return run
