"""How an attempt ended, and whether that is billed, by its provider's document."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import turnledger
from store_rows import call_row, write_store
from turnledger.instrument.documents import parse_documents
from turnledger.instrument.frontmatter import DocumentError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def read(folder: Path, rows: Iterable[dict[str, Any]], query: str) -> list[tuple[Any, ...]]:
    """Return what a query says of the ledger of these rows."""
    with turnledger.open(write_store(folder, rows).root) as ledger:
        return ledger.sql(query).rows()


def sizes(asked: int = 40, answered: int | None = 20, *, media: int = 0, **others: int) -> list[dict[str, Any]]:
    """Return the sizes of a user's message, of an answer, and of what else there is, by role."""
    found = [{"role": role, "messages": 1, "size": size, "media": 0} for role, size in others.items()]
    found.append({"role": "user", "messages": 1, "size": asked, "media": media})
    if answered is not None:
        found.append({"role": "assistant", "messages": 1, "size": answered, "media": 0})
    return [{**item, "digest": None} for item in found]


CUT: dict[str, Any] = {
    "error_type": "stream_closed_early",
    "is_stream": True,
    "finish_reasons": None,
    "input_tokens": None,
    "output_tokens": None,
    "response_model": None,
}
SILENT: dict[str, Any] = {"provider": "writer", "surface": "chat.completions"}

OUTCOMES: list[tuple[str, dict[str, Any], tuple[str, bool | None, str | None]]] = [
    ("an answer", {}, ("complete", True, "as reported")),
    ("an answer without usage", {"input_tokens": None}, ("complete", True, "as reported")),
    ("a poll", {"surface": "responses.object"}, ("complete", False, "nothing")),
    ("a closed stream", CUT, ("aborted", True, "input and output so far")),
    ("a cancelled one", {**CUT, "error_type": "CancelledError"}, ("aborted", True, "input and output so far")),
    ("one that timed out", {**CUT, "error_type": "ReadTimeout"}, ("aborted", True, "input and output so far")),
    ("one closed behind its end", {**CUT, "finish_reasons": ["stop"]}, ("aborted", True, "input and output so far")),
    ("a router's", {**CUT, "provider": "openrouter"}, ("aborted", True, "at least input and output so far")),
    ("one that runs on", {**CUT, "provider": "groq"}, ("aborted", True, "whole answer")),
    ("a silent provider's", {**CUT, **SILENT}, ("aborted", None, None)),
    ("of nobody", {**CUT, "provider": None}, ("aborted", None, None)),
    ("one closed behind its usage", {"error_type": "stream_closed_early"}, ("complete", True, "as reported")),
    ("one the provider broke off", {**CUT, "error_type": "overloaded_error"}, ("failed", None, None)),
    ("a 429", {**CUT, "error_type": "429", "status_code": 429}, ("error", False, "nothing")),
    ("a silent provider's 429", {**CUT, **SILENT, "status_code": 429}, ("error", False, "nothing")),
    ("a 500", {**CUT, "error_type": "500", "status_code": 500}, ("error", False, "nothing")),
    (
        "a 400 that may be billed",
        {**CUT, "provider": "azure_openai", "error_type": "content_filter", "status_code": 400},
        ("error", None, None),
    ),
    ("a 401 of that one", {**CUT, "provider": "azure_openai", "status_code": 401}, ("error", False, "nothing")),
    ("no connection", {**CUT, "error_type": "ConnectError", "status_code": None}, ("unsent", False, "nothing")),
    ("no answer", {**CUT, "error_type": "ReadTimeout", "status_code": None}, ("timeout", None, None)),
    (
        "no answer of a router",
        {**CUT, "provider": "openrouter", "error_type": "ReadTimeout", "status_code": None},
        ("timeout", True, "whole answer"),
    ),
    (
        "a whole answer cut off",
        {**CUT, "provider": "openrouter", "error_type": "ReadTimeout", "is_stream": False},
        ("timeout", True, "whole answer"),
    ),
]


@pytest.mark.parametrize(("said", "expected"), [case[1:] for case in OUTCOMES], ids=[case[0] for case in OUTCOMES])
def test_how_an_attempt_ended_and_what_is_billed(said: dict[str, Any], expected: tuple[Any, ...], tmp_path: Path):
    assert read(tmp_path, [call_row(**said)], "select outcome, is_billed, billed from outcomes") == [expected]


REFUSED: dict[str, Any] = {"provider": "anthropic", "surface": "messages", "finish_reasons": ["refusal"]}


@pytest.mark.parametrize(
    ("said", "is_billed"),
    [
        ({**REFUSED, "output_tokens": 1, "message_sizes": sizes(answered=None)}, False),
        ({**REFUSED, "output_tokens": 9, "message_sizes": sizes(answered=None)}, None),
        ({**REFUSED, "output_tokens": 9, "message_sizes": sizes()}, True),
        ({**REFUSED, "provider": "azure_openai", "finish_reasons": ["content_filter"]}, True),
    ],
    ids=["before its first word", "behind something unseen", "in the middle", "where all is billed"],
)
def test_what_the_provider_declined(said: dict[str, Any], is_billed: bool | None, tmp_path: Path):
    found = read(tmp_path, [call_row(**said)], "select outcome, is_billed from outcomes")
    assert found == [("refused", is_billed)]


@pytest.mark.parametrize(
    ("front", "message"),
    [
        ('aborted_stream = "some"', "billing.aborted_stream: expected one of 'input and output so far', "),
        ('refusal = "nothing"', "billing.refusal: expected one of 'as reported', "),
        ('billed_statuses = ["200"]', "billing.billed_statuses: expected HTTP statuses of errors"),
        ('billed_statuses = ["many"]', "billing.billed_statuses: expected HTTP statuses of errors"),
        ('aborted_stream = "nothing"', "billing.source: expected to be there"),
        ('source = "https://x.test"', "billing.checked: expected to be there"),
    ],
)
def test_a_mistake_in_a_document_is_told(front: str, message: str):
    text = f'+++\nid = "x"\nname = "X"\nhosts = []\n[billing]\n{front}\n+++\n'
    with pytest.raises(DocumentError, match=message.replace(".", r"\.")):
        parse_documents({"x.md": text})


BATCH: dict[str, Any] = {
    "provider": "anthropic",
    "identifiers": [("batch_id", ["b1"])],
    "finish_reasons": None,
    **dict.fromkeys(("request_model", "response_model", "input_tokens", "output_tokens")),
}
MADE: dict[str, Any] = {**BATCH, "surface": "messages.batches", "operation": "create_batch"}
RESULTS: dict[str, Any] = {
    **BATCH,
    "surface": "messages.batches.results",
    "operation": "retrieve",
    "response_id": "b1",
    "response_model": "claude-haiku-4-5",
    "service_tier": "batch",
    "input_tokens": 1000,
    "output_tokens": 100,
}
COSTS = "select operation, cost_usd, cost_source, unpriced_reason from calls order by started_at"


def test_a_batch_is_not_free_before_its_results_are_read(tmp_path: Path):
    other = MADE | {"identifiers": [("batch_id", ["b2"])]}
    failed = MADE | {"status_code": 401, "error_type": "authentication_error"}
    found = read(tmp_path / "a", [call_row(**MADE), call_row(**other), call_row(**failed)], COSTS)
    assert found == [
        ("create_batch", None, None, "no usage reported"),
        ("create_batch", None, None, "no usage reported"),
        ("create_batch", 0, "unbilled", None),
    ]
    found = read(tmp_path / "b", [call_row(**MADE), call_row(**other), call_row(**RESULTS)], COSTS)
    assert found == [
        ("create_batch", 0, "unbilled", None),
        ("create_batch", None, None, "no usage reported"),
        ("retrieve", Decimal("0.00075"), "computed", None),
    ]


def test_results_that_are_read_again_are_billed_once(tmp_path: Path):
    found = read(tmp_path, [call_row(**RESULTS) for _ in range(3)], COSTS)
    assert found == [
        ("retrieve", Decimal("0.00075"), "computed", None),
        ("retrieve", None, "billed_elsewhere", None),
        ("retrieve", None, "billed_elsewhere", None),
    ]
