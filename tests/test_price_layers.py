"""Prices in layers: the book, the documents' rules, the user's own; and what a call says that none of them knows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import turnledger
from hypothesis import given
from hypothesis import strategies as st
from store_rows import NOON, call_row, write_store
from turnledger.analysis.ledger import StoreError
from turnledger.analysis.pricing.book import Book
from turnledger.analysis.pricing.cards import ModelUse, rate_card
from turnledger.analysis.pricing.overrides import PRICES_FILE, PricesFileError, parse_prices
from turnledger.instrument.documents import Registry, load_documents, parse_documents

if TYPE_CHECKING:
    from pathlib import Path

REGISTRY = load_documents()
BOOK = Book()


def cost(folder: Path, own: str | None = None, **said: Any) -> tuple[Decimal | None, str | None]:
    """Return what one call costs and what says so, with the user's own prices where they are given."""
    store = write_store(folder, [call_row(**said)])
    if own is not None:
        path = store.root / PRICES_FILE
        path.parent.mkdir(exist_ok=True)
        path.write_text(own)
    with turnledger.open(store.root) as ledger:
        return ledger.sql("select cost_usd, cost_source from calls").row(0)


# --- the documents' rules

PERPLEXITY = {"provider": "perplexity", "request_model": "sonar", "response_model": "sonar", "output_tokens": 62}


@pytest.mark.parametrize(("size", "expected"), [("low", "0.005073"), ("medium", "0.008073"), ("high", "0.012073")])
def test_a_fee_a_request_depends_on_what_the_request_asked_for(tmp_path: Path, size: str, expected: str):
    """A recorded call of the smallest size was billed 0.00507."""
    said = PERPLEXITY | {"input_tokens": 11, "billing": [("search_context", size)]}
    assert cost(tmp_path, **said) == (Decimal(expected), "computed")


def test_searches_are_billed_beside_the_tokens(tmp_path: Path):
    """Counts of a recorded call, which was billed 0.01607085."""
    said = {
        "provider": "xai",
        "surface": "responses",
        "request_model": "grok-4.3",
        "response_model": "grok-4.3",
        "input_tokens": 5689,
        "cache_read_tokens": 2048,
        "output_tokens": 444,
        "reasoning_tokens": 245,
        "usage_details": [("web_search_requests", 2), ("total_tokens", 6133), ("server_tool_calls", 2)],
    }
    assert cost(tmp_path, **said) == (Decimal("0.01607085"), "computed")


def test_a_router_may_answer_with_a_name_without_the_vendor(tmp_path: Path):
    """Counts of a recorded call, which was billed 0.00000014."""
    said = {"provider": "openrouter", "surface": "embeddings", "operation": "embeddings", "output_tokens": None}
    model = {"request_model": "openai/text-embedding-3-small", "response_model": "text-embedding-3-small"}
    assert cost(tmp_path / "a", **said, **model, input_tokens=7) == (Decimal("0.00000014"), "computed")
    other = {"request_model": "openai/gpt-4o", "response_model": "text-embedding-3-small"}
    assert cost(tmp_path / "b", **said, **other, input_tokens=7) == (None, None)


def test_citations_of_a_search_that_is_billed_itself_cost_nothing(tmp_path: Path):
    """Counts of a recorded call, which was billed 0.066407."""
    said = {
        "provider": "openrouter",
        "request_model": "openai/gpt-5.2",
        "response_model": "openai/gpt-5.2",
        "billing": [("upstream", "OpenAI"), ("search_tool", "openrouter:web_search")],
        "input_tokens": 16924,
        "output_tokens": 485,
        "reasoning_tokens": 449,
        "usage_details": [("web_search_requests", 3), ("web_plugin_results", 1)],
    }
    assert cost(tmp_path / "a", **said) == (Decimal("0.066407"), "computed")
    del said["billing"]
    assert cost(tmp_path / "b", **said) == (None, "partially_priced")


CLAUDE = {
    "provider": "anthropic",
    "surface": "messages",
    "request_model": "claude-opus-4-8",
    "response_model": "claude-opus-4-8",
    "input_tokens": 1_000,
    "output_tokens": 100,
}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, "0.0075"),
        ({"billing": [("speed", "standard"), ("inference_geo", "global")]}, "0.0075"),
        ({"billing": [("inference_geo", "us")]}, "0.00825"),
        ({"service_tier": "batch"}, "0.00375"),
        ({"service_tier": "batch", "billing": [("inference_geo", "us")]}, "0.004125"),
        ({"billing": [("speed", "fast")]}, "0.015"),
        ({"cache_write_tokens": 400, "cache_write_by_ttl": [("5m", 100), ("1h", 300)]}, "0.009125"),
        (
            {"usage_details": [("beside_compaction_input_tokens", 200), ("beside_compaction_output_tokens", 10)]},
            "0.00875",
        ),
        ({"billing": [("inference_geo", "eu")]}, None),
        ({"service_tier": "priority"}, None),
    ],
)
def test_tiers_regions_modes_and_lifetimes_have_their_prices(
    tmp_path: Path, said: dict[str, Any], expected: str | None
):
    found, _ = cost(tmp_path, **CLAUDE | said)
    assert found == (None if expected is None else Decimal(expected))


def test_a_factor_for_a_tier_is_left_out_where_the_book_prices_the_tier_itself(tmp_path: Path):
    """The book has half the price for batches since its day; a rule that halves it again would quarter it."""
    before, after = datetime(2026, 10, 1, 12, tzinfo=UTC), datetime(2026, 11, 1, 12, tzinfo=UTC)
    said = CLAUDE | {"service_tier": "batch"}
    assert cost(tmp_path / "a", started_at=before, **said) == (Decimal("0.00375"), "computed")
    assert cost(tmp_path / "b", started_at=after, **said) == (Decimal("0.00375"), "computed")


def test_a_host_of_a_region_costs_more(tmp_path: Path):
    said = {"request_model": "gpt-6-sol", "response_model": "gpt-6-sol", "input_tokens": 1_000, "output_tokens": 0}
    plain, _ = cost(tmp_path / "a", server_address="api.openai.com", **said)
    region, _ = cost(tmp_path / "b", server_address="eu.api.openai.com", **said)
    assert plain is not None
    assert region == plain * Decimal("1.1")


def test_a_tier_is_an_estimate_before_the_book_knew_it_while_the_plain_price_was_the_same(tmp_path: Path):
    said = {"request_model": "gpt-5", "response_model": "gpt-5", "service_tier": "priority"}
    known = cost(tmp_path / "a", started_at=datetime(2026, 11, 1, tzinfo=UTC), **said)
    before = cost(tmp_path / "b", started_at=datetime(2026, 1, 1, tzinfo=UTC), **said)
    assert known == (Decimal("0.000125"), "computed")
    assert before == (Decimal("0.000125"), "estimated")


# --- routed calls

ROUTED = {"provider": "openrouter", "request_model": "x", "input_tokens": 1_000, "output_tokens": 0}


def test_a_vendor_s_own_model_costs_what_the_vendor_s_book_says_of_that_day(tmp_path: Path):
    """Of a recorded call: 4,012 tokens written to the cache, at a price that has changed since; billed 0.025265."""
    said = {
        "provider": "openrouter",
        "surface": "responses",
        "request_model": "openai/gpt-5.6-sol",
        "response_model": "openai/gpt-5.6-sol",
        "input_tokens": 4020,
        "cache_write_tokens": 4012,
        "output_tokens": 5,
        "started_at": datetime(2026, 7, 17, 10, tzinfo=UTC),
    }
    assert cost(tmp_path, **said) == (Decimal("0.025265"), "computed")


def test_units_that_the_upstream_s_book_lacks_are_the_router_s():
    use = ModelUse("openrouter", "chat.completions", None, "google/gemini-2.5-flash", None, None)
    card = rate_card(use, REGISTRY, BOOK)
    sold = {row.prices["cache_write_mtok"] for row in card.rows if row.period.valid_to.year == 9999}
    assert card.price_provider == "google"
    assert sold == {Decimal("0.0000000833333333333333").quantize(Decimal("1e-18"))}


def test_a_model_with_open_weights_costs_what_the_one_who_ran_it_takes():
    books = {}
    for upstream in ("Novita", "Elsewhere"):
        use = ModelUse(
            "openrouter", "chat.completions", None, "moonshotai/kimi-k2-instruct", None, None, (("upstream", upstream),)
        )
        books[upstream] = rate_card(use, REGISTRY, BOOK).price_provider
    assert books == {"Novita": "novita", "Elsewhere": None}


def test_a_vendor_s_model_behind_an_unknown_host_is_an_estimate_and_open_weights_have_no_price(tmp_path: Path):
    said = {"provider": "openai_compatible", "server_address": "llm.internal"}
    assert cost(tmp_path / "a", request_model="gpt-4o", response_model="gpt-4o", **said) == (
        Decimal("0.000075"),
        "estimated",
    )
    assert cost(tmp_path / "b", request_model="gpt-oss-20b", response_model="gpt-oss-20b", **said) == (None, None)


# --- what has no price


def test_a_call_priced_in_part_has_no_cost_but_names_what_is_missing(tmp_path: Path):
    row = call_row(usage_details=[("connector_calls", 2), ("beside_svg_input_tokens", 7), ("web_search_requests", 1)])
    with turnledger.open(write_store(tmp_path, [row]).root) as ledger:
        found = ledger.sql("select cost_usd, computed_cost_usd, cost_source, priced_part_usd from calls").row(0)
        missing = ledger.sql("select missing_prices, priced_part_usd from unpriced_calls").row(0)
    assert found == (None, None, "partially_priced", Decimal("0.010075"))
    assert missing == (["beside_svg_input_tokens", "connector_calls"], Decimal("0.010075"))


def test_what_is_counted_without_tokens_is_priced_too(tmp_path: Path):
    """A request that is billed by pages, or by seconds of sound, has no tokens."""
    said = {"input_tokens": None, "output_tokens": None, "finish_reasons": None}
    pages = {
        "provider": "mistral",
        "surface": "ocr",
        "request_model": "mistral-ocr-2505",
        "response_model": "mistral-ocr-2505",
    }
    assert cost(tmp_path / "a", usage_details=[("pages", 3)], **said, **pages) == (Decimal("0.003"), "computed")
    sound = {"surface": "audio.transcriptions", "request_model": "whisper-1", "response_model": None}
    seconds = [("input_audio_seconds", 60)]
    assert cost(tmp_path / "b", usage_details=seconds, **said, **sound) == (Decimal("0.006"), "computed")


# --- the user's own prices


def test_a_discount_is_of_everything_that_is_tokens(tmp_path: Path):
    own = '[[price]]\nprovider = "openai"\ndiscount = "20%"\n'
    said = {"usage_details": [("web_search_requests", 1)]}
    assert cost(tmp_path, own, **said) == (Decimal("0.01006"), "computed")


def test_contract_prices_hold_for_their_time_and_models(tmp_path: Path):
    own = """
        [[price]]
        provider = "openai"
        models = ["gpt-4o*"]
        from = 2026-11-01
        until = 2026-11-02
        input_mtok = "1"
        output_mtok = "2"
    """
    assert cost(tmp_path / "a", own, started_at=NOON) == (Decimal("0.00002"), "computed")
    assert cost(tmp_path / "b", own, started_at=NOON + timedelta(days=1)) == (Decimal("0.000075"), "computed")
    assert cost(tmp_path / "c", own, started_at=NOON, response_model="gpt-4.1") != (Decimal("0.00002"), "computed")


def test_a_model_of_one_s_own_has_a_price(tmp_path: Path):
    own = """
        [[price]]
        provider = "openai_compatible"
        models = ["our-*"]
        when = { host = "llm.internal" }
        input_mtok = 1
        output_mtok = 2
    """
    said = {"provider": "openai_compatible", "request_model": "our-7b", "response_model": "our-7b"}
    assert cost(tmp_path / "a", own, server_address="llm.internal", **said) == (Decimal("0.00002"), "computed")
    assert cost(tmp_path / "b", own, server_address="elsewhere", **said) == (None, None)


def test_amounts_in_another_currency_follow_the_exchange_rate_of_the_day(tmp_path: Path):
    own = """
        [[exchange_rate]]
        currency = "EUR"
        usd = "1.10"
        until = 2026-11-02

        [[exchange_rate]]
        currency = "EUR"
        usd = "1.20"
        from = 2026-11-02

        [[price]]
        provider = "openai"
        models = "gpt-4o*"
        currency = "EUR"
        input_mtok = "1"
        output_mtok = "0"
    """
    assert cost(tmp_path / "a", own, started_at=NOON) == (Decimal("0.000011"), "computed")
    assert cost(tmp_path / "b", own, started_at=NOON + timedelta(days=1)) == (Decimal("0.000012"), "computed")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[price]", "not TOML in UTF-8"),
        ('[[price]]\nprovider = "a"\nx_tokens_mtok = "1"', "price[0].x_tokens_mtok: expected x_mtok: it is a price"),
        ('[[price]]\ninput_mtok = "1"', "price[0].provider: expected a text in quotes"),
        ('[[price]]\nprovider = "a"', "price[0].input_mtok: expected a price such as"),
        ('[[price]]\nprovider = "a"\ninput_mtok = 1.5', "price[0].input_mtok: expected a number in quotes"),
        ('[[price]]\nprovider = "a"\ninput_mtok = "-1"', "price[0].input_mtok: expected a number from 0 to 90000"),
        ('[[price]]\nprovider = "a"\ninput_mtok = "NaN"', "price[0].input_mtok: expected a number from 0 to 90000"),
        ('[[price]]\nprovider = "a"\ninput_token = "1"', "price[0].input_mtok: expected a price such as"),
        ('[[price]]\nprovider = "a"\ninput_mtok = "1"\ncolour = "red"', "price[0].colour: expected one of the known"),
        ('[[price]]\nprovider = "a"\ndiscount = "120%"', "price[0].discount: expected per cent in quotes"),
        ('[[price]]\nprovider = "a"\ndiscount = "12"', "price[0].discount: expected per cent in quotes"),
        ('[[price]]\nprovider = "a"\nfactor = "2"\ndiscount = "1%"', "price[0].discount: expected no factor beside it"),
        ('[[price]]\nprovider = "a"\ninput_mtok = "1"\nfrom = "then"', "price[0].from: expected a day such as"),
        (
            '[[price]]\nprovider = "a"\ninput_mtok = "1"\nfrom = 2026-02-01\nuntil = 2026-01-01',
            "price[0].until: expected a day after 'from'",
        ),
        ('[[price]]\nprovider = "a"\ninput_mtok = "1"\ncurrency = "EUR"', "expected one [[exchange_rate]] of EUR"),
        ('[[price]]\nprovider = "a"\ninput_mtok = "1"\ncurrency = "euro"', "expected a currency such as 'EUR'"),
        ('[[exchange_rate]]\ncurrency = "EUR"', "exchange_rate[0].usd: expected what one is in USD"),
        ('price = "1"', "price: expected tables written as [[price]]"),
        ('[[prices]]\nprovider = "a"', "prices: expected one of the known keys: exchange_rate, price"),
    ],
)
def test_a_mistake_in_the_prices_is_one_line_with_file_key_and_what_was_expected(tmp_path: Path, text: str, said: str):
    with pytest.raises(PricesFileError) as caught:
        parse_prices("prices.toml", text.encode())
    assert said in str(caught.value)
    assert str(caught.value).startswith("prices.toml: ")
    with pytest.raises(StoreError, match=r"prices\.toml"):
        cost(tmp_path, text)


def test_prices_that_the_environment_names_come_first_and_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "mine.toml"
    monkeypatch.setenv("TURNLEDGER_PRICES", str(path))
    with pytest.raises(StoreError, match="no such file; TURNLEDGER_PRICES names it"):
        cost(tmp_path / "a")
    path.write_text('[[price]]\nprovider = "*"\nfactor = "0"\n')
    assert cost(tmp_path / "b") == (Decimal(0), "computed")


# --- properties


@given(
    factor=st.decimals("0", "50", places=4, allow_nan=False),
    moment=st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1)),  # noqa: DTZ001
    size=st.integers(0, 400_000),
)
def test_at_any_moment_and_size_one_row_holds_and_a_factor_multiplies_it(factor: Decimal, moment: datetime, size: int):
    use = ModelUse("anthropic", "messages", None, "claude-sonnet-4-5", None, None)
    own = parse_prices("p", f'[[price]]\nprovider = "*"\nfactor = "{factor}"\nfrom = 2025-06-01'.encode())
    found = []
    for rules in ((), own):
        rows = [
            row
            for row in rate_card(use, REGISTRY, BOOK, rules).rows
            if row.period.valid_from <= moment.replace(tzinfo=UTC) < row.period.valid_to
            and row.period.over_input_tokens < size <= row.period.up_to_input_tokens
        ]
        assert len(rows) == 1
        found.append(rows[0].prices)
    expected = factor if moment >= datetime(2025, 6, 1) else Decimal(1)  # noqa: DTZ001
    for unit, usd in found[0].items():
        times = expected if unit.endswith("_mtok") else Decimal(1)
        assert found[1][unit] == (usd * times).quantize(Decimal("1e-18"))


ACME = """+++
id = "acme"
name = "Acme"
hosts = ["api.acme.test"]
price_provider = "openai"

{rules}

[[surface]]
name = "chat"
operation = "chat"
path = "/chat"
tiers = ["usual", "swift"]
[surface.plain]
mode = ["calm"]
[surface.caching]
kind = "implicit"
read_multiplier = "0.25"
write_multiplier_by_ttl = {{ 1h = "3" }}
+++
"""


def acme(rules: str, **said: Any) -> dict[str, Decimal] | str:
    """Return today's prices of a model of a made-up provider, or why there are none; USD for a million tokens."""
    registry = Registry(parse_documents({"acme.md": ACME.format(rules=rules)}))
    use = ModelUse(
        "acme", "chat", None, said.get("model", "gpt-4"), said.get("tier"), said.get("host"), said.get("billing", ())
    )
    card = rate_card(use, registry, BOOK)
    return {unit: usd * 1_000_000 for unit, usd in card.rows[-1].prices.items()} if card.rows else card.reason


def test_a_later_rule_comes_over_an_earlier_one_and_a_general_one_only_fills_in():
    rules = """
        [[price]]
        input_mtok = "7"
        requests_kcount = "1"
        source = "s"

        [[price]]
        models = "gpt-*"
        output_mtok = "8"
        source = "s"

        [[price]]
        models = "gpt-4"
        output_mtok = "9"
        like = { beside_x_mtok = "output_mtok" }
        source = "s"
    """
    found = acme(rules)
    assert isinstance(found, dict)
    assert found["input_mtok"] == 30
    assert found["requests_kcount"] == 1000
    assert (found["output_mtok"], found["beside_x_mtok"]) == (9, 9)


def test_what_the_book_lacks_of_caching_follows_from_the_document():
    found = acme("")
    assert isinstance(found, dict)
    assert found["cache_read_mtok"] == Decimal("7.5")
    assert found["cache_write_1h_mtok"] == 90
    assert "cache_write_mtok" not in found


def test_every_condition_must_be_met():
    rules = '[[price]]\nwhen = { service_tier = "swift" }\nfactor = "2"\nsource = "s"\n'
    doubled = acme(rules, tier="swift")
    assert isinstance(doubled, dict)
    assert doubled["input_mtok"] == 60
    assert acme(rules, tier="swift", billing=(("mode", "wild"),)) == "no price for mode wild"
    assert isinstance(acme(rules, tier="USUAL", billing=(("mode", "Calm"),)), dict)
    assert acme("", tier="swift", billing=(("mode", "wild"),)) == "no price for mode wild, service tier swift"


def test_a_rule_may_say_that_there_is_no_price():
    rules = '[[price]]\nmodels = "gpt-4"\nunpriced = "by contract only"\nsource = "s"\n'
    assert acme(rules) == "by contract only"


def test_a_rule_for_some_sizes_holds_for_these():
    rules = '[[price]]\nmodels = "gpt-4"\nover_input_tokens = 1000\ninput_mtok = "99"\nsource = "s"\n'
    registry = Registry(parse_documents({"acme.md": ACME.format(rules=rules)}))
    card = rate_card(ModelUse("acme", "chat", None, "gpt-4", None, None), registry, BOOK)
    prices = {row.period.over_input_tokens: row.prices["input_mtok"] * 1_000_000 for row in card.rows}
    assert prices == {-1: Decimal(30), 1000: Decimal(99)}
