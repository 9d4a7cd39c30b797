"""What a message costs when written and each time it is sent again: figures worked out by hand, and sums that agree."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import recorded
import turnledger
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_rows import call_row, write_store
from turnledger.instrument.paths import MAX_COUNT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from turnledger import Ledger

CORPUS = Path(os.environ.get("TURNLEDGER_CORPUS") or Path(__file__).parent.parent.parent / "shared" / "corpus")
BRIEF = {"system_digest": "brief"}
CACHING = {"provider": "anthropic", "surface": "messages", "request_model": "claude-sonnet-4-5"} | {
    "response_model": "claude-sonnet-4-5"
}


def said(role: str, size: int = 100) -> dict[str, Any]:
    return {"role": role, "messages": 1, "size": size, "media": 0, "digest": None}


def sizes(*roles: str, earlier: int = 0, system: int = 0) -> list[dict[str, Any]]:
    """Return the parts of a call: a prompt and what was there before of so many bytes, then messages of a hundred."""
    before = [said("system", system)] * bool(system) + [said("earlier", earlier)] * bool(earlier)
    return [*before, *(said(role) for role in roles)]


def call(name: str, parent: str | None, parts: list[dict[str, Any]], tokens: tuple[int, int], **more: Any) -> Any:
    """Return the row of a call of one conversation: 2.50 USD a million tokens in, 1.25 cached, 10 out."""
    known = {"conversation_id": "c", "conversation_source": "app", "parent_call_id": parent, "message_sizes": parts}
    return call_row(
        **({"call_id": name, "span_id": name, "input_tokens": tokens[0], "output_tokens": tokens[1]} | known | more)
    )


@pytest.fixture
def ledger_of(tmp_path: Path) -> Iterator[Callable[..., Ledger]]:
    opened: list[Ledger] = []

    def made(*rows: dict[str, Any]) -> Ledger:
        opened.append(turnledger.open(write_store(tmp_path / str(len(opened)), rows).root))
        return opened[-1]

    yield made
    for ledger in opened:
        assert disagreements(ledger) == {}
        ledger.close()


def disagreements(ledger: Ledger) -> dict[str, list[Any]]:
    """Return every sum that is not exactly what it should be, by name; none is an empty dict."""
    ledger.connection.execute("create schema worked_out")
    for model in ("calls", "messages", "message_payments", "message_costs", "turns", "conversations", "daily_spend"):
        ledger.connection.execute(f"create table worked_out.{model} as from main.{model}")
    ledger.connection.execute("set search_path = 'worked_out,main'")  # each is worked out once for all sums
    sums = {
        "messages, calls": """
            select call_id, sum(messages.cost_usd), any_value(calls.cost_usd)
            from messages inner join calls using (call_id)
            group by call_id having sum(messages.cost_usd) is distinct from any_value(calls.cost_usd)""",
        "payments, calls": """
            select paid.paid_by, sum(paid.cost_usd), any_value(calls.cost_usd) from message_payments as paid
            inner join calls on paid.paid_by = calls.call_id
            group by paid.paid_by having sum(paid.cost_usd) is distinct from any_value(calls.cost_usd)""",
        "payments, tokens of messages": """
            with paid as (select paid_by as call_id, sum(tokens) as tokens from message_payments group by all),
            had as (select call_id, sum(tokens) as tokens from messages group by all)
            select * from paid full join had using (call_id) where paid.tokens is distinct from had.tokens""",
        "payments, what is resent": """
            with paid as (
                select paid_by as call_id, sum(cost_usd) as usd from message_payments where is_resent group by all
            ),
            had as (select call_id, sum(cost_usd) as usd from messages where is_resent group by all)
            select * from paid full join had using (call_id) where paid.usd is distinct from had.usd""",
        "nothing negative": "select * from message_payments where cost_usd < 0 or tokens < 0",
        "every message": """
            with costs as (from message_costs where is_attributed),
            had as (from messages where not is_resent)
            select * from costs full join had using (call_id, message_index)
            where costs.call_id is null or had.call_id is null
                or costs.total_cost_usd is distinct from had.total_cost_usd""",
        "written": "select * from messages where not is_resent and written_cost_usd is distinct from cost_usd",
        "written and resent": """
            select * from message_costs where total_cost_usd is distinct from
                if(written_cost_usd is null and (times_resent = 0 or resent_cost_usd is null), null,
                    coalesce(written_cost_usd, 0) + coalesce(resent_cost_usd, 0))""",
        "message costs, conversations": """
            with costs as (select conversation_id, sum(total_cost_usd) as usd from message_costs group by all)
            select conversation_id, usd, cost_usd from conversations left join costs using (conversation_id)
            where coalesce(usd, 0) + coalesce(cost_unattributed_usd, 0) <> coalesce(cost_usd, 0)""",
        "parts of conversations": """
            select * from conversations where cost_usd is distinct from
                cost_of_history_usd + cost_of_new_usd + cost_of_answers_usd + cost_unattributed_usd""",
        "tracking": """
            select * from conversations where cost_usd is distinct from cost_tracking[-1].running_cost_usd""",
        "turns, conversations": """
            with costs as (select conversation_id, sum(cost_usd) as usd, sum(calls) as calls from turns group by all)
            select * from conversations full join costs using (conversation_id)
            where usd is distinct from cost_usd or costs.calls is distinct from conversations.calls""",
        "days, total": """
            select * from (select sum(cost_usd) as days from daily_spend), (select sum(cost_usd) as total from calls),
                (select sum(cost_usd) as conversations from conversations)
            where days is distinct from total or conversations is distinct from total""",
    }
    return {name: found for name, query in sums.items() if (found := ledger.sql(query).rows())}


def usd(*micro: float | str | None) -> list[Decimal | None]:
    """Return amounts that are said in millionths of a dollar."""
    return [None if amount is None else Decimal(str(amount)) / 1_000_000 for amount in micro]


def costs_of(ledger: Ledger) -> dict[tuple[str, str], list[Any]]:
    """Return, by call and role, what a message cost when written, how often and at what cost it was sent again, all."""
    rows = ledger.sql("""
        select call_id, role, costs.written_cost_usd, costs.times_resent, costs.resent_cost_usd, costs.total_cost_usd
        from message_costs as costs inner join messages using (call_id, message_index) where costs.is_attributed
    """).rows()
    return {(row[0], row[1]): list(row[2:]) for row in rows}


def micro(written: float | None, times: int, resent: float | None, total: float | None) -> list[Any]:
    """Return what ``costs_of`` says of a message, from millionths of a dollar."""
    return [*usd(written), times, *usd(resent, total)]


def unattributed(ledger: Ledger) -> list[tuple[Any, ...]]:
    return ledger.sql("""
        select call_id, resent_tokens, total_cost_usd from message_costs where not is_attributed order by call_id
    """).rows()


def test_a_message_goes_on_costing_and_less_where_the_cache_served_it(ledger_of: Any) -> None:
    ledger = ledger_of(
        call("a", None, sizes("user", "assistant"), (100, 50)),
        call("b", "a", sizes("user", "assistant", earlier=200), (180, 20), cache_read_tokens=128),
        call("c", "b", sizes("user", "assistant", earlier=400), (240, 10)),
    )
    assert costs_of(ledger) == {
        ("a", "user"): micro(250, 2, 125 + 250, 625),  # 100 tokens, all of them cached, then none
        ("a", "assistant"): micro(500, 2, 28 * 1.25 + 22 * 2.5 + 125, 715),
        ("b", "user"): micro(75, 1, 75, 150),
        ("b", "assistant"): micro(200, 1, 50, 250),
        ("c", "user"): micro(100, 0, 0, 100),
        ("c", "assistant"): micro(100, 0, 0, 100),
    }
    assert unattributed(ledger) == []
    (found,) = ledger.conversations().to_dicts()
    parts = ("cost_of_history_usd", "cost_of_new_usd", "cost_of_answers_usd", "cost_unattributed_usd", "cost_usd")
    assert [found[name] for name in parts] == usd(215 + 500, 250 + 75 + 100, 500 + 200 + 100, 0, 1940)
    tracked = [
        [item[name] for name in ("turn_index", "model", "history_tokens")] for item in found["token_usage_history"]
    ]
    assert tracked == [[turn, "gpt-4o-2024-08-06", tokens] for turn, tokens in enumerate((0, 150, 200))]
    assert [item["history_cost_usd"] for item in found["cost_tracking"]] == usd(0, 215, 500)
    assert [item["running_cost_usd"] for item in found["cost_tracking"]] == usd(750, 750 + 490, 1940)
    assert [item["history_tokens"] for item in found["cost_tracking"]] == [0, 150, 200]


def test_what_was_written_to_the_cache_costs_more_and_what_was_read_a_tenth(ledger_of: Any) -> None:
    ledger = ledger_of(
        call("a", None, sizes("user", "assistant"), (1000, 100), cache_write_tokens=1000, **CACHING),
        call("b", "a", sizes("user", "assistant", earlier=200), (1200, 10), **CACHING,
             cache_read_tokens=1000, cache_write_tokens=200),
    )  # fmt: skip
    assert costs_of(ledger) == {
        ("a", "user"): micro(3750, 1, 300, 4050),
        ("a", "assistant"): micro(1500, 1, 375, 1875),
        ("b", "user"): micro(375, 0, 0, 375),
        ("b", "assistant"): micro(150, 0, 0, 150),
    }


def test_in_a_tool_loop_the_question_is_sent_with_every_result(ledger_of: Any) -> None:
    ledger = ledger_of(
        call("a", None, sizes("user", "assistant"), (100, 20), asks_tools=True),
        call("b", "a", sizes("tool", "assistant", earlier=200), (150, 20), continues_turn=True, asks_tools=True),
        call("c", "b", sizes("tool", "assistant", earlier=400), (200, 40), continues_turn=True),
    )
    assert costs_of(ledger) == {
        ("a", "user"): micro(250, 2, 500, 750),
        ("a", "assistant"): micro(200, 2, 100, 300),
        ("b", "tool"): micro(75, 1, 75, 150),
        ("b", "assistant"): micro(200, 1, 50, 250),
        ("c", "tool"): micro(75, 0, 0, 75),
        ("c", "assistant"): micro(400, 0, 0, 400),
    }
    assert ledger.turns()["cost_usd"].to_list() == usd(450 + 575 + 900)


def test_branches_share_what_was_before_them_and_nothing_else(ledger_of: Any) -> None:
    ledger = ledger_of(
        call("a", None, sizes("user", "assistant"), (100, 20)),
        call("b1", "a", sizes("user", "assistant", earlier=200), (150, 10)),
        call("b2", "a", sizes("user", "assistant", earlier=200), (160, 10)),
        call("c1", "b1", sizes("user", "assistant", earlier=400), (200, 10)),
        call("other", None, sizes("user", "assistant"), (50, 10)),  # a sub-agent, which knows of none of it
    )
    found = costs_of(ledger)
    assert found["a", "user"] == micro(250, 3, 750, 1000)
    assert found["a", "assistant"] == micro(200, 3, 150, 350)
    assert found["b1", "user"] == micro(75, 1, 75, 150)
    assert found["b2", "user"] == micro(100, 0, 0, 100)
    assert found["b2", "assistant"] == micro(100, 0, 0, 100)
    assert found["other", "user"] == micro(125, 0, 0, 125)


def test_of_two_answers_only_the_one_that_was_gone_on_with_is_sent_again(ledger_of: Any) -> None:
    ledger = ledger_of(
        call(
            "a",
            None,
            [said("user"), said("assistant", 100), said("assistant", 300)],
            (100, 80),
            answer_digests=["1", "2"],
        ),
        call("b", "a", sizes("user", "assistant", earlier=400), (280, 10), prefix_digests=["2"]),
    )
    rows = ledger.sql(
        "select message_index, tokens, times_resent, resent_cost_usd from message_costs where call_id = 'a'"
    )
    # b began with the 180 tokens of a: for it these are the 100 of the question and the 60 of the second answer
    assert sorted(rows.rows()) == [(0, 100, 1, *usd(281.25)), (1, 20, 0, *usd(0)), (2, 60, 1, *usd(168.75))]


def test_a_prompt_is_written_once_and_sent_again_until_it_is_another(ledger_of: Any) -> None:
    ledger = ledger_of(
        call("a", None, sizes("user", "assistant", system=300), (400, 10), **BRIEF),
        call("b", "a", sizes("user", "assistant", earlier=200, system=300), (500, 10), **BRIEF),
        call("other", None, sizes("user", "assistant", system=300), (400, 10), **BRIEF),
        call("late", None, sizes("user", "assistant", system=100), (200, 10), system_digest="verbose"),
    )
    found = costs_of(ledger)
    prompt = ledger.sql("select sum(cost_usd) from messages where role = 'system' and is_resent").item()
    assert found["a", "system"] == [*usd(750), 2, prompt, usd(750)[0] + prompt]
    assert ledger.sql(
        "select sum(tokens), sum(cost_usd) from messages where call_id = 'other' and is_resent"
    ).rows() == [(300, *usd(750))]
    assert found["late", "system"] == micro(250, 0, 0, 250), "another prompt is written, whenever it comes"
    assert set(found) == {(name, role) for name in ("a", "b", "other", "late") for role in ("user", "assistant")} | {
        ("a", "system"),
        ("late", "system"),
    }


def test_what_a_window_begins_with_stays_with_the_call_that_sent_it(ledger_of: Any) -> None:
    ledger = ledger_of(
        call("a", None, sizes("user", "assistant"), (100, 20)),
        call("b", None, sizes("user", "assistant", earlier=300), (200, 20)),  # 150 tokens that begin anywhere
        call("c", "b", sizes("user", "assistant", earlier=500), (270, 10)),  # goes on with that: 220, of them 70 of b
        call("gone", "unheard-of", sizes("user", "assistant", earlier=100), (100, 10)),
    )
    assert unattributed(ledger) == [("b", 150, *usd(375)), ("c", 150, *usd(375)), ("gone", 50, *usd(125))]
    assert costs_of(ledger)["b", "user"] == micro(125, 1, 125, 250)
    assert costs_of(ledger)["b", "assistant"] == micro(200, 1, 50, 250)
    assert costs_of(ledger)["a", "user"] == micro(250, 0, 0, 250)


def test_what_came_in_between_and_was_not_seen_is_laid_to_nobody(ledger_of: Any) -> None:
    ledger = ledger_of(
        call("a", None, sizes("user", "assistant"), (100, 100), answer_digests=["1"]),
        call("b", "a", sizes("user", "assistant", earlier=900), (1000, 10), prefix_digests=["3", "1"]),
    )
    # of b's 1000 tokens 900 are earlier ones by size; of these 700 bytes (175 tokens) came in beside the 200 known
    assert unattributed(ledger) == [("b", 420, *usd(1050))]
    assert costs_of(ledger)["a", "user"] == micro(250, 1, 600, 850)


def test_a_state_that_the_provider_keeps_is_sent_again_by_it(ledger_of: Any) -> None:
    stated = {"conversation_id": None, "conversation_source": None}
    ledger = ledger_of(
        call("a", None, sizes("user", "assistant", system=100), (100, 50), response_id="1", **BRIEF, **stated),
        call("b", None, sizes("user", "assistant"), (180, 20), response_id="2", previous_response_id="1", **stated),
        call("c", None, sizes("user", "assistant"), (240, 10), previous_response_id="2", **stated),
        call("lost", None, sizes("user", "assistant"), (525, 10), previous_response_id="unheard-of", **stated),
    )
    found = costs_of(ledger)
    # b: 25 of its 180 tokens are its 100 bytes, and 155 what the provider had kept: 50 of prompt, 50 asked, 50 answered
    assert [found["a", role][1] for role in ("system", "user", "assistant")] == [2, 2, 2]
    rows = ledger.sql("select role, tokens, cost_usd from messages where call_id = 'b' order by message_index").rows()
    assert rows == [
        ("earlier", 155, *usd(387.5)), ("user", 25, *usd(62.5)), ("assistant", 20, *usd(200)),
    ]  # fmt: skip
    assert found["b", "user"][:2] == [*usd(62.5), 1]
    # c: known exactly, 200 tokens of b, of which 25 + 20 are b's own, 150 a's
    again = {row[0]: row[1] for row in ledger.sql(
        "select call_id, sum(tokens)::int from message_payments where paid_by = 'c' and is_resent group by 1"
    ).rows()}  # fmt: skip
    assert again == {"a": 154, "b": 46}
    assert unattributed(ledger) == [("lost", 500, *usd(1250))]


def test_a_conversation_that_the_provider_keeps_is_sent_again_by_it(ledger_of: Any) -> None:
    kept = {"conversation_id": "conv_1", "conversation_source": "provider", "provider_conversation_id": "conv_1"}
    ledger = ledger_of(
        call("a", None, sizes("user", "assistant"), (100, 50), **kept),
        call(
            "failed",
            None,
            sizes("user"),
            (0, 0),
            **kept | {"input_tokens": None, "output_tokens": None, "status_code": 500},
        ),
        call("b", None, sizes("user", "assistant"), (180, 20), **kept),
        call("small", None, sizes("user", "assistant"), (30, 20), **kept),  # it cannot hold what was there before
    )
    found = costs_of(ledger)
    assert found["a", "user"] == micro(250, 1, 250, 500)
    assert found["b", "user"] == micro(75, 0, 0, 75)
    assert found["small", "user"] == micro(75, 0, 0, 75)
    assert found["failed", "user"] == [Decimal(0), 0, Decimal(0), Decimal(0)]


def test_a_bill_is_shared_out_as_the_computed_cost_would_be(ledger_of: Any) -> None:
    ledger = ledger_of(
        call("a", None, sizes("user", "assistant"), (100, 50), billed_cost_usd=Decimal("0.0015")),  # twice
        call("b", "a", sizes("user", "assistant", earlier=200), (180, 20), billed_cost_usd=Decimal("0.000065")),  # 1/10
        call("c", "a", sizes("user", "assistant", earlier=200), (180, 20), response_model="unheard-of",
             request_model="unheard-of", billed_cost_usd=Decimal("0.0002")),
    )  # fmt: skip
    # c has no price: its bill is shared out by tokens, a millionth each; by size 120 of 180 are earlier ones
    assert costs_of(ledger)["a", "user"] == micro(500, 2, 25 + 80, 605)
    assert costs_of(ledger)["a", "assistant"] == micro(1000, 2, 12.5 + 40, 1052.5)


def test_a_call_without_a_price_is_counted_and_never_free(ledger_of: Any) -> None:
    unknown = {"request_model": "unheard-of", "response_model": "unheard-of"}
    ledger = ledger_of(
        call("a", None, sizes("user", "assistant"), (100, 50)),
        call("b", "a", sizes("user", "assistant", earlier=200), (180, 20), **unknown),
        call("c", "b", sizes("user", "assistant", earlier=400), (240, 10)),
    )
    found = costs_of(ledger)
    assert found["a", "user"][:2] == [*usd(250), 2]
    assert found["b", "assistant"][0] is None
    assert found["b", "assistant"][2] == found["b", "assistant"][3] > 0
    assert costs_of(ledger_of(call("a", None, sizes("user", "assistant"), (1, 1), **unknown)))["a", "user"] == (
        [None, 0, Decimal(0), None]
    )
    counted = ledger.sql("select call_id, unpriced_calls from message_costs order by call_id, message_index").rows()
    assert counted == [("a", 1), ("a", 1), ("b", 1), ("b", 1), ("c", 0), ("c", 0)]


def test_what_costs_nothing_costs_no_message_anything(ledger_of: Any) -> None:
    ledger = ledger_of(call("a", None, sizes("user", "assistant"), (100, 50), billed_cost_usd=Decimal(0)))
    assert [row[2:] for row in ledger.sql("select call_id, role, cost_usd from messages").rows()] == [(0,), (0,)]


def test_a_history_of_another_conversation_is_not_charged_to_this_one(ledger_of: Any) -> None:
    ledger = ledger_of(
        call("a", None, sizes("user", "assistant"), (100, 50), conversation_id="one"),
        call("b", "a", sizes("user", "assistant", earlier=200), (180, 20), conversation_id="two"),
    )
    assert costs_of(ledger)["a", "user"][1] == 0
    assert unattributed(ledger) == [("b", 150, *usd(375))]


def test_calls_that_go_on_with_each_other_end_nowhere_and_lose_nothing(ledger_of: Any) -> None:
    ledger = ledger_of(
        call("a", "b", sizes("user", "assistant", earlier=200), (100, 50)),
        call("b", "a", sizes("user", "assistant", earlier=200), (180, 20)),
    )
    assert ledger.sql("select count(*) from message_costs where is_attributed").item() == 4


def test_a_long_conversation_is_worked_out(ledger_of: Any) -> None:
    turns = 300
    rows = [call("0", None, sizes("user", "assistant"), (10, 10))]
    rows += [
        call(str(turn), str(turn - 1), sizes("user", "assistant", earlier=200 * turn), (10 + 20 * turn, 10))
        for turn in range(1, turns)
    ]
    found = costs_of(ledger_of(*rows))
    for turn in (0, 150, 299):
        assert found[str(turn), "user"] == micro(25, 299 - turn, 25 * (299 - turn), 25 * (300 - turn))


COUNTS = st.integers(0, 3000)
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "parent": st.none() | st.integers(0, 9),
            "by_id": st.booleans(),
            "prefix": st.sampled_from([[], ["1"], ["2"], ["9", "1"]]),
            "said": st.lists(st.sampled_from(["user", "tool", "assistant"]), max_size=4),
            "earlier": st.none() | COUNTS,
            "system": st.none() | st.sampled_from(["brief", "verbose"]),
            "input_tokens": st.none() | COUNTS | st.just(MAX_COUNT - 1),
            "output_tokens": st.none() | COUNTS,
            "cache_read_tokens": st.none() | COUNTS,
            "cache_write_tokens": st.none() | COUNTS,
            "reasoning_tokens": st.none() | COUNTS,
            "billed_cost_usd": st.none() | st.none() | st.decimals(0, 1000, places=10),
            "response_model": st.sampled_from(["gpt-4o", "gpt-4o", "unheard-of"]),
            "provider_conversation_id": st.none() | st.just("kept"),
            "conversation_id": st.sampled_from(["c", "c", "c", "d", None]),
            "has_sizes": st.sampled_from([True, True, True, False]),
        }
    ),
    min_size=4,
    max_size=16,
)


def row_of(number: int, drawn: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a call that was drawn; a parent may be any call, itself and later ones too."""
    said_of = {
        name: drawn.pop(name) for name in ("parent", "by_id", "prefix", "said", "earlier", "system", "has_sizes")
    }
    parts = [said("system", 300), said("tools", 200)] if said_of["system"] else []
    parts += [said("earlier", said_of["earlier"])] if said_of["earlier"] is not None else []
    parts += [said(role, 40) for role in sorted(said_of["said"], key=lambda role: role == "assistant")]
    parent = None if said_of["parent"] is None else str(said_of["parent"])
    return call_row(
        **drawn, call_id=str(number), span_id=str(number), response_id=f"r{number}", answer_digests=["1", "2"],
        prefix_digests=said_of["prefix"], system_digest=said_of["system"], cache_write_by_ttl=None,
        message_sizes=parts if said_of["has_sizes"] else None, parent_call_id=None if said_of["by_id"] else parent,
        previous_response_id=f"r{parent}" if parent and said_of["by_id"] else None,
        conversation_source="app" if drawn["conversation_id"] else None,
    )  # fmt: skip


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CALLS)
def test_whatever_was_called_messages_add_up_to_calls_turns_conversations_and_days(
    tmp_path_factory: Any, drawn: list[dict[str, Any]]
) -> None:
    rows = [row_of(number, dict(one)) for number, one in enumerate(drawn)]
    with turnledger.open(write_store(tmp_path_factory.mktemp("store"), rows).root) as ledger:
        assert disagreements(ledger) == {}


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus beside this checkout")
def test_recorded_conversations_add_up(tmp_path: Path) -> None:
    files = sorted(path for path in CORPUS.glob("*.har.gz") if path.stat().st_size < 1 << 20)  # for the sake of time
    recorded.imported(files, tmp_path)
    with turnledger.open(tmp_path) as ledger:
        assert disagreements(ledger) == {}
        assert ledger.sql("select count(*) from message_costs where times_resent > 0 and is_attributed").item() > 1000
