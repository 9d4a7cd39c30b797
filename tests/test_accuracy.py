"""Computed costs against the bills in the recordings that are kept here, by the script that measures it."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import accuracy
import pytest
from commands import run

TESTS = Path(__file__).parent
RECORDINGS = [str(TESTS / "recordings" / f"{name}.har.gz") for name in ("openrouter", "perplexity", "xai")]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a store of the recorded calls of providers that say what they bill."""
    folder = str(tmp_path_factory.mktemp("accuracy") / "store")
    run("import", "har", *RECORDINGS, "--store", folder)
    return folder


def test_most_computed_costs_are_the_bills_and_the_rest_has_a_cause(store: str, tmp_path: Path):
    table = tmp_path / "prices.json"
    table.write_text(json.dumps({"sonar": {"input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06}}))
    script = [sys.executable, str(TESTS / "accuracy.py"), store, "--table", str(table)]
    said = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in said.splitlines() if line.startswith("| ")
    ]
    ours, alone, other = rows[2:5]
    assert ours[0] == "turnledger"
    bills, unpriced, right = map(int, ours[1:4])
    assert (bills, unpriced) == (9, 0)
    assert right >= 7
    assert right > int(alone[3]) > int(other[3])
    missed = rows[[row[0] for row in rows].index("calls") + 2 :]
    assert sum(int(row[0]) for row in missed) == bills - right


def test_a_score_counts_what_is_within_one_per_cent():
    rows = [{"billed": Decimal(100), "mine": Decimal(mine)} for mine in ("99", "101", "98.99", "101.01")]
    rows.append({"billed": Decimal(1), "mine": None})
    found = accuracy.score(rows, lambda row: row["mine"])
    assert found == (5, 4, 2, Decimal(400), Decimal(400))
    assert found.cells() == ("5", "1", "2", "50.0%", "+0.00%")
