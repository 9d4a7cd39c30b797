"""A real FastAPI app under a real uvicorn: the calls of a request are that request's conversation, and no other's."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import openai
import pytest
import turnledger
import uvicorn
from fastapi import BackgroundTasks, Depends, FastAPI, Header
from fastapi.responses import StreamingResponse
from sdk_bodies import CHAT, CHAT_STREAM
from stub_server import StubServer, json_reply, sse_reply, wait_until
from turnledger.instrument import context, health

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator

    from conftest import Recorder

MANY = 200
MESSAGES = [{"role": "user", "content": "Say hello."}]
# Annotations are read when the app is made, in the names of the module.
ChatId = Annotated[str, Header(alias="x-chat")]


class _Provider:
    """Both clients of the SDK; every request says whose it is, so that a row can be compared with what it was."""

    def __init__(self, url: str) -> None:
        options: dict[str, Any] = {"api_key": "test-key", "base_url": f"{url}/v1", "max_retries": 0, "timeout": 60}
        self.sync, self.asynchronous = openai.OpenAI(**options), openai.AsyncOpenAI(**options)

    def ask(self, who: str) -> str:
        self.sync.chat.completions.create(model="gpt-5-mini", messages=MESSAGES, user=who)
        return who

    async def aask(self, who: str) -> str:
        await self.asynchronous.chat.completions.create(model="gpt-5-mini", messages=MESSAGES, user=who)
        return who


class _Middleware:
    """Opens a conversation for the whole of a request, its stream and its background tasks included."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers") or ())
        with turnledger.conversation(headers.get(b"x-chat", b"?").decode(), tags={"path": scope["path"]}):
            await self.app(scope, receive, send)
        assert context.current() is None


def inside(suffix: str = "") -> Any:
    """Return a dependency that opens a conversation around the handler."""

    async def opened(x_chat: ChatId) -> AsyncIterator[str]:
        with turnledger.conversation(x_chat + suffix):
            yield x_chat + suffix

    return Depends(opened)


def in_a_thread(x_chat: ChatId) -> Generator[str]:
    """Open one in a plain generator: it begins and ends in threads that are not the handler's."""
    with turnledger.conversation(f"{x_chat}/lost"):
        yield x_chat


def bare_handlers(provider: _Provider) -> tuple[Callable[..., Any], ...]:
    """Return handlers that leave the conversation to the middleware."""

    def plain(x_chat: ChatId) -> str:
        return provider.ask(x_chat)

    async def coroutine(x_chat: ChatId) -> str:
        await asyncio.gather(provider.aask(x_chat), asyncio.to_thread(provider.ask, x_chat))
        return x_chat

    def stream(x_chat: ChatId) -> StreamingResponse:
        return StreamingResponse(provider.ask(x_chat) for _ in range(2))

    async def astream(x_chat: ChatId) -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            for _ in range(2):
                yield await provider.aask(x_chat)

        return StreamingResponse(parts())

    def background(x_chat: ChatId, tasks: BackgroundTasks) -> str:
        tasks.add_task(provider.ask, x_chat)
        tasks.add_task(provider.aask, x_chat)
        return x_chat

    return plain, coroutine, stream, astream, background


def own_handlers(provider: _Provider) -> tuple[Callable[..., Any], ...]:
    """Return handlers that have a conversation of their own inside of it."""

    async def dependency(name: Annotated[str, inside("/inner")]) -> str:
        return await provider.aask(name)

    def plain_dependency(name: Annotated[str, inside("/inner")]) -> str:
        return provider.ask(name)

    def thread_dependency(name: Annotated[str, Depends(in_a_thread)]) -> str:
        return provider.ask(name)

    @turnledger.observe(conversation=lambda x_chat: f"{x_chat}/observed")
    async def observed(x_chat: ChatId) -> str:
        return await provider.aask(f"{x_chat}/observed")

    def observed_stream(x_chat: ChatId) -> StreamingResponse:
        @turnledger.observe(conversation="who")
        def parts(who: str) -> Iterator[str]:
            yield provider.ask(who)
            yield provider.ask(who)

        return StreamingResponse(parts(f"{x_chat}/observed"))

    return dependency, plain_dependency, thread_dependency, observed, observed_stream


def routes(provider: _Provider) -> dict[str, Callable[..., Any]]:
    """Return all handlers by their path."""
    return {f"/{found.__name__}": found for found in (*bare_handlers(provider), *own_handlers(provider))}


CALLS = {"/coroutine": 2, "/stream": 2, "/astream": 2, "/background": 2, "/observed_stream": 2}


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an app in a thread of its own; yield its URL."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off", ws="none", backlog=512))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started, 20)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


def serve_requests(provider: _Provider, requests: list[tuple[str, str]]) -> list[httpx.Response]:
    """Serve an app that opens conversations in its middleware, and send it all requests at once."""
    app = FastAPI()
    app.add_middleware(_Middleware)
    for path, handler in routes(provider).items():
        app.get(path)(handler)

    async def run(url: str) -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=httpx.Limits(max_connections=MANY)) as client:
            return await asyncio.gather(*(client.get(path, headers={"x-chat": chat}) for path, chat in requests))

    with served(app) as url:
        return asyncio.run(run(url))


@pytest.fixture
def provider(stub: StubServer) -> Iterator[_Provider]:
    stub.script(json_reply(CHAT))
    found = _Provider(stub.url)
    yield found
    found.sync.close()


def test_two_hundred_requests_at_once_are_two_hundred_conversations(provider: _Provider, recorder: Recorder):
    paths = list(routes(provider))
    requests = [(paths[number % len(paths)], f"c{number}") for number in range(MANY)]
    responses = serve_requests(provider, requests)
    assert [response.status_code for response in responses] == [200] * MANY
    rows = recorder.rows()
    assert [row for row in rows if row["conversation_id"] != row["user_id"]] == []
    assert {row["conversation_source"] for row in rows} == {"app"}
    calls = {(path, chat): CALLS.get(path, 1) for path, chat in requests}
    seen = [(dict(row["tags"])["path"], row["conversation_id"].partition("/")[0]) for row in rows]
    assert {key: seen.count(key) for key in calls} == calls
    assert len(rows) == sum(calls.values())
    assert health.snapshot() == {}


async def _opens(request: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
    with turnledger.conversation(request.headers["x-chat"]):
        return await call_next(request)


def test_a_middleware_function_holds_for_handler_stream_and_background(provider: _Provider, recorder: Recorder):
    app = FastAPI()
    app.middleware("http")(_opens)
    handlers = bare_handlers(provider)
    for handler in handlers:
        app.get(f"/{handler.__name__}")(handler)
    with served(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        for number, handler in enumerate(handlers):
            assert client.get(f"/{handler.__name__}", headers={"x-chat": f"c{number}"}).status_code == 200
    rows = recorder.rows()
    assert [row["conversation_id"] for row in rows] == [row["user_id"] for row in rows]
    assert len(rows) == 9


def test_a_client_that_leaves_a_stream_leaves_nothing_behind(stub: StubServer, recorder: Recorder):
    stub.script(sse_reply(CHAT_STREAM * 50, chunk_delay_s=0.01))
    provider = _Provider(stub.url)
    app = FastAPI()
    app.add_middleware(_Middleware)

    @turnledger.observe(conversation="who")
    async def chunks(who: str) -> AsyncIterator[str]:
        stream = await provider.asynchronous.chat.completions.create(
            model="gpt-5-mini", messages=MESSAGES, user=who, stream=True
        )
        async with stream:
            async for chunk in stream:
                yield chunk.id

    def stream(x_chat: ChatId) -> StreamingResponse:
        return StreamingResponse(chunks(x_chat))

    async def who(x_chat: ChatId) -> str | None:
        said = context.current()
        return said.id if said else None

    app.get("/stream")(stream)
    app.get("/who")(who)
    with served(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        for number in range(5):
            with client.stream("GET", "/stream", headers={"x-chat": f"c{number}"}) as response:
                next(response.iter_bytes())
            assert client.get("/who", headers={"x-chat": "next"}).json() == "next"
    stub.released.set()
    rows = recorder.rows()
    assert sorted(row["conversation_id"] for row in rows) == [f"c{number}" for number in range(5)]
    provider.sync.close()
