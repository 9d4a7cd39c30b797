"""The recordings beside the tests, and their rows.

Run as a script, it writes anew what is expected of all of them, or of the providers named.
"""

from __future__ import annotations

import base64
import gzip
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pyarrow.parquet as pq
from turnledger.analysis.har import import_har
from turnledger.exporters.store import Store
from turnledger.instrument.wire import decode_body

if TYPE_CHECKING:
    from collections.abc import Iterable

    from turnledger.analysis.taking import ImportReport

FOLDER = Path(__file__).parent / "recordings"
FILES = sorted(FOLDER.glob("*.har.gz"))
COLUMNS = (
    *("provider", "surface", "operation", "request_model", "response_model", "response_id", "previous_response_id"),
    *("request_id", "conversation_id", "user_id", "status_code", "error_type", "is_stream", "finish_reasons"),
    *("service_tier", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("cache_write_by_ttl", "usage_details", "usage_problems", "billed_cost_usd", "message_count", "identifiers"),
)
"""What an exchange says, whoever saw it; times and span ids are not of this kind."""
_MAPS = ("cache_write_by_ttl", "usage_details", "identifiers")
_TRANSFER = {"content-encoding", "content-length", "transfer-encoding", "connection"}
CREDENTIAL = "sk-planted-5b1f07c2d94e4a3f8c"
_CREDENTIAL_HEADERS = ("Authorization", "x-api-key", "api-key", "x-goog-api-key", "Cookie", "Proxy-Authorization")


def entries(path: Path) -> list[dict[str, Any]]:
    """Return the entries of a recording."""
    return json.loads(gzip.decompress(path.read_bytes()))["log"]["entries"]


def planted(path: Path, folder: Path) -> Path:
    """Return a copy of a recording, of the same name, with a credential wherever clients put one."""
    found = entries(path)
    for entry in found:
        entry["request"]["headers"] += [{"name": name, "value": f"Bearer {CREDENTIAL}"} for name in _CREDENTIAL_HEADERS]
        entry["request"]["url"] += ("&" if "?" in entry["request"]["url"] else "?") + f"key={CREDENTIAL}"
        entry["response"]["headers"].append({"name": "Set-Cookie", "value": f"session={CREDENTIAL}; path=/"})
    copy = folder / path.name
    copy.write_bytes(gzip.compress(json.dumps({"log": {"entries": found}}).encode(), 1))
    return copy


def imported(paths: Iterable[Path], folder: Path) -> tuple[list[ImportReport], dict[str, dict[str, Any]]]:
    """Import recordings into a store at ``folder``; returns the reports, and the rows by their source."""
    reports = import_har(list(paths), Store.at(folder))
    files = sorted(folder.glob("spans/*/*.parquet"))
    rows = (row for file in files for row in pq.ParquetFile(file).read().to_pylist())
    return reports, {row["source"]: row for row in rows}


def answer_of(entry: dict[str, Any]) -> bytes:
    """Return the body of the response; binary ones are recorded in base64."""
    content = entry["response"]["content"]
    text = content.get("text") or ""
    return base64.b64decode(text) if content.get("encoding") == "base64" else text.encode()


def readable(entry: dict[str, Any]) -> str:
    """Return the body of the response as text, of a binary stream its events."""
    body = answer_of(entry)
    if entry["response"]["content"].get("encoding") != "base64":
        return body.decode()
    return "\n".join(json.dumps(document, ensure_ascii=False) for document in decode_body(body).documents)


def replay(entry: dict[str, Any]) -> bytes:
    """Let a client ask what was asked, and be answered what was answered; returns what it read.

    Nothing reaches a network: the answer comes from a mock transport.
    """
    asked, answered = entry["request"], entry["response"]
    headers = [(item["name"], item["value"]) for item in answered["headers"] if item["name"].lower() not in _TRANSFER]
    own = [(item["name"], item["value"]) for item in asked["headers"] if item["name"].lower() not in _TRANSFER]
    content = answer_of(entry)

    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(answered["status"], headers=headers, stream=httpx.ByteStream(content))

    body = ((asked.get("postData") or {}).get("text") or "").encode()
    with (
        httpx.Client(transport=httpx.MockTransport(answer)) as client,
        client.stream(asked["method"], asked["url"], headers=own, content=body) as response,
    ):
        return response.read()


def facts(row: dict[str, Any]) -> dict[str, Any]:
    """Return what is expected of a row, as plain JSON: columns with a value, maps as objects.

    What a call continues depends on what else was seen: it is not the exchange that says it.
    """
    found = {name: row[name] for name in COLUMNS if row[name] is not None and row[name] != []}
    if row["conversation_source"] == "stitched":
        del found["conversation_id"]
    for name in _MAPS & found.keys():
        found[name] = dict(sorted(dict(found[name]).items()))
    return json.loads(json.dumps(found, default=str))


def expected(path: Path) -> dict[str, Any]:
    """Return what must be read from a recording: ``rows`` by their entry's index, what was ``skipped`` by reason."""
    return json.loads(_expected_file(path).read_text())


def write_expected(path: Path) -> None:
    """Write what a recording says now; the difference in git is what has changed."""
    with tempfile.TemporaryDirectory() as folder:
        [report], rows = imported([path], Path(folder))
    places = sorted(((int(source.rpartition("#")[2]), row) for source, row in rows.items()), key=lambda item: item[0])
    lines = [f'"{index}": {json.dumps(facts(row))}' for index, row in places]
    text = f'{{"skipped": {json.dumps(dict(report.skipped))},\n"rows": {{\n' + ",\n".join(lines) + "\n}}\n"
    _expected_file(path).write_text(text)
    sys.stdout.write(f"{path.name}: {len(rows)} rows; look at the difference before it is committed\n")


def _expected_file(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".har.gz") + ".json")


if __name__ == "__main__":
    for file in FILES:
        if not sys.argv[1:] or file.name.removesuffix(".har.gz") in sys.argv[1:]:
            write_expected(file)
