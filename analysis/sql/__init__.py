"""The SQL models: one file, one view. ``ORDER`` is the one place that says which builds on which."""

from __future__ import annotations

from importlib import resources
from typing import Final

ORDER: Final = (
    "attempts",
    "rates",
    "attempt_usage",
    "attempt_costs",
    "chains",
    "calls",
    "unpriced_calls",
    "conversations",
    "daily_spend",
    "provider_metadata",
)


def model_text(name: str) -> str:
    """Return the SQL of a model, its head comment included."""
    return (resources.files(__name__) / f"{name}.sql").read_text(encoding="utf-8")
