"""What a provider document says of the bill (``bills``, ``[billing]``): who sends it, what of failed calls is on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .frontmatter import Table

UNKNOWN: Final = "unknown"
CUT_OFF: Final = ("input and output so far", "at least input and output so far", "whole answer", "nothing", UNKNOWN)
"""What a request is billed that was given up on."""

REFUSED: Final = ("as reported", "nothing without output", UNKNOWN)
"""What a request is billed that the provider declined with a response that has usage."""

_CUT_OFF_KEYS: Final = ("aborted_stream", "stream_error", "timeout")
_FACTS: Final = ("stated_by", "source", "checked", "notes")


@dataclass(frozen=True, slots=True)
class Billing:
    """What is billed, by the provider's document; ``unknown`` where it does not say.

    Attributes:
        bills: whether the provider sends the bill; False for a gateway whose upstream does.
        aborted_stream: what of a stream is billed that the caller closed before its end.
        stream_error: what of one that the provider ended with an error.
        timeout: what of a request is billed that the caller gave up on before anything of the answer came.
        refusal: what of a request is billed that the provider declined.
        refusal_reasons: finish reasons that say so.
        billed_statuses: HTTP statuses of errors that may be billed; all others are not.
    """

    bills: bool = True
    aborted_stream: str = UNKNOWN
    stream_error: str = UNKNOWN
    timeout: str = UNKNOWN
    refusal: str = UNKNOWN
    refusal_reasons: tuple[str, ...] = ()
    billed_statuses: tuple[int, ...] = ()


def billing_of(document: Table) -> Billing:
    """Return what a document says of the bill.

    Args:
        document: its front matter.

    Raises:
        DocumentError: if a key is unknown, has a value that there is not, or nothing says where it is from.
    """
    table = document.table("billing")
    table.note(*_FACTS)
    found = Billing(
        bills=document.flag("bills", default=True),
        **{key: _one_of(table, key, CUT_OFF) for key in _CUT_OFF_KEYS},
        refusal=_one_of(table, "refusal", REFUSED),
        refusal_reasons=table.texts("refusal_reasons"),
        billed_statuses=_statuses(table),
    )
    table.finish()
    for key in ("source", "checked"):
        if table.values and key not in table.values:
            raise table.fail(key, "to be there: what a provider bills needs its page and the day it was read")
    return found


def _one_of(table: Table, key: str, words: tuple[str, ...]) -> str:
    said = table.text(key, UNKNOWN)
    if said not in words:
        raise table.fail(key, f"one of {', '.join(map(repr, words))}")
    return said


def _statuses(table: Table) -> tuple[int, ...]:
    expected = "HTTP statuses of errors, such as '408'"
    texts = table.texts("billed_statuses")
    statuses = [table.parsed("billed_statuses", int, text, expected) for text in texts]
    if not all(400 <= status <= 599 for status in statuses):  # noqa: PLR2004  the statuses of errors
        raise table.fail("billed_statuses", expected)
    return tuple(statuses)
