"""The SQL models as identities over rows: what is counted, grouped and chained; nothing gets lost or doubled."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import turnledger
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_rows import NOON, call_row, write_store
from turnledger.analysis import sql as models

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from turnledger import Ledger


CONTRACT = [
    *("call_id", "trace_id", "source", "conversation_id", "conversation_source", "turn_index", "provider"),
    *("surface", "operation", "request_model", "response_model", "started_at", "duration_ms", "first_chunk_ms"),
    *("is_stream", "status_code", "error_type", "finish_reasons", "attempts", "response_id", "request_id"),
    *("identifiers", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"),
    *("cache_write_by_ttl", "reasoning_tokens", "service_tier", "strategy", "computed_cost_usd"),
    *("billed_cost_usd", "cost_usd", "cost_source", "raw_usage", "raw_metadata"),
]


@pytest.fixture
def ledger_of(tmp_path: Path) -> Iterator[Callable[[list[dict[str, Any]]], Ledger]]:
    opened: list[Ledger] = []

    def made(rows: list[dict[str, Any]]) -> Ledger:
        opened.append(turnledger.open(write_store(tmp_path / str(len(opened)), rows).root))
        return opened[-1]

    yield made
    for ledger in opened:
        ledger.close()


def attempts_of(call_id: str, statuses: list[int], **said: Any) -> list[dict[str, Any]]:
    """Return the attempts of one call, two seconds each, a second apart; failed ones have no usage."""
    failed = {"input_tokens": None, "output_tokens": None, "finish_reasons": None, "response_model": None}
    return [
        call_row(
            call_id=call_id,
            attempt_index=index,
            status_code=status,
            started_at=NOON + timedelta(seconds=3 * index),
            **({**said, **failed, "error_type": str(status)} if status != 200 else said),
        )
        for index, status in enumerate(statuses)
    ]


def test_every_model_states_its_grain_and_has_the_columns_of_the_contract(ledger_of: Any) -> None:
    ledger = ledger_of([call_row()])
    for name in models.ORDER:
        assert models.model_text(name).startswith(f"-- {name}: one row per "), name
    assert ledger.sql("select * from calls").columns[: len(CONTRACT)] == CONTRACT


def test_a_call_is_its_attempts(ledger_of: Any) -> None:
    ledger = ledger_of([*attempts_of("c1", [429, 503, 200]), call_row()])
    (call,) = ledger.sql("select * from calls where call_id = 'c1'").to_dicts()
    assert (call["attempts"], call["status_code"], call["error_type"]) == (3, 200, None)
    assert call["started_at"] == NOON
    assert call["duration_ms"] == 8000.0
    assert call["cost_usd"] == Decimal("0.000075")
    statuses = ledger.sql("select status_code from attempts where call_id = 'c1' order by attempt_index")
    assert statuses.to_series().to_list() == [429, 503, 200]


def test_a_failed_call_costs_nothing_and_is_not_unpriced(ledger_of: Any) -> None:
    ledger = ledger_of(attempts_of("c1", [429, 429]))
    assert ledger.sql("select cost_usd, attempts, error_type from calls where cost_source = 'unbilled'").rows() == [
        (Decimal(0), 2, "429")
    ]
    assert ledger.sql("from unpriced_calls").is_empty()


def test_two_billed_attempts_cost_twice(ledger_of: Any) -> None:
    rows = attempts_of("c1", [200, 200])
    assert ledger_of(rows).sql("select cost_usd from calls").rows() == [(Decimal("0.00015"),)]


def test_an_unpriced_attempt_leaves_its_call_without_a_cost(ledger_of: Any) -> None:
    rows = attempts_of("c1", [200, 200])
    rows[0]["response_model"] = "unheard-of"
    assert ledger_of(rows).sql("select cost_usd from calls").rows() == [(None,)]


def test_spans_that_are_no_calls_are_in_no_model(ledger_of: Any) -> None:
    ledger = ledger_of([call_row(call_id=None), call_row()])
    assert ledger.sql("from spans").height == 2
    assert ledger.sql("from calls").height == ledger.sql("from attempts").height == 1


def test_a_chain_of_response_ids_is_one_conversation(ledger_of: Any) -> None:
    rows = [
        call_row(response_id="r1"),
        call_row(response_id="r2", previous_response_id="r1"),
        call_row(response_id="r3", previous_response_id="r2"),
        call_row(response_id="r3b", previous_response_id="r2"),  # a fork
        call_row(response_id="other"),
    ]
    found = ledger_of(rows).sql(
        "select conversation_id, conversation_source, turn_index from calls order by started_at"
    )
    assert found.rows() == [
        ("r1", "chain", 0),
        ("r1", "chain", 1),
        ("r1", "chain", 2),
        ("r1", "chain", 3),
        (rows[4]["call_id"], "call", 0),
    ]


def test_a_chain_whose_root_is_elsewhere_or_that_goes_in_circles(ledger_of: Any) -> None:
    rows = [
        call_row(response_id="b", previous_response_id="a"),
        call_row(response_id="x", previous_response_id="y"),
        call_row(response_id="y", previous_response_id="x"),
        call_row(response_id="b", previous_response_id="a", provider="anthropic"),  # ids of another provider
    ]
    found = ledger_of(rows).sql("select conversation_id from calls order by started_at").to_series().to_list()
    assert found[0] == "a"
    assert found[1:3] == [rows[1]["call_id"], rows[2]["call_id"]]
    assert found[3] == "a"
    assert ledger_of(rows).sql("select count(*) from calls").item() == len(rows)


def test_what_the_app_said_goes_before_the_chain_and_is_inherited_by_it(ledger_of: Any) -> None:
    rows = [
        call_row(response_id="r1", conversation_id="chat", conversation_source="app"),
        call_row(response_id="r2", previous_response_id="r1"),
        call_row(response_id="r3", previous_response_id="r2", conversation_id="mine", conversation_source="app"),
    ]
    found = ledger_of(rows).sql("select conversation_id, conversation_source from calls order by started_at").rows()
    assert found == [("chat", "app"), ("chat", "chain"), ("mine", "app")]


def test_a_tool_result_continues_the_turn(ledger_of: Any) -> None:
    rows = [
        call_row(conversation_id="c", continues_turn=False),
        call_row(conversation_id="c", continues_turn=True),
        call_row(conversation_id="c", continues_turn=False),
        call_row(conversation_id="c", continues_turn=None),
    ]
    ledger = ledger_of(rows)
    turns = ledger.sql("select turn_index from calls order by started_at").to_series().to_list()
    assert turns == [0, 0, 1, 2]
    assert ledger.conversations()["turns"].to_list() == [3]


def test_a_conversation_keeps_its_history_and_counts_what_has_no_price(ledger_of: Any) -> None:
    rows = [
        call_row(conversation_id="c", conversation_source="app", user_id="u", identifiers=[("response_id", ["r1"])]),
        call_row(conversation_id="c", conversation_source="app", response_model="unheard-of"),
    ]
    (found,) = ledger_of(rows).conversations().to_dicts()
    assert (found["calls"], found["cost_usd"], found["unpriced_calls"]) == (2, Decimal("0.000075"), 1)
    assert (found["input_tokens"], found["output_tokens"], found["cache_read_tokens"]) == (20, 10, None)
    assert [item["cost_usd"] for item in found["cost_tracking"]] == [Decimal("0.000075"), None]
    assert [item["input_tokens"] for item in found["token_usage_history"]] == [10, 10]
    assert found["extracted_identifiers"] == ["r1"]
    assert found["provider_metadata"]["surfaces"] == ["chat.completions"]


NAMES = st.sampled_from(["a", "b", "c"])
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "conversation_id": st.none() | NAMES,
            "response_id": st.none() | NAMES,
            "previous_response_id": st.none() | NAMES,
            "provider": st.sampled_from(["openai", "anthropic", None]),
            "input_tokens": st.none() | st.integers(0, 1 << 40),
            "output_tokens": st.none() | st.integers(0, 1 << 40),
            "cache_read_tokens": st.none() | st.integers(0, 1 << 41),
            "billed_cost_usd": st.none() | st.decimals(0, 1000, places=10),
            "started_at": st.none() | st.integers(0, 10**7).map(lambda s: NOON + timedelta(seconds=s)),
            "response_model": st.sampled_from([None, "gpt-4o", "unheard-of"]),
        }
    ),
    max_size=12,
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS)
def test_no_call_is_lost_or_doubled_and_every_sum_agrees(tmp_path_factory: Any, said: list[dict[str, Any]]) -> None:
    rows = [call_row(**row) for row in said]
    store = write_store(tmp_path_factory.mktemp("store"), rows)
    with turnledger.open(store.root) as ledger:
        calls = ledger.sql("select call_id, cost_usd, cost_source, computed_cost_usd from calls")
        assert sorted(calls["call_id"]) == sorted(row["call_id"] for row in rows)
        total = sum((cost for cost in calls["cost_usd"] if cost is not None), Decimal(0))
        for model in ("conversations", "daily_spend"):
            summed = ledger.sql(f"select coalesce(sum(cost_usd), 0), coalesce(sum(calls), 0) from {model}").row(0)
            assert summed == (total, len(rows)), model
        for by in ("provider", "model", "day", ["user", "surface"]):
            costs = ledger.costs(by)
            assert sum((cost for cost in costs["cost_usd"] if cost is not None), Decimal(0)) == total
            assert costs["calls"].sum() == len(rows)
        without = {row[0] for row in calls.iter_rows() if row[1] is None}
        assert set(ledger.sql("select call_id from unpriced_calls").to_series()) == without
        assert calls.filter(calls["cost_source"].is_null()).height == len(without)
