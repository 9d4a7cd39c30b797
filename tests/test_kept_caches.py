"""Caches that are billed by token and hour: written once as input, kept until deleted or expired."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import turnledger
from commands import run
from har_files import entry, har
from store_rows import call_row, write_store

if TYPE_CHECKING:
    from pathlib import Path

MADE = datetime(2026, 11, 2, 10, tzinfo=UTC)
HOUR = 3600
TOKENS = 1_000_000


def seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def made(**said: Any) -> dict[str, Any]:
    """Return the row of a request that made a cache of a million tokens for an hour."""
    kept = {"kept_from": seconds(MADE), "kept_until": seconds(MADE) + HOUR, "totalTokenCount": TOKENS}
    return call_row(
        **{
            "provider": "gemini",
            "surface": "cached_contents",
            "operation": "create_cache",
            "request_model": "models/gemini-2.5-flash",
            "response_model": "models/gemini-2.5-flash",
            "started_at": MADE,
            "input_tokens": TOKENS,
            "output_tokens": None,
            "cache_write_tokens": TOKENS,
            "usage_details": [("kept_tokens", TOKENS), ("kept_seconds", HOUR)],
            "raw_usage": json.dumps(kept),
            "identifiers": [("cached_content", ["cachedContents/c1"])],
        }
        | said
    )


def later(operation: str, after: timedelta, until: datetime | None = None, **said: Any) -> dict[str, Any]:
    """Return the row of a request about that cache."""
    return made(
        **{
            "surface": f"cached_contents.{operation.removesuffix('_cache')}",
            "operation": operation,
            "started_at": MADE + after,
            "raw_usage": json.dumps({"kept_until": seconds(until)}) if until else None,
            **dict.fromkeys(("input_tokens", "cache_write_tokens", "usage_details", "request_model", "response_model")),
            "identifiers": [("cached_content", ["c1"])],
        }
        | said
    )


def cost(folder: Path, *rows: dict[str, Any]) -> tuple[Decimal | None, str | None]:
    """Return what making the cache costs, and what says so."""
    with turnledger.open(write_store(folder, rows).root) as ledger:
        return ledger.sql("select round(cost_usd, 8), cost_source from calls where operation = 'create_cache'").row(0)


def test_it_costs_its_input_and_an_hour_of_storage(tmp_path: Path):
    assert cost(tmp_path, made()) == (Decimal("1.3"), "computed")


def test_it_is_kept_until_it_is_deleted(tmp_path: Path):
    rows = [made(), later("delete_cache", timedelta(minutes=15))]
    assert cost(tmp_path, *rows) == (Decimal("0.55"), "computed")


def test_it_can_be_prolonged(tmp_path: Path):
    rows = [made(), later("update_cache", timedelta(minutes=30), MADE + timedelta(hours=4))]
    assert cost(tmp_path / "a", *rows) == (Decimal("4.3"), "computed")
    rows.append(later("delete_cache", timedelta(hours=2)))
    assert cost(tmp_path / "b", *reversed(rows)) == (Decimal("2.3"), "computed")


def test_a_request_that_failed_changes_nothing(tmp_path: Path):
    rows = [made(), later("delete_cache", timedelta(minutes=15), status_code=404, error_type="NOT_FOUND")]
    assert cost(tmp_path, *rows) == (Decimal("1.3"), "computed")


def test_what_lives_still_costs_what_it_has_cost_so_far(tmp_path: Path):
    begun = datetime.now(UTC) - timedelta(hours=1)
    kept = {"kept_from": seconds(begun), "kept_until": seconds(begun) + 1000 * HOUR}
    usd, source = cost(tmp_path, made(started_at=begun, raw_usage=json.dumps(kept)))
    assert source == "computed"
    assert Decimal("1.3") <= (usd or 0) < Decimal("1.4")


def test_caches_of_two_providers_are_two(tmp_path: Path):
    rows = [made(), later("delete_cache", timedelta(minutes=15), provider="vertex")]
    assert cost(tmp_path, *rows) == (Decimal("1.3"), "computed")


def test_a_model_without_a_price_of_storage_is_priced_in_part(tmp_path: Path):
    model = dict.fromkeys(("request_model", "response_model"), "models/gemini-3.5-flash")
    with turnledger.open(write_store(tmp_path, [made(**model)]).root) as ledger:
        found = ledger.sql("select cost_usd, cost_source, missing_prices from calls").row(0)
    assert found == (None, "partially_priced", ["cache_storage_token_seconds"])


def test_moments_are_read_from_the_exchange(tmp_path: Path):
    answer = {
        "name": "cachedContents/c1",
        "model": "models/gemini-2.5-flash",
        "usageMetadata": {"totalTokenCount": 5000},
        "createTime": "2026-11-02T10:00:00.5Z",
        "expireTime": "2026-11-02T10:05:00.123456789Z",
    }
    url = "https://generativelanguage.googleapis.com/v1beta/cachedContents"
    path = tmp_path / "made.har"
    content = {"mimeType": "application/json", "text": json.dumps(answer)}
    path.write_bytes(har(entry(url=url, response={"status": 200, "headers": [], "content": content})))
    run("import", "har", str(path), "--store", str(tmp_path / "store"))
    with turnledger.open(tmp_path / "store") as ledger:
        assert ledger.sql("select kept_tokens, kept_until - kept_from from kept_caches").row(0) == (5000, 300)
        assert ledger.sql("select input_tokens, cache_write_tokens from calls").row(0) == (5000, 5000)
