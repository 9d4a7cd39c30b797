"""``turnledger doctor``: what of a ledger is missing, odd or uncertain, how often, and what to do about it."""

from __future__ import annotations

from typing import Annotated, Any, Final, NamedTuple

import polars as pl
import typer

from ..exporters.keys import KEY_FILE, KeyFileError, read_key
from .condition import condition, store_findings
from .ledger import Ledger, open_ledger
from .options import FormatOption, OutputOption, StoreOption
from .output import Format, format_of, write_frame
from .pricing.effective import DRIFT
from .shell import say

doctor_command: Final = typer.Typer()


class Check(NamedTuple):
    """Something to look at: a query of one row, how many and an example, and what to do about it."""

    finding: str
    query: str
    advice: str


CHECKS: Final = (
    Check(
        "calls with ids of two conversations",
        "select count(distinct call_id), min(concat(call_id, ': ', conversation_id, ', by ', other_source, ' ',"
        " other_conversation_id)) from identity_conflicts",
        "the first that applies counts (app, provider, sdk_session, messages): from identity_conflicts",
    ),
    Check(
        "calls that may continue several others",
        "select count(*), min(call_id) from continuations where candidates > 1",
        "say the conversation: turnledger.conversation() or observe(conversation=...)",
    ),
    Check(
        "calls sent with earlier answers that are not in the ledger",
        "select count(*), min(call_id) from threads where confidence is null",
        "record the calls before, or say the conversation",
    ),
    Check(
        "keys of message digests beyond the first",
        "select greatest(count(distinct digest_key) - 1, 0), max(digest_key) from spans",
        "calls of different keys are not stitched: keep meta/digest.key, and copy it along with the spans",
    ),
    Check(
        "calls recorded incompletely, by a failure of ours",
        "select count(*), min(span_id) from spans where json_extract_string(attributes, '$.\"turnledger.failed_step\"')"
        " is not null",
        "please report it, with the log line of the first one",
    ),
    Check(
        "calls whose usage contradicts itself",
        "select count(*), min(call_id) from calls where len(usage_problems) > 0",
        "see usage_problems of the calls; where it matters for the price they are in unpriced_calls",
    ),
    Check(
        "prices that the bills of calls do not bear out",
        "select count(*), min(concat(provider, ' ', model, ' ', upstream_provider, ' ', unit, ': billed at ',"
        f" effective_usd::double, ', listed at ', list_usd::double)) from effective_prices where abs(drift) > {DRIFT}",
        "see turnledger prices --effective; --accept takes them over into prices.toml",
    ),
    Check(
        "models whose computed costs are over 1 % off their bills",
        "select count(*), min(concat_ws(' ', provider, model, upstream_provider, round(difference_share, 4)))"
        " from billed_differences where abs(difference_share) > 0.01",
        "the bill is what counts; why it differs: from billed_differences, turnledger prices --effective",
    ),
    Check(
        "calls without a price",
        "select count(*), min(reason) from unpriced_calls",
        "see unpriced_calls",
    ),
)


def examine(ledger: Ledger) -> pl.DataFrame:
    """Return what was found: ``finding``, ``count``, ``example`` and ``advice``, a row each; none where all is well."""
    rows: list[dict[str, Any]] = [
        {"finding": problem, "count": 1, "example": None, "advice": "see the line itself"}
        for problem in (*ledger.problems, *_key_problems(ledger))
    ]
    rows += store_findings(ledger)
    for check in CHECKS:
        count, example = ledger.sql(check.query).row(0)
        if count:
            rows.append({"finding": check.finding, "count": count, "example": example, "advice": check.advice})
    schema = {"finding": pl.String, "count": pl.Int64, "example": pl.String, "advice": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _key_problems(ledger: Ledger) -> list[str]:
    path = ledger.store.storage.path(KEY_FILE)
    stored = ledger.sql("select distinct digest_key from spans where digest_key is not null")
    names: list[str] = stored["digest_key"].to_list()
    try:
        name = read_key(ledger.store).name
    except FileNotFoundError:
        return (
            [f"{path} is missing: the next call makes a new key, and is not stitched to earlier ones"] if names else []
        )
    except (KeyFileError, OSError) as error:
        return [str(error)]
    if names and name not in names:
        return [f"{path} is not the key of any call in the ledger: later calls are not stitched to earlier ones"]
    return []


@doctor_command.command()
def doctor(
    figures: Annotated[bool, typer.Option("--figures", help="Only the figures: files, spools, lags, losses.")] = False,
    store: StoreOption = None,
    form: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """Say what of the ledger is missing, odd or uncertain, what to do about it, and in what condition the store is."""
    with open_ledger(store) as ledger:
        chosen = format_of(form, output)
        found = condition(ledger) if figures else examine(ledger)
        if not figures and chosen is Format.TABLE and output is None:
            write_frame(condition(ledger), chosen, output)
        if found.height or chosen is not Format.TABLE or output is not None:
            write_frame(found, chosen, output)
        else:
            say("nothing to report")
