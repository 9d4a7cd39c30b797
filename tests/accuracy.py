"""How close computed costs come to what providers billed, measured on recordings; ``make accuracy`` runs it.

Every call whose response says its cost is priced by turnledger, by the price book alone, and by the price table that
litellm ships. The latter two get the usage as the response has it, and the model as it is named.

    accuracy.py STORE [--table model_prices.json]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import turnledger
from genai_prices import Usage, calc_price
from turnledger.instrument.documents import load_documents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from turnledger.analysis.ledger import Ledger

    Pricer = Callable[[dict[str, Any]], Decimal | None]

WITHIN = Decimal("0.01")
BILLS = """
    select call_id, source, provider, request_model, response_model, upstream_provider, started_at, raw_usage,
        billed_cost_usd as billed, computed_cost_usd as computed
    from calls where billed_cost_usd > 0 order by source, call_id
"""
REASONS = "select call_id, min(unpriced_reason) from attempt_costs where unpriced_reason is not null group by call_id"
OTHER_TIMES = """
    select distinct used.call_id,
        costs.computed_cost_usd + used.own_input * (rates.input_usd - used.input_usd)
            + used.own_output * (rates.output_usd - used.output_usd)
    from attempt_buckets as used
    inner join attempt_costs as costs on used.span_id = costs.span_id
    inner join rates on used.card = rates.card and used.over_input_tokens = rates.over_input_tokens
    where used.billed_cost_usd > 0
"""
HEAD = ("", "bills", "without a price", "within 1 %", "of those priced", "sum of those priced, against their bills")


class Score(NamedTuple):
    """How the prices of some calls compare with their bills."""

    bills: int
    priced: int
    right: int
    billed: Decimal
    computed: Decimal

    def cells(self) -> tuple[str, ...]:
        """Return what a table shows of it."""
        share = f"{self.right / self.priced:.1%}" if self.priced else "-"
        off = f"{self.computed / self.billed - 1:+.2%}" if self.billed else "-"
        return str(self.bills), str(self.bills - self.priced), str(self.right), share, off


def is_right(billed: Decimal, usd: Decimal) -> bool:
    """Tell whether a price is within 1 % of the bill."""
    return abs(usd - billed) <= WITHIN * billed


def score(rows: Sequence[dict[str, Any]], price: Pricer) -> Score:
    """Compare the prices of calls with their bills."""
    found = [(row["billed"], usd) for row in rows if (usd := price(row)) is not None]
    right = sum(is_right(billed, usd) for billed, usd in found)
    billed, usd = sum((item[0] for item in found), Decimal()), sum((item[1] for item in found), Decimal())
    return Score(len(rows), len(found), right, billed, usd)


def plain_usage(row: dict[str, Any]) -> tuple[int, int, int] | None:
    """Return input, cached input and output as a response that follows the usual names counts them."""
    said = json.loads(row["raw_usage"] or "{}")
    read = said.get("prompt_tokens", said.get("input_tokens"))
    if not isinstance(read, int):
        return None
    details = said.get("prompt_tokens_details") or said.get("input_tokens_details") or {}
    return read, details.get("cached_tokens") or 0, said.get("completion_tokens", said.get("output_tokens")) or 0


def names(row: dict[str, Any]) -> list[str]:
    """Return what a call's model is called, the response's word first."""
    return [name for name in (row["response_model"], row["request_model"]) if name]


def by_the_book_alone() -> Pricer:
    """Return what calling the price book directly gives."""
    documents = load_documents().documents

    def price(row: dict[str, Any]) -> Decimal | None:
        usage = plain_usage(row)
        if usage is None:
            return None
        counted = Usage(input_tokens=usage[0], cache_read_tokens=usage[1] or None, output_tokens=usage[2])
        provider = documents[row["provider"]].price_provider
        for name in names(row):
            try:
                found = calc_price(counted, name, provider_id=provider, genai_request_timestamp=row["started_at"])
            except (LookupError, ValueError):
                continue
            return found.total_price
        return None

    return price


def by_table(path: Path) -> Pricer:
    """Return what a table of prices by model name gives, as litellm's ``model_prices_and_context_window`` has them."""
    table = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)

    def price(row: dict[str, Any]) -> Decimal | None:
        usage = plain_usage(row)
        keys = [key for name in names(row) for key in (f"{row['provider']}/{name}", name)]
        entry: dict[str, Any] = next((table[key] for key in keys if key in table), {})
        if usage is None or "input_cost_per_token" not in entry:
            return None
        read, cached, written = usage
        fresh = Decimal(entry["input_cost_per_token"])
        reread = Decimal(entry.get("cache_read_input_token_cost") or fresh)
        return (read - cached) * fresh + cached * reread + written * Decimal(entry.get("output_cost_per_token") or 0)

    return price


def causes(ledger: Ledger, rows: Iterable[dict[str, Any]]) -> list[tuple[dict[str, Any], str]]:
    """Return the calls that have no price, or one that is off, with the cause as far as the records tell it."""
    reasons = dict(ledger.sql(REASONS).rows())
    other_times = ledger.sql(OTHER_TIMES).rows()
    found: list[tuple[dict[str, Any], str]] = []
    for row in rows:
        billed, computed = row["billed"], row["computed"]
        if computed is not None and is_right(billed, computed):
            continue
        if computed is None:
            cause = f"no price: {reasons.get(row['call_id'], 'no usage reported')}"
        elif any(call == row["call_id"] and usd is not None and is_right(billed, usd) for call, usd in other_times):
            cause = "the price was another then: the book dates its change otherwise"
        elif row["upstream_provider"]:
            cause = "the upstream asks another price than the router lists"
        else:
            cause = "which upstream served it is not said"
        found.append((row, cause))
    return found


def say(*cells: str) -> None:
    """Print a row of a Markdown table."""
    sys.stdout.write(f"| {' | '.join(cells)} |\n")


def main() -> None:
    """Print how near each way of pricing comes to the bills, and every miss of ours with its cause."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--table", type=Path, help="litellm's table of prices")
    told = parser.parse_args()
    pricers: dict[str, Pricer] = {
        "turnledger": lambda row: row["computed"],
        "the price book alone": by_the_book_alone(),
    }
    if told.table is not None:
        pricers["litellm's table"] = by_table(told.table)
    with turnledger.open(told.store) as ledger:
        rows = ledger.sql(BILLS).to_dicts()
        missed = causes(ledger, rows)
        version = ledger.book.version
    sys.stdout.write(f"Bills of recorded calls and what they compute to, by {version}\n\n")
    say(*HEAD)
    say(*("---",) * len(HEAD))
    for name, price in pricers.items():
        say(name, *score(rows, price).cells())
    for provider, number in sorted(Counter(row["provider"] for row in rows).items()):
        of_it = [row for row in rows if row["provider"] == provider]
        say(f"turnledger, {provider} ({number})", *score(of_it, pricers["turnledger"]).cells())
    sys.stdout.write("\nThe rest, by cause\n\n")
    say("calls", "cause", "which: model, upstream, computed / billed")
    say("---", "---", "---")
    for cause, number in Counter(cause for _, cause in missed).most_common():
        said = [_of_miss(row) for row, why in missed if why == cause]
        say(str(number), cause, "; ".join(dict.fromkeys(said)))


def _of_miss(row: dict[str, Any]) -> str:
    ratio = "" if row["computed"] is None else f" {row['computed'] / row['billed']:.2f}"
    who = f" ({row['upstream_provider']})" if row["upstream_provider"] else ""
    return f"{names(row)[0] if names(row) else '-'}{who}{ratio}"


if __name__ == "__main__":
    main()
