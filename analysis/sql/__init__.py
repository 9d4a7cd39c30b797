"""The SQL models: one file, one view. ``ORDER`` is the one place that says which builds on which."""

from __future__ import annotations

from importlib import resources
from typing import Final

ORDER: Final = (
    "attempts",
    "call_keys",
    "matches",
    "continuations",
    "threads",
    "places",
    "strategies",
    "billable_calls",
    "same_responses",
    "gateway_links",
    "duplicates",
    "outcomes",
    "attempt_sizes",
    "bytes_per_token",
    "estimates",
    "rates",
    "kept_caches",
    "attempt_usage",
    "attempt_buckets",
    "attempt_costs",
    "billed_usage",
    "call_costs",
    "billed_differences",
    "calls",
    "unpriced_calls",
    "turns",
    "identity_conflicts",
    "histories",
    "message_tokens",
    "message_shares",
    "history_links",
    "message_payments",
    "message_costs",
    "messages",
    "conversations",
    "daily_spend",
    "provider_metadata",
)


TABLES: Final = frozenset(
    {
        *("call_keys", "matches", "continuations", "threads", "places", "strategies"),
        *("billable_calls", "same_responses", "gateway_links", "duplicates"),
        *("outcomes", "estimates", "rates", "kept_caches", "attempt_costs", "call_costs"),
    }
)
"""The models that are worked out once, when the ledger is opened, and not with every query: others build on them."""


def model_text(name: str) -> str:
    """Return the SQL of a model, its head comment included."""
    return (resources.files(__name__) / f"{name}.sql").read_text(encoding="utf-8")
