"""Importing HAR recordings: every entry is accounted for, and for the same entry there is one call."""

from __future__ import annotations

import base64
import gzip
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from har_files import ANTHROPIC, OPENAI, Folder, account, answered, entry, har
from turnledger.analysis.har import NOT_A_CALL
from turnledger.instrument.documents import load_documents
from turnledger.instrument.har_entry import to_exchange

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


# --- what becomes of entries


def test_every_entry_is_taken_or_skipped_for_a_reason(folder: Folder):
    report = folder.take_one(
        "mixed.har",
        har(
            entry(0),
            entry(1, url="https://example.com/page"),
            entry(2, url="https://api.openai.com/v1/fine_tuning/jobs"),
            {"request": "nonsense"},
            entry(3, url=ANTHROPIC),
            entry(4, url="https://api.openai.com/v1/models"),
            {},
        ),
    )
    skipped = {NOT_A_CALL: 1, "another endpoint of openai": 2, "malformed entry": 2}
    assert account(report) == (2, 0, skipped, None)
    assert [(row["source"], row["provider"]) for row in folder.rows()] == [
        ("mixed.har#0", "openai"),
        ("mixed.har#4", "anthropic"),
    ]


def test_a_row_says_what_the_entry_says(folder: Folder):
    folder.take_one("one.har", har(entry(7)))
    (row,) = folder.rows()
    assert (row["response_id"], row["request_id"], row["input_tokens"], row["output_tokens"]) == ("c-7", "req-7", 3, 2)
    assert row["started_at"] == datetime(2026, 11, 1, 12, 0, 0, 250_000, tzinfo=UTC)
    assert row["duration_ms"] == pytest.approx(1500.5)
    assert (row["service_name"], row["attempt_index"], row["call_id"]) == ("import", 0, row["span_id"])
    assert "sk-secret" not in json.dumps(row, default=str)


def test_importing_again_adds_nothing_under_whatever_name(folder: Folder):
    first = folder.write("a.har", har(entry(0), entry(1)))
    assert account(folder.take([first])[0]) == (2, 0, {}, None)
    assert account(folder.take([first])[0]) == (0, 2, {}, None)
    renamed = folder.write("b.har.gz", gzip.compress(har(entry(0), entry(1), entry(2))))
    assert account(folder.take([renamed])[0]) == (1, 2, {}, None)
    assert [row["source"] for row in folder.rows()] == ["a.har#0", "a.har#1", "b.har.gz#2"]


def test_the_same_entry_in_two_files_is_one_call_and_twice_in_one_file_two(folder: Folder):
    paths = [folder.write("a.har", har(entry(0), entry(0))), folder.write("b.har", har(entry(0)))]
    assert [account(report) for report in folder.take(paths)] == [(2, 0, {}, None), (0, 1, {}, None)]
    rows = folder.rows()
    assert len({row["span_id"] for row in rows}) == 2
    assert {row["response_id"] for row in rows} == {"c-0"}


def test_bodies_in_base64_are_decoded(folder: Folder):
    stream = b'data: {"id":"c-9","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":1}}\n\ndata: [DONE]\n\n'
    asked = base64.b64encode(b'{"model":"m-2","messages":[]}').decode()
    recorded = answered(9, text=base64.b64encode(stream).decode(), encoding="base64")
    recorded["request"] = {**recorded["request"], "postData": {"text": asked, "encoding": "base64"}}
    assert account(folder.take_one("b.har", har(recorded, answered(1, text="***", encoding="base64")))) == (
        1, 0, {"malformed entry": 1}, None
    )  # fmt: skip
    (row,) = folder.rows()
    assert (row["request_model"], row["response_id"], row["input_tokens"], row["is_stream"]) == ("m-2", "c-9", 5, True)


@pytest.mark.parametrize(
    "changed",
    [
        {"response": {"status": 200, "headers": None, "content": None}},
        {"response": {"status": 0}},
        {"response": {"status": 599, "headers": [], "content": {"text": "<html>"}}},
        {"time": None},
        {"time": -1},
        {"time": 1e300},
        {"startedDateTime": "yesterday"},
        {"startedDateTime": "9999-12-31T23:59:59.999Z"},
        {"startedDateTime": "1970-01-01T00:00:00Z"},
        {"startedDateTime": 5},
        {"_note": "\ud800"},
        {"cache": {}, "timings": {"wait": 0.1}, "_anything": [[[]]]},
    ],
    ids=str,
)
def test_odd_entries_are_calls_as_well(folder: Folder, changed: dict[str, Any]):
    assert account(folder.take_one("odd.har", har(entry(0, **changed), entry(1)))) == (2, 0, {}, None)
    assert len(folder.rows()) == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"request": None},
        {"response": None},
        {"request": {"method": "POST", "url": "https://[bad", "headers": []}},
        {"request": {"method": "POST", "headers": []}},
        {"response": {"status": "fine", "headers": []}},
        {"response": {"status": 200, "headers": ["x"]}},
        {"response": {"status": 200, "headers": [{"name": "x"}]}},
        {"time": "long"},
        {"request": {"method": "POST", "url": OPENAI, "headers": [], "postData": "text"}},
    ],
    ids=str,
)
def test_entries_that_are_none_are_counted(folder: Folder, changed: dict[str, Any]):
    assert account(folder.take_one("odd.har", har(entry(0, **changed), entry(1)))) == (
        1,
        0,
        {"malformed entry": 1},
        None,
    )


def test_a_time_that_was_not_recorded_is_the_response_s_or_unknown(folder: Folder):
    dated = {"status": 200, "headers": [{"name": "Date", "value": "Sun, 01 Nov 2026 12:00:05 GMT"}], "content": {}}
    said = answered(1, text='{"id":"c-1","created":1793534400}')
    entries = [entry(0, startedDateTime="1970-01-01T00:00:00Z", response=dated), {**said, "startedDateTime": None}]
    folder.take_one("t.har", har(*entries, {**answered(2, text="{}"), "startedDateTime": ""}))
    times = [row["started_at"] for row in folder.rows()]
    assert times == [datetime(2026, 11, 1, 12, 0, 5, tzinfo=UTC), datetime.fromtimestamp(1793534400, UTC), None]


def test_an_exchange_that_had_no_answer_is_an_error():
    exchange = to_exchange(entry(0, response={"status": 0, "headers": [], "content": {}}))
    assert (exchange.status_code, exchange.error_type) == (None, "no_response")


def test_other_documents_can_be_given(folder: Folder):
    registry = load_documents({"gateway.internal": "anthropic"})
    path = folder.write("g.har", har(entry(0, url="https://gateway.internal/v1/messages")))
    assert folder.take([path], registry=registry)[0].taken == 1
    assert folder.rows()[0]["provider"] == "anthropic"


def test_the_reports_are_those_of_the_files_in_their_order(folder: Folder):
    assert folder.take([]) == []
    paths = [folder.write(name, har(entry(number))) for number, name in enumerate(("z.har", "a.har"))]
    assert [report.path for report in folder.take(paths)] == paths
