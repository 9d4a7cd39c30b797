"""Prices: the SQL models compute, to the last digit, what the price book itself computes."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import turnledger
from genai_prices import Usage
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given
from hypothesis import strategies as st
from store_rows import NOON, call_row, write_store
from turnledger.analysis.pricing.book import Book, BookModel, book_version, holds
from turnledger.analysis.pricing.cards import ModelUse, rate_card
from turnledger.analysis.pricing.relations import price_book
from turnledger.instrument.documents import load_documents

BOOK_PROVIDERS = sorted({document.price_provider for document in load_documents().documents.values()})
MODELS = [(p, model) for p in get_snapshot().providers if p.id in BOOK_PROVIDERS for model in p.models]
LATEST = datetime(2026, 11, 20, tzinfo=UTC)
BOOK_ROWS: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
for _row in price_book(Book()).iter_rows(named=True):
    BOOK_ROWS[_row["price_provider"], _row["book_model"]].append(_row)


def _moments(model: Any) -> list[datetime]:
    """Every moment around which the book's answer may change, a second before and the moment itself."""
    seconds, days = BookModel("", model).breakpoints()
    points = {max(day, datetime(2020, 1, 1, tzinfo=UTC)) for day in sorted(days)[:-1]} | {LATEST}
    moments = {day + timedelta(seconds=second) for day in points for second in sorted(seconds)[:-1]}
    return sorted(moments | {moment - timedelta(seconds=1) for moment in moments})


def _cases() -> list[tuple[dict[str, Any], Decimal]]:
    """One call per model, tier, moment and input size around its bounds; with what the book says it costs."""
    documents = {document.price_provider: document.id for document in load_documents().documents.values()}
    cases: list[tuple[dict[str, Any], Decimal]] = []
    for provider, model in MODELS:
        if provider.find_model(model.id, all_providers=get_snapshot().providers) is not model:
            continue  # an entry that its own id does not lead to, such as those of fine-tuned models
        use = ModelUse(documents[provider.id], "chat.completions", model.id, model.id, None, None)
        if rate_card(use, load_documents(), Book()).price_provider != provider.id:
            continue  # a router's entry, where the vendor's own is taken
        tiers: list[tuple[str | None, Any]] = [(None, None)]
        entry = BookModel(provider.id, model)
        tiers += [(tier, entry.variants({"service_tier": tier})[0]) for tier in entry.tiers() if tier != "default"]
        for tier, variant in tiers:
            for moment in _moments(model):
                if variant is not None and not holds(variant, moment):
                    continue
                price = model.get_prices(moment, variant.when if variant else None)
                for usage in _usages(price):
                    row = call_row(
                        provider=documents[provider.id],
                        request_model=model.id,
                        response_model=model.id,
                        service_tier=tier,
                        started_at=moment,
                        input_tokens=usage["input_tokens"],
                        output_tokens=usage["output_tokens"],
                        cache_read_tokens=usage.get("cache_read_tokens"),
                        cache_write_tokens=usage.get("cache_write_tokens"),
                        cache_write_by_ttl=[("1h", usage.get("cache_write_1h_tokens", 0))],
                    )
                    cases.append((row, price.calc_price(Usage(**usage))["total_price"]))
    return cases


def _usages(price: Any) -> list[dict[str, int]]:
    priced = {unit for unit, value in vars(price).items() if value is not None}
    if not {"input_mtok", "output_mtok"} <= priced:
        return []
    starts = {tier.start for value in vars(price).values() for tier in getattr(value, "tiers", ())}
    found = []
    for size in sorted({7_001, *starts, *(start + 1 for start in starts)}):
        usage = {"input_tokens": size, "output_tokens": 411}
        if "cache_read_mtok" in priced:
            usage["cache_read_tokens"] = size // 3
        if "cache_write_mtok" in priced:
            usage["cache_write_tokens"] = size // 5
        if "cache_write_1h_mtok" in priced:
            usage["cache_write_1h_tokens"] = size // 11
        found.append(usage)
    return found


def test_every_model_tier_moment_and_size_costs_what_the_book_says(tmp_path: Any) -> None:
    cases = _cases()
    assert len(cases) > 2_000
    with turnledger.open(write_store(tmp_path, [row for row, _ in cases]).root) as ledger:
        computed = dict(ledger.sql("select call_id, computed_cost_usd from calls").iter_rows())
    for row, expected in cases:
        cost = computed[row["call_id"]]
        assert cost is not None, row
        # Prices are kept to 18 decimals; only entries of the book with more (residue of floats) can differ at all.
        assert abs(cost - expected) <= (row["input_tokens"] + row["output_tokens"]) * Decimal("5e-19"), (row, expected)


def test_a_price_change_reprices_nothing_before_it(tmp_path: Any) -> None:
    """The same call a second before and after a dated change of price has two costs."""
    changes = [
        (provider.id, model, moment)
        for provider, model in MODELS
        if provider.id == "openai"
        for moment in sorted(BookModel(provider.id, model).breakpoints()[1])[1:-1]
        if model.get_prices(moment).__dict__.get("input_mtok")
        != model.get_prices(moment - timedelta(seconds=1)).__dict__.get("input_mtok")
    ]
    assert changes, "the book has a dated change of an input price"
    _, model, moment = changes[0]
    before, after = (
        call_row(request_model=model.id, response_model=model.id, started_at=when, output_tokens=0)
        for when in (moment - timedelta(seconds=1), moment)
    )
    with turnledger.open(write_store(tmp_path, [before, after]).root) as ledger:
        costs = [row[0] for row in ledger.sql("select cost_usd from calls order by started_at").iter_rows()]
    assert None not in costs
    assert costs[0] != costs[1]


@given(st.sampled_from(MODELS), st.datetimes(datetime(2023, 1, 1), datetime(2027, 1, 1)), st.integers(0, 3_000_000))  # noqa: DTZ001
def test_rows_hold_exactly_one_price_at_any_moment_and_size(found: Any, naive: datetime, size: int) -> None:
    provider, model = found
    moment = naive.replace(tzinfo=UTC)
    second = (moment.hour * 60 + moment.minute) * 60 + moment.second
    valid = [
        row
        for row in BOOK_ROWS[provider.id, model.id]
        if row["service_tier"] is None
        and row["valid_from"] <= moment < row["valid_to"]
        and row["day_second_from"] <= second < row["day_second_to"]
        and row["over_input_tokens"] < size <= row["up_to_input_tokens"]
    ]
    units = [row["unit"] for row in valid]
    assert len(units) == len(set(units))
    assert set(units) == {unit for unit, value in vars(model.get_prices(moment)).items() if value is not None}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"provider": "nowhere"}, "provider without a document"),
        ({"request_model": "no-such", "response_model": None}, "not in the price book: no-such"),
        ({"request_model": None, "response_model": None}, "model not reported"),
        ({"service_tier": "gold"}, "no price for service tier gold"),
        ({"service_tier": "scale"}, "no price for service tier scale"),
        ({"billing": [("region", "mars")]}, "no price for region mars"),
        ({"output_tokens": None}, "output tokens not reported"),
        ({"usage_details": [("beside_svg_input_tokens", 700)]}, "no price for beside_svg_input_tokens"),
        (
            {"finish_reasons": None, "error_type": "stream_closed_early", "is_stream": True},
            "ended before its usage was complete",
        ),
        (
            {"provider": "zai", "finish_reasons": None, "error_type": "stream_closed_early", "is_stream": True},
            "what of it is billed is not known",
        ),
        ({"cache_read_tokens": 11}, "contradictory usage"),
        ({"input_tokens": 10**16}, "usage out of range"),
        ({"usage_details": [("connector_calls", 1), ("total_tokens", 15)]}, "no price for connector_calls"),
        ({"input_tokens": None, "output_tokens": None}, "no usage reported"),
    ],
)
def test_what_has_no_price_is_null_and_says_why(tmp_path: Any, said: dict[str, Any], reason: str) -> None:
    with turnledger.open(write_store(tmp_path, [call_row(**said), call_row()]).root) as ledger:
        assert ledger.sql("select reason from unpriced_calls").rows() == [(reason,)]
        costs = ledger.sql("select cost_usd, cost_source from calls order by started_at").rows()
    in_part = "partially_priced" if said.get("usage_details") else None
    assert costs == [(None, in_part), (Decimal("0.000075"), "computed")]


def test_cached_audio_is_billed_once_as_cached(tmp_path: Any) -> None:
    """Counts of a recorded call: nearly all of its audio and video was read from a cache."""
    row = call_row(
        provider="gemini",
        surface="generate_content",
        request_model="gemini-2.5-flash",
        response_model="gemini-2.5-flash",
        input_tokens=17713,
        cache_read_tokens=17379,
        output_tokens=889,
        reasoning_tokens=821,
        usage_details=[("input_audio_tokens", 1917), ("cache_read_audio_tokens", 1881), ("input_video_tokens", 15780)],
    )
    model = get_snapshot().find_provider_model("gemini-2.5-flash", None, "google", None)[1]
    usage = Usage(
        input_tokens=17713,
        cache_read_tokens=17379,
        input_audio_tokens=1917,
        cache_audio_read_tokens=1881,
        output_tokens=889,
    )
    expected = model.get_prices(row["started_at"]).calc_price(usage)["total_price"]
    with turnledger.open(write_store(tmp_path, [row]).root) as ledger:
        assert ledger.sql("select cost_usd from calls").item() == expected


def test_the_standard_tier_is_the_price_without_a_tier(tmp_path: Any) -> None:
    rows = [call_row(service_tier=tier) for tier in (None, "default", "")]
    with turnledger.open(write_store(tmp_path, rows).root) as ledger:
        assert set(ledger.sql("select cost_usd from calls").to_series()) == {Decimal("0.000075")}


def test_the_model_that_answered_is_priced_not_the_one_asked_for(tmp_path: Any) -> None:
    asked = call_row(request_model="gpt-4o-mini", response_model="gpt-4o")
    unknown = call_row(request_model="gpt-4o-mini", response_model="x/unheard-of")
    with turnledger.open(write_store(tmp_path, [asked, unknown]).root) as ledger:
        assert ledger.sql("select cost_usd from calls order by started_at").rows() == [(Decimal("0.000075"),), (None,)]


def test_a_call_of_unknown_time_is_priced_at_the_latest_price_and_marked(tmp_path: Any) -> None:
    with turnledger.open(write_store(tmp_path, [call_row(started_at=None)]).root) as ledger:
        assert ledger.sql("select cost_source from calls").rows() == [("computed_at_latest_price",)]


def test_the_bill_is_the_cost_where_there_is_one(tmp_path: Any) -> None:
    row = call_row(billed_cost_usd=Decimal("0.5"))
    with turnledger.open(write_store(tmp_path, [row]).root) as ledger:
        found = ledger.sql("select cost_usd, computed_cost_usd, billed_cost_usd, cost_source from calls").rows()
    assert found == [(Decimal("0.5"), Decimal("0.000075"), Decimal("0.5"), "billed")]


def test_prices_say_where_they_are_from(tmp_path: Any) -> None:
    with turnledger.open(write_store(tmp_path, [call_row(started_at=NOON)]).root) as ledger:
        sources = ledger.sql("select distinct source from prices").to_series().to_list()
    assert sources == [book_version()]


def test_a_model_that_one_book_takes_from_another_has_its_price(tmp_path: Any) -> None:
    provider, model = get_snapshot().find_provider_model("gpt-4o", None, "azure", None)
    assert provider.id == "azure"
    assert model not in provider.models
    moment = datetime(2026, 11, 20, tzinfo=UTC)
    expected = model.get_prices(moment).calc_price(Usage(input_tokens=1_000, output_tokens=10))["total_price"]
    row = call_row(
        provider="azure_openai",
        surface="chat.completions",
        request_model="my-deployment",
        response_model="gpt-4o",
        started_at=moment,
        input_tokens=1_000,
        output_tokens=10,
    )
    with turnledger.open(write_store(tmp_path, [row]).root) as ledger:
        assert ledger.sql("select computed_cost_usd from calls").item() == expected > 0
