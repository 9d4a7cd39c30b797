"""A real S3 API server on loopback, in a process of its own, that fails and stops when it is told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import urllib.request
from typing import Any

BUCKET = "books"


class S3Server:
    """The server, as a test sees it; it has one bucket."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port: int = self._answer()

    @property
    def url(self) -> str:
        """Return where it is."""
        return f"http://127.0.0.1:{self.port}"

    def fail(self, pattern: str, status: int = 500, code: str = "InternalError") -> None:
        """Answer requests whose ``METHOD /path?query range`` matches with an error, from now on."""
        self._ask("fail", pattern, status, code)

    def heal(self) -> None:
        """Answer every request again, and forget what was asked."""
        self._ask("heal")

    def requests(self) -> list[list[str]]:
        """Return ``METHOD /path?query`` and range of what was asked, in order."""
        return self._ask("requests")

    def stop(self) -> None:
        """Refuse connections; what is stored stays."""
        self._ask("stop")

    def start(self) -> None:
        """Take connections again, at the same port."""
        self._ask("start")

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        assert self._process.returncode == 0

    def _ask(self, *words: object) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words).encode() + b"\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


class _Server:
    """The server itself: it takes a word a line from standard input."""

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app  # noqa: PLC0415  only in this process

        self._app: Any = DomainDispatcherApplication(create_backend_app)
        self._failing: tuple[re.Pattern[str], int, str] | None = None
        self._asked: list[list[str]] = []
        self.port = 0
        self.start()
        bucket = urllib.request.Request(f"http://127.0.0.1:{self.port}/{BUCKET}", method="PUT")
        urllib.request.urlopen(bucket).close()
        self._asked.clear()

    def __call__(self, environment: dict[str, Any], start: Any) -> Any:
        query = environment["QUERY_STRING"]
        said = f"{environment['REQUEST_METHOD']} {environment['PATH_INFO']}{'?' if query else ''}{query}"
        self._asked.append([said, environment.get("HTTP_RANGE", "")])
        if self._failing is None or not self._failing[0].search(" ".join(self._asked[-1]).strip()):
            return self._app(environment, start)
        environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
        _, status, code = self._failing
        body = f"<Error><Code>{code}</Code><Message>made to fail</Message></Error>".encode()
        start(f"{status} {code}", [("Content-Length", str(len(body))), ("Content-Type", "application/xml")])
        return [] if environment["REQUEST_METHOD"] == "HEAD" else [body]

    def start(self) -> None:
        from werkzeug.serving import WSGIRequestHandler, make_server  # noqa: PLC0415

        class Quiet(WSGIRequestHandler):
            def log(self, *_said: object) -> None:
                """Say nothing: the test reports."""

        self._server = make_server("127.0.0.1", self.port, self, threaded=True, request_handler=Quiet)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fail(self, pattern: str, status: int, code: str) -> None:
        self._failing = re.compile(pattern), status, code

    def heal(self) -> None:
        self._failing = None
        self._asked.clear()

    def requests(self) -> list[list[str]]:
        return list(self._asked)


def main() -> None:
    """Serve until standard input ends."""
    server = _Server()
    _say(server.port)
    for line in sys.stdin:
        word, *said = json.loads(line)
        _say(getattr(server, word)(*said))


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
