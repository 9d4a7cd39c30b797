"""Applications that send mutated exchanges with one client library after another, and tell what they get.

Run as a script: ``mutated_calls.py STORE WARM_UP COUNT``. It captures that many exchanges, then twice as many more, and
prints after each ``COUNT`` what the process holds: bytes of Python objects, of Arrow, and of memory, as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import os
import socket
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))

import aiohttp
import pyarrow as pa
import requests
import turnledger
from mutants import Mutant, mutant
from requests.adapters import HTTPAdapter
from stub_server import Reply, StubServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

TAG = "mutant"
AT_ONCE = 200
"""Exchanges after which the books are waited for: an application that only sends would fill the queue."""


def failed(error: BaseException) -> tuple[str, str]:
    """Return what an application is told by an exception."""
    return type(error).__name__, str(error)


def tagged(sent: Mutant) -> Any:
    """Return a block in which calls carry the number of a mutant."""
    return turnledger.conversation(tags={TAG: sent.number})


# --- httpx and httpx2


def _stream(library: Any, sent: Mutant) -> Any:
    class Chunks(library.SyncByteStream, library.AsyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield from sent.chunks
            if sent.breaks:
                raise library.ReadError("broken")

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in self:
                yield chunk

    return Chunks()


class _Transport:
    """Answers each request with the answer of the mutant that is current."""

    current: Mutant

    def __init__(self, library: Any) -> None:
        self._library = library
        self.mock = library.MockTransport(self._answer)

    def _answer(self, _: Any) -> Any:
        sent = self.current
        stream = _stream(self._library, sent)
        return self._library.Response(sent.status, headers=sent.response_headers, stream=stream)


def _request(client: Any, sent: Mutant) -> Any:
    content = sent.request_body if sent.request_body or sent.method == "POST" else None
    return client.build_request(sent.method, sent.url, headers=sent.request_headers, content=content)


def by_httpx(name: str, numbers: Iterable[int]) -> Iterator[tuple[Mutant, object]]:
    """Send mutants with a sync client of httpx or httpx2; yields them and what the application got."""
    library: Any = importlib.import_module(name)
    transport = _Transport(library)
    with library.Client(transport=transport.mock, trust_env=False) as client:
        for number in numbers:
            sent = transport.current = mutant(number)
            with tagged(sent):
                yield sent, _asked(client, sent)
            client.cookies.clear()


def _asked(client: Any, sent: Mutant) -> object:
    seen: list[object] = []
    try:
        response = client.send(_request(client, sent), stream=sent.read != "whole")
        seen += [response.status_code, response.headers.raw]
        if sent.read == "whole":
            return [*seen, response.content]
        with contextlib.closing(response):
            if sent.read == "read":
                return [*seen, response.read()]
            for piece in response.iter_lines() if sent.read == "lines" else response.iter_raw():
                seen.append(piece)
                if sent.read == "early":
                    break
    except Exception as error:  # noqa: BLE001  which one is what is compared
        seen.append(failed(error))
    return seen


def by_async_httpx2(numbers: Iterable[int]) -> Iterator[tuple[Mutant, object]]:
    """Send mutants with httpx2's client for asyncio."""
    library: Any = importlib.import_module("httpx2")
    transport = _Transport(library)

    async def ask(client: Any, sent: Mutant) -> object:
        transport.current = sent
        with tagged(sent):
            found = await _asked_async(client, sent)
        client.cookies.clear()
        return found

    with asyncio.Runner() as runner:
        client = library.AsyncClient(transport=transport.mock, trust_env=False)
        for number in numbers:
            sent = mutant(number)
            yield sent, runner.run(ask(client, sent))
        runner.run(client.aclose())


async def _asked_async(client: Any, sent: Mutant) -> object:
    seen: list[object] = []
    try:
        response = await client.send(_request(client, sent), stream=sent.read != "whole")
        seen += [response.status_code, response.headers.raw]
        if sent.read == "whole":
            return [*seen, response.content]
        async with contextlib.aclosing(response):
            if sent.read == "read":
                return [*seen, await response.aread()]
            async for piece in response.aiter_lines() if sent.read == "lines" else response.aiter_raw():
                seen.append(piece)
                if sent.read == "early":
                    break
    except Exception as error:  # noqa: BLE001
        seen.append(failed(error))
    return seen


# --- over real sockets: a proxy on loopback answers for every provider


def _reply(sent: Mutant) -> Reply:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in sent.response_headers}
    body = b"".join(sent.chunks)
    return Reply(sent.chunks if sent.read != "whole" else body, sent.status, headers)


class _Prompt(HTTPAdapter):
    """Sends a request's head and body at once through a proxy too: in turn they would take 40 ms."""

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Return what connects to the proxy."""
        prompt = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
        return super().proxy_manager_for(proxy, socket_options=prompt, **options)


def by_requests(numbers: Iterable[int]) -> Iterator[tuple[Mutant, object]]:
    """Send mutants with requests."""
    server = StubServer()
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", _Prompt())
        session.proxies = {"http": server.url}
        for number in numbers:
            sent = mutant(number, on_the_wire=True)
            server.script(_reply(sent))
            with tagged(sent):
                yield sent, _asked_by_requests(session, sent)
            session.cookies.clear()
    server.close()


def _asked_by_requests(session: requests.Session, sent: Mutant) -> object:
    seen: list[object] = []
    headers: Any = dict(sent.request_headers)
    options: dict[str, Any] = {"headers": headers, "data": sent.request_body, "timeout": 60, "allow_redirects": False}
    try:
        with session.request(sent.method, sent.url, stream=sent.read != "whole", **options) as response:
            seen += [response.status_code, list(response.headers.items())]
            if sent.read in ("whole", "read"):
                return [*seen, response.content]
            pieces = response.iter_lines() if sent.read == "lines" else response.iter_content(100)
            for piece in pieces:
                seen.append(piece)
                if sent.read == "early":
                    break
    except Exception as error:  # noqa: BLE001
        seen.append(failed(error)[0])  # its text has addresses of objects
    return seen


def by_aiohttp(numbers: Iterable[int]) -> Iterator[tuple[Mutant, object]]:
    """Send mutants with aiohttp."""
    server = StubServer()

    async def opened(*, unpacks: bool) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=unpacks)

    async def ask(session: aiohttp.ClientSession, sent: Mutant) -> object:
        server.script(_reply(sent))
        with tagged(sent):
            return await _asked_by_aiohttp(session, sent, server.url)

    with asyncio.Runner() as runner:
        sessions = [runner.run(opened(unpacks=unpacks)) for unpacks in (False, True)]
        for number in numbers:
            sent = mutant(number, on_the_wire=True)
            # Unpacking what is cut or packed otherwise, the library may wait for ever for the rest.
            unpacks = all("packed" not in change or change.startswith("packed (") for change in sent.changes)
            yield sent, runner.run(ask(sessions[unpacks], sent))
        for session in sessions:
            runner.run(session.close())
    server.close()


async def _asked_by_aiohttp(session: aiohttp.ClientSession, sent: Mutant, proxy: str) -> object:
    seen: list[object] = []
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in sent.request_headers]
    options: dict[str, Any] = {"headers": headers, "data": sent.request_body, "proxy": proxy, "allow_redirects": False}
    try:
        async with session.request(sent.method, sent.url, **options) as response:
            seen += [response.status, response.raw_headers]
            if sent.read in ("whole", "read"):
                return [*seen, await response.read()]
            if sent.read == "early":
                return [*seen, await response.content.readexactly(1)]
            pieces = response.content if sent.read == "lines" else response.content.iter_chunked(100)
            seen += [b"".join([piece async for piece in pieces])]  # where pieces end depends on what has arrived
    except Exception as error:  # noqa: BLE001
        seen.append(failed(error)[0])
    return seen


CLIENTS: dict[str, Callable[[Iterable[int]], Iterator[tuple[Mutant, object]]]] = {
    "httpx2": lambda numbers: by_httpx("httpx2", numbers),
    "httpx": lambda numbers: by_httpx("httpx", numbers),
    "httpx2 async": by_async_httpx2,
    "requests": by_requests,
    "aiohttp": by_aiohttp,
}


def held() -> dict[str, int]:
    """Return what this process holds, in bytes."""
    assert turnledger.flush(60)
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "python": tracemalloc.get_traced_memory()[0],
        "arrow": pa.total_allocated_bytes(),
        "rss": pages * os.sysconf("SC_PAGESIZE"),
    }


def main(store: str, warm_up: int, count: int) -> None:
    """Capture, and say what is held: after the warm-up, and after each of two rounds of ``count`` exchanges."""
    tracemalloc.start()
    turnledger.instrument(store=store)
    ends = [warm_up, warm_up + count, warm_up + 2 * count]
    for done, _ in enumerate(CLIENTS["httpx2"](range(ends[-1])), 1):
        if done % AT_ONCE == 0:
            turnledger.flush(60)
        if done in ends:
            sys.stdout.write(json.dumps(held()) + "\n")
    turnledger.uninstrument()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
