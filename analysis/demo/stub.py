"""Stand-ins for the provider APIs on loopback: each answers what was recorded of the real one, in the same order.

An answer is found by what was asked, so that the tokens and the identifiers of an answer belong to its question. It is
no simulation: what was never recorded is a 404 that says so.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ASKS_LENGTH: Final = 80
"""Characters of the last message by which a request is recognised."""
_EVENT_PAUSE_S: Final = 0.002
"""Pause between two events of a stream, so that it is one."""


class Match(NamedTuple):
    """What a request is recognised by."""

    path: str
    model: str
    stream: bool
    previous_response_id: str | None
    asks: str


class Recording(NamedTuple):
    """One recorded answer."""

    provider: str
    match: Match
    status: int
    headers: Mapping[str, str]
    body: str


def _data() -> dict[str, Any]:
    return json.loads((resources.files(__name__.rpartition(".")[0]) / "recordings.json").read_text(encoding="utf-8"))


def load_recordings() -> list[Recording]:
    """Return every recorded answer, in the order in which they were recorded."""
    return [
        Recording(item["provider"], Match(**item["match"]), item["status"], item["headers"], item["body"])
        for item in _data()["recordings"]
    ]


def load_document(name: str) -> str:
    """Return the text of a document that the recorded conversations are about."""
    return _data()["documents"][name]["text"]


def match_of(path: str, body: Mapping[str, Any]) -> Match:
    """Return what a request is recognised by."""
    asked: Any = body.get("messages") or body.get("input") or ""
    return Match(
        path.partition("?")[0],
        str(body.get("model")),
        bool(body.get("stream")),
        body.get("previous_response_id"),
        _text(asked if isinstance(asked, str) else asked[-1])[:_ASKS_LENGTH],
    )


def _text(part: Any) -> str:
    """Return the text of a message, of a part of one, or of a tool's result."""
    if isinstance(part, str):
        return part
    if isinstance(part, list):
        return "\n".join(_text(item) for item in cast("list[Any]", part))
    return next((_text(part[key]) for key in ("text", "content", "output") if part.get(key)), "")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes: the second must not wait for an ACK

    def do_POST(self) -> None:
        """Answer with what was recorded."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            self._play(cast("_Server", self.server).stub.answer(self.path, body))
        except OSError:
            self.close_connection = True  # the client went away

    do_GET = do_POST  # noqa: N815  the name the base class looks for

    def _play(self, recording: Recording) -> None:
        self.send_response_only(recording.status)
        is_stream = recording.match.stream and recording.status < 400  # noqa: PLR2004  the first of the errors
        kind = "text/event-stream; charset=utf-8" if is_stream else "application/json"
        for name, value in {"content-type": kind, **recording.headers}.items():
            self.send_header(name, value)
        data = recording.body.encode()
        if not is_stream:
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            return
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in data.split(b"\n\n"):
            if event.strip():
                chunk = event + b"\n\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                time.sleep(_EVENT_PAUSE_S)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name of the base class
        """Say nothing: the demo prints its own output only."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    stub: Stub


class Stub:
    """Serves the recordings of one provider on a free port of 127.0.0.1, until it is closed."""

    def __init__(self, recordings: Iterable[Recording]) -> None:
        self._answers: dict[Match, list[Recording]] = {}
        for recording in recordings:
            self._answers.setdefault(recording.match, []).append(recording)
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.stub = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="demo-stub", daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        """Return ``address:port``."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """Return the root URL, without a slash at its end."""
        return f"http://{self.host}"

    def answer(self, path: str, body: bytes) -> Recording:
        """Return the next answer to a request; the last one is repeated."""
        try:
            match = match_of(path, json.loads(body))
        except (ValueError, TypeError, AttributeError):
            return _not_found(Match(path, "", stream=False, previous_response_id=None, asks=""))
        with self._lock:
            answers = self._answers.get(match)
            if not answers:
                return _not_found(match)
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def _not_found(match: Match) -> Recording:
    said = f"the demo has no recorded answer for {match.path}: {match._asdict()}"
    error = {"type": "error", "error": {"type": "not_found_error", "message": said}}
    return Recording("", match, 404, {}, json.dumps(error))
