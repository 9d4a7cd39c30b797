"""A gateway and the application both recorded, over real HTTP: each call is one bill, the provider's."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import openai
import turnledger
from sdk_bodies import CHAT, CHAT_STREAM
from stub_server import json_reply, sse_reply
from test_sdks import CHAT_ASKED, CHAT_STREAM_ASKED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stub_server import StubServer


class _Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        upstream: str = self.server.upstream  # type: ignore[attr-defined]
        answer = httpx.post(f"{upstream}{self.path}", content=body, headers={"content-type": "application/json"})
        self.send_response(answer.status_code)
        for name, value in {
            "content-type": answer.headers["content-type"],
            "content-length": str(len(answer.content)),
            "x-litellm-call-id": "3b1f0a52-call",
            "x-litellm-model-id": "deployment-1",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name of the base class
        """Say nothing: the test reports."""


@contextmanager
def proxy(upstream: str) -> Iterator[str]:
    """Serve a gateway that hands every request on, with headers of its own; yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
    server.daemon_threads = True
    server.upstream = upstream  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def check(store: Path) -> None:
    """See that the store has both sides of two calls, and that each is one bill: the provider's."""
    with turnledger.open(store) as ledger:
        calls = ledger.sql("select call_id, provider, is_stream from calls order by provider, is_stream").rows()
        assert [call[1:] for call in calls] == [
            ("litellm", False),
            ("litellm", True),
            ("openai", False),
            ("openai", True),
        ]
        ids = [call[0] for call in calls]
        found = ledger.sql("select call_id, billed_call_id, reason from duplicates").rows()
        assert set(found) == {(ids[0], ids[2], "behind a gateway"), (ids[1], ids[3], "behind a gateway")}


def ask(gateway: str) -> None:
    """Ask twice, once with a stream."""
    with openai.OpenAI(base_url=f"{gateway}/v1", api_key="sk-test", max_retries=0) as client:
        client.chat.completions.create(**CHAT_ASKED)
        for _ in client.chat.completions.create(**CHAT_STREAM_ASKED):
            pass


def test_a_gateway_and_the_application_in_one_process(stub: StubServer, tmp_path: Path):
    stub.script(json_reply(CHAT), sse_reply([b"".join(CHAT_STREAM)]))
    turnledger.instrument(store=tmp_path / "store", hosts={stub.host: "openai"})
    try:
        with proxy(stub.url) as gateway:
            ask(gateway)
        assert turnledger.flush(10)
    finally:
        turnledger.uninstrument()
    check(tmp_path / "store")


APPLICATION = """
import sys
sys.path.insert(0, {tests!r})
import turnledger
turnledger.instrument(store={store!r})
from test_gateways import ask
ask({gateway!r})
turnledger.flush(10)
"""


def test_a_gateway_and_the_application_in_two_processes(stub: StubServer, tmp_path: Path):
    stub.script(json_reply(CHAT), sse_reply([b"".join(CHAT_STREAM)]))
    store = tmp_path / "store"
    turnledger.instrument(store=store, hosts={stub.host: "openai"})
    try:
        with proxy(stub.url) as gateway:
            code = APPLICATION.format(tests=str(Path(__file__).parent), store=str(store), gateway=gateway)
            subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)
        assert turnledger.flush(10)
    finally:
        turnledger.uninstrument()
    check(store)
