"""An independent reading of recorded traffic agrees with ours: of the sample here, and of a larger corpus beside it.

The scorecard and its corpus are looked for where ``make scorecard`` looks, or where ``TURNLEDGER_SCORECARD`` (a file)
and ``TURNLEDGER_CORPUS`` (a folder) say. Without a corpus the scorecard judges the sample.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import recorded
import turnledger

if TYPE_CHECKING:
    from collections.abc import Iterator

_BESIDE = Path(__file__).parent.parent.parent / "shared"
SCORECARD = Path(os.environ.get("TURNLEDGER_SCORECARD") or _BESIDE / "scorecard" / "score.py")
CORPUS = Path(os.environ.get("TURNLEDGER_CORPUS") or _BESIDE / "corpus")


def run(*arguments: str | Path) -> str:
    done = subprocess.run([sys.executable, SCORECARD, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not SCORECARD.is_file(), reason="no scorecard beside this checkout")
def test_scorecard(tmp_path: Path):
    run("canary", *(sorted(CORPUS.glob("*.har.gz")) or recorded.FILES), "--out", tmp_path / "har")
    planted = sorted((tmp_path / "har").iterdir())
    reports, _ = recorded.imported(planted, tmp_path / "store")
    assert [report.error for report in reports] == [None] * len(planted)
    with turnledger.open(tmp_path / "store") as ledger:
        assert ledger.problems == ()
        ledger.connection.execute("copy (select * from calls) to ? (format parquet)", [str(tmp_path / "calls.parquet")])
    said = json.loads(run("score", *planted, "--calls", tmp_path / "calls.parquet", "--json", "--worst", "5"))
    providers = [name for name in said["table"] if name != "ALL"]
    assert len(providers) >= len(planted) // 2
    for name in providers:
        score = said["table"][name]
        assert score["exchanges"] > 0
        assert score["rows"] == 1, (name, score, said["worst"])
        # None: the responses hold nothing of the kind.
        assert score["any_id"] in (1, None), (name, score, said["worst"])
        assert score["named"] is None or score["named"] >= 0.995, (name, score, said["worst"])
        assert score["usage"] is None or score["usage"] >= 0.995, (name, score, said["worst"])
        assert (score["prose"], score["secrets"]) == (0, 0), (name, score, said["worst"])


_WRITTEN = {"arguments", "args", "input", "parameters", "properties", "schema", "text", "tools"}
"""Under these keys stands what a user or a model wrote, not a provider's identifier."""


def id_leaves(node: Any, key: str = "") -> Iterator[str]:
    """Yield the texts that stand under a key that ends as identifiers do."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name not in _WRITTEN or isinstance(value, str):
                yield from id_leaves(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from id_leaves(value, key)
    elif isinstance(node, str) and re.search(r"(^|_)id$|Id$", key) and re.fullmatch(r"\S{1,256}", node):
        yield node


def documents(text: str) -> list[Any]:
    """Return the JSON documents of a body: one, or one an event."""
    try:
        return [json.loads(text)]
    except ValueError:
        data = (line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:"))
        return [json.loads(item) for item in data if item.startswith("{")]


@pytest.mark.parametrize("path", recorded.FILES, ids=lambda path: path.name)
def test_every_id_of_the_sample_is_kept(path: Path, tmp_path: Path):
    _, rows = recorded.imported([path], tmp_path)
    seen = 0
    for index, entry in enumerate(recorded.entries(path)):
        row = rows.get(f"{path.name}#{index}")
        if row is None:
            continue
        named = {value for _, values in row["identifiers"] or () for value in values}
        found = set(id_leaves(documents(entry["response"]["content"].get("text") or "")))
        assert {value for value in found - named if value not in row["raw_metadata"]} == set()
        seen += len(found & named)
    assert seen >= len(rows) // 4
