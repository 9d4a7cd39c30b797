"""A real HTTP server on loopback that answers what a test scripted, and remembers what it was asked."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True)
class Reply:
    """One scripted answer: a body of bytes goes with its length, a list of chunks with chunked encoding."""

    body: bytes | Sequence[bytes] = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    chunk_delay_s: float = 0.0


@dataclass(frozen=True)
class Request:
    """One request the server was sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


def json_reply(document: Any, status: int = 200, **headers: str) -> Reply:
    """Return a reply with a JSON body; header names are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(orjson.dumps(document), status, {"content-type": "application/json", **named})


def sse_reply(chunks: Sequence[bytes], *, chunk_delay_s: float = 0.0, **headers: str) -> Reply:
    """Return a reply that streams server-sent events."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(chunks, 200, {"content-type": "text/event-stream", **named}, chunk_delay_s=chunk_delay_s)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the second write waits 40 ms for the client to have seen the first

    def do_POST(self) -> None:
        stub: StubServer = self.server.stub  # type: ignore[attr-defined]
        body = self._body()
        reply = stub.next_reply(Request(self.command, self.path, dict(self.headers), body))
        stub.released.wait(reply.delay_s)
        try:
            self._answer(reply, stub)
        except OSError:
            self.close_connection = True  # the client went away: some tests are about that

    do_GET = do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815  the names the base class looks for

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _answer(self, reply: Reply, stub: StubServer) -> None:
        # Fixed, so that an instrumented call can be compared with a plain one byte by byte.
        self.send_response_only(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if isinstance(reply.body, bytes):
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)
            return
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for chunk in reply.body:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            self.wfile.flush()
            stub.released.wait(reply.chunk_delay_s)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name of the base class
        """Say nothing: the test reports."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512  # some tests connect that often at once

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""


class StubServer:
    """Serves scripted replies in their order; the last one is repeated for ever."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.released = threading.Event()
        self._replies: list[Reply] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.stub = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        """Return ``address:port``."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """Return the server's root URL, without a slash at its end."""
        return f"http://{self.host}"

    def script(self, *replies: Reply) -> None:
        """Forget what was asked, and answer from now on with ``replies``."""
        with self._lock:
            self._replies = list(replies)
            self.requests.clear()

    def next_reply(self, request: Request) -> Reply:
        """Remember a request and return its answer."""
        with self._lock:
            self.requests.append(request)
            if not self._replies:
                return Reply(b"nothing scripted", 599)
            return self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]

    def close(self) -> None:
        """Stop serving; replies that are still waiting are let go."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def wait_until(check: Any, timeout_s: float = 5.0) -> None:
    """Wait until ``check()`` is true.

    Raises:
        TimeoutError: if it is not in time.
    """
    end = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > end:
            raise TimeoutError("the condition did not come true")
        time.sleep(0.005)


def events(documents: Iterable[Any], *, done: bool = False) -> list[bytes]:
    """Return documents as server-sent events, named by their ``type`` where they have one."""
    found: list[bytes] = []
    for document in documents:
        name = b"event: " + document["type"].encode() + b"\n" if "type" in document else b""
        found.append(name + b"data: " + orjson.dumps(document) + b"\n\n")
    return [*found, b"data: [DONE]\n\n"] if done else found
