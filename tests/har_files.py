"""Small HAR files for tests, and a folder to import them in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from turnledger.analysis.har import import_har
from turnledger.exporters.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from turnledger.analysis.taking import ImportReport

OPENAI, ANTHROPIC = "https://api.openai.com/v1/chat/completions", "https://api.anthropic.com/v1/messages"


def entry(number: int = 0, url: str = OPENAI, **changed: Any) -> dict[str, Any]:
    """Return an entry as recorders write them; ``changed`` replaces top-level keys."""
    answer = {"id": f"c-{number}", "model": "m-1", "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    made = {
        "startedDateTime": "2026-11-01T12:00:00.250Z",
        "time": 1500.5,
        "request": {
            "method": "POST",
            "url": url,
            "headers": [{"name": "Authorization", "value": "Bearer sk-secret-0123456789abcdef"}],
            "postData": {"mimeType": "application/json", "text": json.dumps({"model": "m-1", "messages": []})},
        },
        "response": {
            "status": 200,
            "headers": [{"name": "X-Request-Id", "value": f"req-{number}"}],
            "content": {"size": 1, "mimeType": "application/json", "text": json.dumps(answer)},
        },
    }
    return {**made, **changed}


def answered(number: int, **content: Any) -> dict[str, Any]:
    """Return an entry whose response has this content."""
    return entry(number, response={"status": 200, "headers": [], "content": content})


def har(*entries: Any) -> bytes:
    """Return a HAR file of these entries."""
    return json.dumps({"log": {"version": "1.2", "creator": {"name": "t"}, "pages": [], "entries": entries}}).encode()


class Folder:
    """A folder with recordings and a store."""

    def __init__(self, path: Path) -> None:
        self.path, self.store = path, Store.at(path / "store")

    def write(self, name: str, content: bytes) -> Path:
        """Write a file; returns its path."""
        (self.path / name).write_bytes(content)
        return self.path / name

    def take(self, paths: Sequence[Path], **options: Any) -> list[ImportReport]:
        """Import files."""
        return import_har(paths, self.store, **options)

    def take_one(self, name: str, content: bytes) -> ImportReport:
        """Write a file and import it."""
        return self.take([self.write(name, content)])[0]

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of the store in order of their sources."""
        files = sorted(self.store.root.glob("spans/date=*/*.parquet"))
        rows = [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]
        return sorted(rows, key=lambda row: row["source"])


def account(report: ImportReport) -> tuple[int, int, dict[str, int], str | None]:
    """Return what became of a file: entries taken, already there, skipped by reason; and its error."""
    return report.taken, report.duplicates, dict(report.skipped), report.error
