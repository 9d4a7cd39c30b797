"""Providers that bill other counts than they processed: the bill is computed from what they bill."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import turnledger
from store_rows import call_row, write_store

if TYPE_CHECKING:
    from pathlib import Path

PER_TOKEN = {"input": Decimal("0.0000025"), "output": Decimal("0.00001")}
"""What the model costs (USD), as the price book has it."""


@pytest.mark.parametrize(
    ("said", "billed"),
    [
        ({"billed_input_tokens": 10, "billed_output_tokens": 104}, (10, 104)),
        ({"billed_input_tokens": 0, "billed_output_tokens": 0}, (0, 0)),
        ({"billed_input_tokens": 10}, (10, 107)),
        ({}, (505, 107)),
    ],
)
def test_billed_counts_are_priced_in_place_of_the_totals(
    said: dict[str, int], billed: tuple[int, int], tmp_path: Path
) -> None:
    row: dict[str, Any] = call_row(
        provider="cohere",
        surface="chat",
        request_model="command-a-03-2025",
        response_model=None,
        input_tokens=505,
        output_tokens=107,
        cache_read_tokens=448,
        usage_details=list(said.items()),
    )
    with turnledger.open(write_store(tmp_path, [row]).root) as ledger:
        found = ledger.sql("select input_tokens, cache_read_tokens, computed_cost_usd from calls").row(0)
    assert found == (505, 448, billed[0] * PER_TOKEN["input"] + billed[1] * PER_TOKEN["output"])
