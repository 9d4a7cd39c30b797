"""Importing stored responses: a line says what its recording says as HAR, and every line is accounted for."""

from __future__ import annotations

import gzip
import json
import sqlite3
import subprocess
import sys
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import recorded
import turnledger
from har_files import Folder, account, entry, har
from hypothesis import given
from hypothesis import strategies as st
from store_rows import call_row, write_store
from turnledger.analysis import response_lines, unpacking
from turnledger.analysis.response_lines import SkippedError, moment_ns, parse_line, read_lines
from turnledger.analysis.responses import MESSAGE_ID, import_responses
from turnledger.exporters.batches import rows_table
from turnledger.exporters.spool import SpoolFile, batch_record
from turnledger.exporters.store import Store
from turnledger.instrument.documents import load_documents
from turnledger.instrument.facts import extract
from turnledger.instrument.har_entry import to_exchange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turnledger.analysis.taking import ImportReport

COMMAND = Path(sys.executable).parent / "turnledger"
GUIDE = (Path(__file__).parent.parent / "MIGRATING.md").read_text()
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
NOON_NS = int(NOON.timestamp()) * 10**9


def answer(number: int = 0, **changed: Any) -> dict[str, Any]:
    """Return a response's body."""
    made = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1793534400,
        "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello there."}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }
    return {**made, **changed}


def line(number: int = 0, **changed: Any) -> dict[str, Any]:
    """Return a line of an export."""
    made = {"response": answer(number), "provider": "openai", "conversation_id": "c-1", "message_id": 100 + number}
    return {**made, **changed}


def lines(*items: Any) -> bytes:
    """Return a file of lines; bytes stand as they are."""
    return b"\n".join(item if isinstance(item, bytes) else json.dumps(item).encode() for item in items)


class Lines(Folder):
    """A folder with exports and a store."""

    def take(self, paths: Sequence[Path], **options: Any) -> list[ImportReport]:
        """Import files."""
        return import_responses(paths, self.store, **options)

    def calls(self) -> list[dict[str, Any]]:
        """Return the calls of the ledger in order of their sources."""
        with turnledger.open(self.store.root) as ledger:
            return sorted(ledger.calls().rows(named=True), key=lambda row: row["source"])


@pytest.fixture
def folder(tmp_path: Path) -> Lines:
    return Lines(tmp_path)


def identifiers(row: dict[str, Any]) -> dict[str, list[str]]:
    """Return a row's identifiers by name, of a file's row or of the ledger's."""
    return dict(row["identifiers"]) if row["identifiers"] else {}


# --- the same as when it is recorded

SAME = (
    *("provider", "response_model", "response_id", "request_id", "finish_reasons", "service_tier", "error_type"),
    *("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_by_ttl"),
    *("reasoning_tokens", "computed_cost_usd", "billed_cost_usd", "cost_usd", "cost_source", "started_at"),
)
ASKED = ("request_model", "is_stream")
"""What is known with the request."""


def exported(path: Path, *, with_request: bool) -> list[dict[str, Any]]:
    """Return the lines that an application would have stored of a recording's answered calls."""
    registry, found = load_documents(), []
    for index, item in enumerate(recorded.entries(path)):
        exchange = to_exchange(item)
        facts = extract(exchange, registry)
        if facts is None or facts.usage.raw is None or exchange.status_code != 200:
            continue
        body = recorded.readable(item)
        found.append(
            {
                "response": json.loads(body) if index % 2 and body.startswith("{") and "\n" not in body else body,
                "headers": dict(exchange.response_headers) if index % 2 else list(exchange.response_headers),
                "provider": facts.provider,
                "model": facts.request_model,  # in some APIs it stands in the URL alone
                "conversation_id": "c-1",
                "message_id": f"{path.name}#{index}",
                "timestamp": item.get("startedDateTime"),
                "request": (exchange.request_body or b"").decode() if with_request else None,
            }
        )
    return found


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The calls of all recordings, imported as HAR, by their source."""
    here = tmp_path_factory.mktemp("recorded")
    recorded.imported(recorded.FILES, here)
    with turnledger.open(here) as ledger:
        billed = dict(ledger.sql("select source, billed_cost_usd from spans").rows())
        return {
            row["source"]: {**row, "billed_cost_usd": billed[row["source"]]} for row in ledger.calls().rows(named=True)
        }


@pytest.mark.parametrize("with_request", [False, True], ids=["response", "exchange"])
def test_a_stored_response_says_what_its_recording_says(
    folder: Lines, wanted: dict[str, dict[str, Any]], with_request: bool
):
    stored = [item for path in recorded.FILES for item in exported(path, with_request=with_request)]
    assert len({item["provider"] for item in stored}) > 20
    assert account(folder.take_one("a.jsonl", lines(*stored))) == (len(stored), 0, {}, None)
    rows = folder.calls()
    assert len(rows) == len(stored)
    for row in rows:
        ids = identifiers(row)
        [source] = ids.pop(MESSAGE_ID)
        want = wanted[source]
        names = [*SAME, *(ASKED if with_request and want["surface"] not in BINARY else ())]
        assert {name: row[name] for name in names} == {name: want[name] for name in names}, source
        assert (row["conversation_id"], row["conversation_source"]) == ("c-1", "app")
        said = {value for values in ids.values() for value in values}
        assert said <= {value for values in identifiers(want).values() for value in values}


BINARY = ("invoke.titan.stream",)
"""Its one event, read as text, looks like a plain response."""


def test_nothing_that_was_said_is_kept(folder: Lines):
    stored = line(1, request={"model": "gpt-4o", "messages": [{"role": "user", "content": "A secret question?"}]})
    stored["headers"] = {"Set-Cookie": "session=sk-secret-1", "X-Request-Id": "req-7", "Authorization": "sk-secret-2"}
    folder.take_one(
        "a.jsonl", lines(stored, line(2, message_id="sk-proj-" + "a1B2" * 12, response=json.dumps(answer(2))))
    )
    said = json.dumps(folder.rows(), default=str)
    assert all(text not in said for text in ("Hello there", "secret question", "sk-secret", "a1B2"))
    assert folder.rows()[0]["request_id"] == "req-7"


def test_calls_with_requests_are_put_together_by_their_messages(folder: Lines):
    first = [{"role": "user", "content": "Hello?"}]
    second = [*first, {"role": "assistant", "content": "Hello there."}, {"role": "user", "content": "And now?"}]
    asked = [{"model": "gpt-4o", "messages": messages} for messages in (first, second)]
    items = [{"response": answer(number), "provider": "openai", "request": asked[number]} for number in (0, 1)]
    parts = [folder.write("a.jsonl", lines({**items[0], "timestamp": NOON_NS // 10**9}))]
    parts.append(folder.write("b.jsonl", lines({**items[1], "timestamp": NOON_NS // 10**9 + 60})))
    folder.take(parts)
    rows = folder.calls()
    assert len({row["conversation_id"] for row in rows}) == 1
    assert {row["conversation_source"] for row in rows} == {"stitched"}
    assert [row["duration_ms"] for row in rows] == [None, None]  # unknown, not 0


# --- forms of responses


STREAM = [
    {"id": "c-9", "model": "gpt-4o", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}}]},
    {"id": "c-9", "model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 1}},
]
FORMS = {
    "object": answer(9, id="c-9"),
    "text": json.dumps(answer(9, id="c-9"), indent=2),
    "text of text": json.dumps(json.dumps(answer(9, id="c-9"))),
    "events": STREAM,
    "text of events": json.dumps(STREAM),
    "server-sent events": "".join(f"data: {json.dumps(event)}\n\n" for event in STREAM) + "data: [DONE]\n\n",
    "json lines": "\n".join(map(json.dumps, STREAM)),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_responses(folder: Lines, form: str):
    stored = {"response": FORMS[form], "provider": "api.openai.com"}
    assert account(folder.take_one("a.jsonl", lines(stored, stored))) == (1, 1, {}, None)
    (row,) = folder.rows()
    streamed = "event" in form or "lines" in form
    assert (row["response_id"], row["is_stream"]) == ("c-9", True if streamed else None)
    assert (row["input_tokens"], row["output_tokens"]) == ((5, 1) if streamed else (10, 5))


def test_whose_response_it_is(folder: Lines):
    items = [
        {"response": answer(0), "provider": "OpenAI"},
        {"response": answer(1), "provider": "azure.ai.openai"},
        {"response": answer(2)},
        {"response": answer(3), "provider": "nobody"},
    ]
    path = folder.write("a.jsonl", lines(*items))
    [report] = folder.take([path], provider="openrouter")
    assert account(report) == (3, 0, {"a provider that has no document": 1}, None)
    assert report.places == {"a provider that has no document": "line 4"}
    assert [row["provider"] for row in folder.rows()] == ["openai", "azure_openai", "openrouter"]
    told = Lines(folder.path / "told")
    told.path.mkdir()
    claude = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-3-5-haiku-20241022"}
    claude |= {"content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn"}
    claude["usage"] = {"input_tokens": 3, "output_tokens": 2}
    assert told.take_one("b.jsonl", lines({"response": claude}, {"response": answer(4)})).taken == 2
    assert [row["provider"] for row in told.rows()] == ["anthropic", "openai_compatible"]


def test_own_names_of_fields(folder: Lines):
    stored = {
        "raw": answer(1),
        "chat": "c-2",
        "pk": 7.0,
        "at": "2026-11-01 13:00:00+01:00",
        "who": "u-1",
        "llm": "openai",
    }
    names = {"response": "raw", "conversation_id": "chat", "message_id": "pk", "timestamp": "at", "user_id": "who"}
    [report] = folder.take([folder.write("a.jsonl", lines(stored))], fields={**names, "provider": "llm"})
    assert account(report) == (1, 0, {}, None)
    (row,) = folder.rows()
    assert (row["conversation_id"], row["conversation_source"], row["user_id"]) == ("c-2", "app", "u-1")
    assert (row["started_at"], row["source"], row["attempt_index"]) == (NOON, "a.jsonl#0", 0)
    assert identifiers(row)[MESSAGE_ID] == ["7"]


@pytest.mark.parametrize(
    ("options", "said"),
    [({"provider": "nobody"}, "no provider document 'nobody'"), ({"fields": {"respons": "x"}}, "no field 'respons'")],
)
def test_wrong_options_are_told(folder: Lines, options: dict[str, Any], said: str):
    with pytest.raises(ValueError, match=said):
        folder.take([], **options)


# --- times


@pytest.mark.parametrize(
    "said",
    [
        "2026-11-01T12:00:00Z",
        "2026-11-01T12:00:00",
        "2026-11-01 12:00:00",
        "2026-11-01 12:00:00.000000",
        "2026-11-01 12:00:00+00",
        "2026-11-01T14:00:00.000+02:00",
        "Sun, 01 Nov 2026 12:00:00 GMT",
        NOON_NS // 10**9,
        float(NOON_NS // 10**9),
        NOON_NS // 10**6,
        NOON_NS // 10**3,
        NOON_NS,
        str(NOON_NS // 10**9),
        f" {NOON_NS // 10**6} ",
        f"{NOON_NS // 10**9}.000",
    ],
)
def test_forms_of_times(said: Any):
    assert moment_ns(said) == NOON_NS


def test_times_are_exact():
    assert moment_ns("2026-11-01T12:00:00.123456Z") == NOON_NS + 123_456_000
    assert moment_ns(NOON_NS // 10**6 + 123) == NOON_NS + 123_000_000
    assert moment_ns(NOON_NS // 10**9 + 0.25) == NOON_NS + 250_000_000


@pytest.mark.parametrize("said", ["1970-01-01T00:00:00Z", "1999-12-31"])
def test_a_time_before_there_were_such_calls_is_none(said: str):
    assert moment_ns(said) is None


@pytest.mark.parametrize(
    "said", ["yesterday", "0000-00-00 00:00:00", 12, -1, True, [], {}, 1e300, float("nan"), float("inf"), "9" * 40]
)
def test_what_is_no_time(said: Any):
    with pytest.raises(SkippedError, match=r"^a timestamp that cannot be read$"):
        moment_ns(said)


def test_without_a_time_it_is_the_response_s_or_unknown(folder: Lines):
    folder.take_one("a.jsonl", lines(line(0), line(1, response=answer(1, created=None), timestamp=None)))
    assert [row["started_at"] for row in folder.rows()] == [datetime.fromtimestamp(1793534400, UTC), None]


# --- what becomes of lines


def test_bad_lines_are_counted_by_reason_with_their_first_line(folder: Lines):
    deep: Any = 1
    for _ in range(205):
        deep = [deep]
    items = [
        line(0),
        b"",
        b"{broken",
        [1],
        {"provider": "openai"},
        line(1, response="no JSON at all"),
        line(2, response=[1, 2]),
        line(3, timestamp="yesterday"),
        line(4, headers="sk-secret"),
        line(5, message_id={}),
        line(6, message_id=True),
        line(7, conversation_id="x" * 300),
        line(8, response={"x": 1}),
        {"response": {"x": 1}},
        line(9, request="Hello?"),
        line(10, extra=deep),
        line(11, response=json.dumps({"x": deep})),
        b'{"x": ' + b"9" * 9_000 + b"}",
        b"\xff\xfe",
        line(12),
    ]
    report = folder.take_one("bad.jsonl", lines(*items))
    assert (report.taken, report.duplicates, report.error) == (2, 0, None)
    assert {reason: (count, report.places[reason]) for reason, count in report.skipped.items()} == {
        "no JSON": (3, "line 3"),
        "no JSON object": (1, "line 4"),
        "nothing under 'response'": (1, "line 5"),
        "a response that is no JSON object and no stream of them": (2, "line 6"),
        "a timestamp that cannot be read": (1, "line 8"),
        "headers that cannot be read": (1, "line 9"),
        "a message_id that cannot be kept": (2, "line 10"),
        "a conversation_id that cannot be kept": (1, "line 12"),
        "no response of openai": (1, "line 13"),
        "no shape that one provider's responses alone have (say whose it is)": (1, "line 14"),
        "a request that is no JSON object and no stream of them": (1, "line 15"),
        "nested more than 200 deep": (2, "line 16"),
    }


def test_errors_are_calls_too(folder: Lines):
    folder.take_one(
        "a.jsonl", lines(line(1, response={"error": {"type": "rate_limit", "code": "x", "message": "Wait"}}))
    )
    (row,) = folder.rows()
    assert (row["error_type"], row["input_tokens"], row["span_status"]) == ("rate_limit", None, "ERROR")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ODD = st.fixed_dictionaries({}, optional=dict.fromkeys(response_lines.FIELDS, JSON))
BODIES = st.sampled_from([answer(1), answer(2, usage=[]), answer(3, choices={"x": "\ud800"}), *FORMS.values(), 1, "x"])
HOSTILE = (
    ODD.map(lambda item: json.dumps(item).encode())
    | st.builds(lambda item, body: json.dumps({**item, "response": body}).encode(), ODD, BODIES)
    | st.builds(
        lambda body, usage: json.dumps(line(0, response=answer(0, **{**body, "usage": usage}))).encode(), ODD, JSON
    )
    | st.binary(max_size=80).map(lambda data: data.replace(b"\n", b"").removeprefix(b"["))
)


@given(st.lists(HOSTILE, max_size=5))
def test_hostile_lines_are_all_accounted_for(tmp_path_factory: pytest.TempPathFactory, items: list[bytes]):
    here = Lines(tmp_path_factory.mktemp("hostile"))
    report = here.take_one("a.jsonl", lines(b"{}", *items, line(99)))
    written = sum(bool(item.strip()) for item in items) + 2
    assert report.error is None
    assert report.taken + report.duplicates + report.skipped.total() == written
    assert len(here.rows()) == report.taken > 0


# --- again


def test_importing_again_adds_nothing_under_whatever_name(folder: Lines):
    items = [line(number, timestamp=NOON_NS // 10**9 + number) for number in range(3)]
    first = folder.write("a.jsonl", lines(*items[:2]))
    assert account(folder.take([first])[0]) == (2, 0, {}, None)
    assert account(folder.take([first])[0]) == (0, 2, {}, None)
    respelt = [{**item, "response": json.dumps(item["response"], indent=1), "more": 1} for item in items]
    grown = folder.write("b.jsonl.gz", gzip.compress(lines(*respelt)))
    assert account(folder.take([grown])[0]) == (1, 2, {}, None)
    assert [row["source"] for row in folder.rows()] == ["a.jsonl#0", "a.jsonl#1", "b.jsonl.gz#2"]


def test_a_response_under_two_messages_is_one_call_and_one_without_an_id_is_told_by_its_message(folder: Lines):
    copied = [line(1), line(1, message_id=2, conversation_id="fork")]
    nameless = {**answer(2)}
    del nameless["id"]
    alike = [line(2, response=nameless, message_id=number) for number in (3, 4)]
    unnamed = [{"response": nameless, "provider": "openai"}] * 2
    path = folder.write("a.jsonl", lines(*copied, *alike, *unnamed))
    assert account(folder.take([path])[0]) == (5, 1, {}, None)
    assert account(folder.take([path])[0]) == (0, 6, {}, None)


def test_what_was_recorded_live_is_not_taken_again(folder: Lines):
    live = call_row(response_id="chatcmpl-1", provider="openai")
    unbilled = call_row(response_id="chatcmpl-2", provider="openai", input_tokens=None, output_tokens=None)
    write_store(folder.store.root, [live, unbilled])
    spool = SpoolFile(folder.store.spool, below=folder.store.spool.parent)
    for batch in rows_table([call_row(response_id="chatcmpl-4", provider="openai")]).to_batches():
        spool.append(batch_record(batch), batch.num_rows)
    spool.close()
    assert account(folder.take_one("a.jsonl", lines(*(line(number) for number in (1, 2, 3, 4))))) == (2, 2, {}, None)


# --- limits


def test_a_line_that_is_too_long_is_left_out_and_never_held(folder: Lines, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(response_lines, "MAX_LINE", 100_000)
    long = b'{"response": "' + b"x" * 9_000_000 + b'"}'
    path = folder.write("a.jsonl", lines(line(0), long, line(1), long))
    tracemalloc.start()
    read = list(read_lines(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(number, text is None) for number, text in read] == [(1, False), (2, True), (3, False), (4, True)]
    assert peak < 1_000_000
    [report] = folder.take([path])
    assert account(report) == (2, 0, {"a line over 64 MiB": 2}, None)
    assert report.places == {"a line over 64 MiB": "line 2"}


def test_a_line_that_holds_too_many_values_is_left_out(folder: Lines, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(response_lines, "MAX_VALUES", 1_000)
    report = folder.take_one("a.jsonl", lines(line(0), line(1, response=[{}] * 2_000)))
    assert account(report) == (1, 0, {"more than 5000000 values": 1}, None)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'[{"response": {}},\n{"response": {}}]', "it is one JSON array: write an object a line, as jq -c '.[]' does"),
        (b"\n \n[\n{}]", "it is one JSON array: write an object a line, as jq -c '.[]' does"),
        (b"\x1f\x8b no gzip at all", "Error -3 while decompressing data: unknown compression method"),
    ],
)
def test_files_that_are_none_stop_no_other(folder: Lines, content: bytes, why: str):
    paths = [folder.write("a.jsonl", content), folder.path / "missing.jsonl", folder.write("b.jsonl", lines(line(0)))]
    assert [account(report) for report in folder.take(paths)] == [
        (0, 0, {}, f"not a readable file of JSON lines ({why})"),
        (0, 0, {}, "no such file"),
        (1, 0, {}, None),
    ]


def test_what_came_before_a_cut_is_kept(folder: Lines):
    packed = gzip.compress(lines(*(line(number) for number in range(2_000))))
    report = folder.take_one("cut.jsonl.gz", packed[: len(packed) // 2])
    assert report.error == "not a readable file of JSON lines (the compressed data is cut off)"
    assert 500 < report.taken == len(folder.rows()) < 1_900
    whole = folder.take_one("whole.jsonl.gz", packed)
    assert (whole.taken + report.taken, whole.duplicates, whole.error) == (2_000, report.taken, None)


def bomb(before: bytes, zeros: int) -> bytes:
    """Return a gzip file of a good beginning and much of nothing."""
    return gzip.compress(before) + gzip.compress(b" " * zeros)


def test_archive_bombs_are_refused(folder: Lines):
    ratio = "it unpacks to more than 1000 times its size, as archive bombs do: unpack it yourself if it is none"
    report = folder.take_one("bomb.jsonl.gz", bomb(lines(line(0)) + b"\n", 100 << 20))
    assert account(report) == (1, 0, {}, f"not a readable file of JSON lines ({ratio})")
    recording = Folder(folder.path)
    report = recording.take_one("bomb.har.gz", bomb(har(entry(0))[:-2] + b",", 100 << 20))
    assert account(report) == (1, 0, {}, f"not a readable HAR file ({ratio})")


def test_files_that_unpack_to_too_much_are_refused(folder: Lines, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(unpacking, "MAX_UNPACKED", 200_000)
    report = folder.take_one("big.jsonl.gz", gzip.compress(lines(*(line(number) for number in range(2_000)))))
    assert report.taken > 300
    assert report.error
    assert "it unpacks to more than" in report.error
    assert "split it into smaller files" in report.error


def test_bodies_nested_absurdly_are_no_json(folder: Lines):
    deep = "[" * 100_000 + "]" * 100_000
    report = folder.take_one(
        "a.jsonl", lines(line(0, response='{"x":' + deep + "}"), line(1), b'{"x":' + deep.encode())
    )
    assert (report.taken, report.skipped.total(), report.error) == (1, 2, None)


# --- the guide


def blocks(language: str) -> list[str]:
    """Return the guide's blocks of a language."""
    return [part.partition("```")[0] for part in GUIDE.split(f"```{language}\n")[1:]]


SQLITE = [block for block in blocks("sql") if block.startswith("-- sqlite3 app.db")]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A database of an application with two tables, as the guide has them."""
    database = sqlite3.connect(tmp_path / "app.db")
    database.executescript(
        "create table conversation (id integer primary key, user_id text);"
        "create table message (id integer primary key, conversation_id integer, role text, provider text, model text,"
        " raw_response text, created_at text, prompt_tokens integer, completion_tokens integer);"
    )
    database.execute("insert into conversation values (1, 'u-1'), (2, null)")
    claude = next(item for item in exported(recorded.FOLDER / "anthropic.har.gz", with_request=False))
    rows = [
        (10, 1, "user", None, None, None, "2026-11-01 12:00:00", None, None),
        (11, 1, "assistant", "openai", "gpt-4o", json.dumps(answer(1)), "2026-11-01 12:00:05", 10, 5),
        (12, 1, "assistant", "openai", "gpt-4o", FORMS["server-sent events"], "2026-11-01 12:01:00", 5, 1),
        (13, 2, "assistant", "anthropic", None, json.dumps(claude["response"]), "2026-11-02 08:00:00", None, None),
        (14, 2, "assistant", "openai", "gpt-4o", "lost, not JSON", "2026-11-02 08:00:01", None, None),
    ]
    database.executemany("insert into message values (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    database.commit()
    database.close()
    return tmp_path


def export(app: Path, query: str) -> None:
    """Write what a query of the guide selects, a row a line, as the comment above it does."""
    with sqlite3.connect(app / "app.db") as database:
        text = "\n".join(row for (row,) in database.execute(query))
    database.close()
    (app / "responses.jsonl").write_text(text + "\n")


def run(app: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], cwd=app, capture_output=True, text=True, timeout=60, check=False)


def test_the_guide_moves_a_table_over(app: Path):
    export(app, SQLITE[0])
    done = run(app, "import", "responses", "responses.jsonl", "--store", "trial/", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [
        {
            "file": "responses.jsonl",
            "taken": 3,
            "already_there": 0,
            "skipped": 1,
            "skipped_why": "1 a response that is no JSON object and no stream of them (first: line 4)",
            "error": None,
        }
    ]
    with turnledger.open(app / "trial") as ledger:
        rows = sorted(ledger.calls().rows(named=True), key=lambda row: row["source"])
    assert [(row["conversation_id"], row["conversation_source"]) for row in rows] == [("1", "app")] * 2 + [("2", "app")]
    assert [identifiers(row)[MESSAGE_ID] for row in rows] == [["11"], ["12"], ["13"]]
    assert [row["provider"] for row in rows] == ["openai", "openai", "anthropic"]
    assert [row["input_tokens"] for row in rows][:2] == [10, 5]
    assert all(row["cost_usd"] > 0 for row in rows)
    assert rows[0]["started_at"] == datetime(2026, 11, 1, 12, 0, 5, tzinfo=UTC)


def test_the_guide_s_checks_run(app: Path):
    export(app, SQLITE[0])
    script = "\n".join(blocks("sh")).replace("turnledger ", f"{COMMAND} ")
    done = subprocess.run(["sh", "-e", "-c", script], cwd=app, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-4] == "message_id,response_id,cost_usd"
    assert sorted(row.split(",")[:2] for row in done.stdout.splitlines()[-3:])[:2] == [
        ["11", "chatcmpl-1"],
        ["12", "c-9"],
    ]


def test_the_guide_s_loop_exports_the_same(app: Path):
    [loop] = blocks("python")
    done = subprocess.run([sys.executable, "-W", "error", "-c", loop], cwd=app, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    export(app, SQLITE[0])
    store = Store.at(app / "store")
    reports = import_responses([app / "responses.jsonl", app / "responses.jsonl.gz"], store)
    assert [(report.taken, report.duplicates) for report in reports] == [(3, 0), (0, 3)]


def test_the_guide_moves_usage_columns_over(app: Path):
    export(app, SQLITE[1])
    here = Lines(app)
    path = app / "responses.jsonl"
    assert account(here.take([path])[0]) == (2, 0, {}, None)
    assert account(here.take([path])[0]) == (0, 2, {}, None)
    rows = here.calls()
    assert [(row["input_tokens"], row["output_tokens"], row["response_id"]) for row in rows] == [
        (10, 5, None),
        (5, 1, None),
    ]
    assert [row["surface"] for row in rows] == ["chat.completions"] * 2
    assert all(row["cost_usd"] > 0 for row in rows)


def test_the_guide_s_queries_for_other_databases_select_the_same():
    queries = [block for block in blocks("sql") if "'response', m.raw_response" in block]
    assert len(queries) == 3
    bodies = {query.partition("(\n")[2] for query in queries}
    assert len(bodies) == 1


# --- the command


def test_the_command_takes_names_and_a_provider(tmp_path: Path):
    (tmp_path / "a.jsonl").write_bytes(lines({"raw": answer(1)}))
    (tmp_path / "b.ndjson.gz").write_bytes(gzip.compress(lines({"raw": answer(2)})))
    done = run(
        tmp_path, "import", "responses", ".", "--field", "response=raw", "--provider", "openrouter", "-f", "json"
    )
    assert (done.returncode, [row["taken"] for row in json.loads(done.stdout)]) == (0, [1, 1])
    counted = run(tmp_path, "sql", "select provider, count(*) as n from calls group by all", "-f", "json")
    assert json.loads(counted.stdout) == [{"provider": "openrouter", "n": 2}]
    (tmp_path / "c.jsonl").write_text("[]")
    failed = run(tmp_path, "import", "responses", "c.jsonl", "a.jsonl", "--field", "response=raw", "-f", "json")
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: c.jsonl: not a readable file of JSON lines (it is one JSON array: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--field", "raw"], "'raw' is not like response=raw_response"),
        (["--field", "respons=raw"], "'respons=raw' is not like response=raw_response"),
        (["--provider", "nobody"], "no provider document 'nobody'"),
        (["empty"], "empty: there is no .jsonl or .jsonl.gz or .ndjson or .ndjson.gz file in this folder"),
    ],
)
def test_mistakes_are_wrong_usage(tmp_path: Path, arguments: list[str], said: str):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.jsonl").write_bytes(lines(line(0)))
    done = run(tmp_path, "import", "responses", "a.jsonl", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert not (tmp_path / "turnledger-data").exists()


def test_headers_of_every_form_are_read():
    for headers in (
        {"x-request-id": "r-1", "x-many": ["a", "b"]},
        [["x-request-id", "r-1"]],
        [{"name": "X-Request-Id", "value": "r-1"}],
        '{"X-Request-Id": "r-1"}',
        dict(httpx.Headers({"X-Request-Id": "r-1"})),
    ):
        found = parse_line(json.dumps(line(0, headers=headers)).encode(), {})
        assert ("x-request-id", "r-1") in found.exchange.response_headers
