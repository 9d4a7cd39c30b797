"""Real exchanges: what is read from them is what it was, imported or captured live, and nothing private is kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
import recorded
import turnledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Recorder

EXPECTED: dict[str, dict[str, Any]] = {path.name: recorded.expected(path) for path in recorded.FILES}
_WORDS = 4
_EVERY_KIND = ("anthropic", "deepseek", "gemini", "openai", "openrouter")
"""Providers whose recordings hold plain and streamed calls, failures, cache reads and reasoning."""


def texts(node: Any) -> Iterator[str]:
    """Yield every text in a JSON document."""
    if isinstance(node, dict):
        for value in node.values():
            yield from texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from texts(value)
    elif isinstance(node, str):
        yield node


def prose(body: str | None) -> set[str]:
    """Return what people or models wrote: texts of several words, in a JSON body or in the events of a stream."""
    lines = (line.removeprefix("data:").strip() for line in (body or "").splitlines())
    found: set[str] = set()
    for document in (body or "", *lines):
        try:
            found.update(text for text in texts(json.loads(document)) if len(text.split()) >= _WORDS)
        except ValueError:
            continue
    return found


@pytest.mark.parametrize("path", recorded.FILES, ids=lambda path: path.name)
def test_imported(path: Path, tmp_path: Path):
    (report,), rows = recorded.imported([recorded.planted(path, tmp_path)], tmp_path / "store")
    expected = EXPECTED[path.name]
    read = {source.removeprefix(f"{path.name}#"): recorded.facts(row) for source, row in rows.items()}
    assert read == expected["rows"], "if a document was changed: run tests/recorded.py, and look at the difference"
    assert (report.taken, dict(report.skipped)) == (len(expected["rows"]), expected["skipped"])


@pytest.mark.parametrize("path", recorded.FILES, ids=lambda path: path.name)
def test_nothing_private_is_kept(path: Path, tmp_path: Path):
    _, rows = recorded.imported([recorded.planted(path, tmp_path)], tmp_path / "store")
    seen = 0
    for index, entry in enumerate(recorded.entries(path)):
        row = rows.get(f"{path.name}#{index}")
        if row is None:
            continue
        kept = json.dumps(row, default=str, ensure_ascii=False)
        assert recorded.CREDENTIAL not in kept
        bodies = ((entry["request"].get("postData") or {}).get("text"), recorded.readable(entry))
        written = prose(bodies[0]) | prose(bodies[1])
        assert [text for text in written if text in kept or json.dumps(text)[1:-1] in kept] == []
        seen += len(written)
    assert seen


@pytest.mark.parametrize("path", recorded.FILES, ids=lambda path: path.name)
def test_live(path: Path, recorder: Recorder):
    for index, entry in enumerate(recorded.entries(path)):
        assert recorded.replay(entry) == recorded.answer_of(entry)
        rows = recorder.rows()
        expected = EXPECTED[path.name]["rows"].get(str(index))
        assert [recorded.facts(row) for row in rows] == ([expected] if expected else [])
    turnledger.uninstrument()


def test_expected_values_are_in_the_recording():
    for path in recorded.FILES:
        for index, entry in enumerate(recorded.entries(path)):
            expected = EXPECTED[path.name]["rows"].get(str(index), {})
            # Once as it is and once decoded: bodies are JSON inside the JSON of the recording.
            raw = json.dumps(entry, ensure_ascii=False)
            raw += "".join(texts(entry)) + recorded.readable(entry) + unquote(entry["request"]["url"])
            for name, values in expected.get("identifiers", {}).items():
                assert [value for value in values if value not in raw] == [], name
            # Parts are reported as they are; totals may be sums.
            parts = [expected.get(name) for name in ("cache_read_tokens", "reasoning_tokens")]
            assert all(str(part) in raw for part in parts if part)


def test_the_sample_is_broad():
    rows = [row for expected in EXPECTED.values() for row in expected["rows"].values()]
    assert len({(row["provider"], row["surface"]) for row in rows}) >= 18
    for provider in _EVERY_KIND:
        own = [row for row in rows if row["provider"] == provider]
        assert {row["is_stream"] for row in own} == {True, False}
        assert any(row["status_code"] >= 400 and row["error_type"] for row in own)
        assert any(row.get("cache_read_tokens") for row in own)
        assert any(row.get("reasoning_tokens") for row in own)
    assert sum(path.stat().st_size for path in recorded.FILES) < 300_000
