"""Reading HAR files: what is wrong is said in one line, what can be read is, and little is in memory."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from har_files import OPENAI, Folder, account, answered, entry, har
from turnledger.analysis import har as analysis_har
from turnledger.analysis import har_file
from turnledger.analysis.har_file import read_entries
from turnledger.analysis.unpacking import UnreadableError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


# --- what is wrong with files

CUT = gzip.compress(har(*(entry(number) for number in range(400))))


WRONG = [
    ("empty.har", b"", "parse error: premature EOF"),
    ("text.har", b"sk-secret-content", "lexical error: invalid char in json text."),
    ("list.har", b"[]", "it has no log.entries"),
    ("object.har", b'{"log": {}}', "it has no log.entries"),
    ("elsewhere.har", b'{"entries": [{}], "x": {"log": {"entries": [1]}}}', "it has no log.entries"),
    ("stale.har", b'{"log": [{"entries": 1}, [{}]]}', "it has no log.entries"),
    ("words.har", har("a", "b"), "log.entries holds something other than objects"),
    ("deep.har", har().replace(b'"pages": []', b'"pages": ' + b"[" * 90_000), "nested too deeply"),
    ("deep entry.har", har(entry(0, x=1)).replace(b'"x": 1', b'"x": ' + b"[" * 90_000), "nested too deeply"),
    ("digits.har", har(entry(0, x=1)).replace(b'"x": 1', b'"x": ' + b"9" * 9_000), "a number with too many digits"),
    ("plain.har.gz", b"\x1f\x8b no gzip at all", "Error -3 while decompressing data: unknown compression method"),
    ("more.har.gz", gzip.compress(har()) + b"and more", "something else follows the compressed data"),
]


@pytest.mark.parametrize(("name", "content", "why"), WRONG, ids=[name for name, _, _ in WRONG])
def test_a_file_that_is_no_recording_says_why_and_stops_no_other(folder: Folder, name: str, content: bytes, why: str):
    broken = folder.write(name, content)
    reports = folder.take([broken, folder.write("good.har", har(entry(0)))])
    assert [account(report) for report in reports] == [
        (0, 0, {}, f"not a readable HAR file ({why})"),
        (1, 0, {}, None),
    ]
    assert reports[0].path == broken


def test_a_file_that_is_not_there(folder: Folder):
    reports = folder.take([folder.path / "missing.har", folder.write("good.har", har(entry(0)))])
    assert [account(report) for report in reports] == [(0, 0, {}, "no such file"), (1, 0, {}, None)]


def test_a_folder_is_no_recording(folder: Folder):
    report = folder.take([folder.path])[0]
    assert report.error
    assert "not a readable HAR file" in report.error


@pytest.mark.parametrize("cut", [30, len(CUT) // 2, len(CUT) - 9, len(CUT) - 1])
def test_what_came_before_a_cut_is_kept(folder: Folder, cut: int):
    report = folder.take_one("cut.har.gz", CUT[:cut])
    assert report.error == "not a readable HAR file (the compressed data is cut off)"
    assert report.taken == len(folder.rows())
    assert (report.taken > 100) == (cut > 1000)
    whole = folder.take_one("whole.har.gz", CUT)
    assert (whole.taken + report.taken, whole.duplicates, whole.error) == (400, report.taken, None)


def test_damage_inside_a_file_keeps_what_came_before(folder: Folder):
    damaged = bytearray(CUT)
    damaged[len(CUT) // 2 : len(CUT) // 2 + 40] = b"\0" * 40
    report = folder.take_one("damaged.har.gz", bytes(damaged))
    assert report.error
    assert 100 < report.taken < 400
    half = folder.take_one("half.har", har(*(entry(number) for number in range(400, 800)))[:-40])
    assert half.error == "not a readable HAR file (parse error: premature EOF)"
    assert 300 < half.taken < 400


def test_files_in_parts_and_with_a_byte_order_mark_are_read(folder: Folder):
    text = har(entry(0), entry(1))
    parts = gzip.compress(text[:100]) + gzip.compress(text[100:]) + b"\0" * 8
    paths = [folder.write("parts.har.gz", parts), folder.write("mark.har", b"\xef\xbb\xbf" + har(entry(2)))]
    paths.append(folder.write("both.har.gz", gzip.compress(b"\xef\xbb\xbf" + har(entry(3)))))
    assert [account(report) for report in folder.take(paths)] == [(2, 0, {}, None), (1, 0, {}, None), (1, 0, {}, None)]


def test_a_store_that_cannot_be_written_is_not_the_recording_s_fault(folder: Folder):
    folder.store.root.write_text("a file where the store should be")
    with pytest.raises(OSError, match="store"):
        folder.take_one("a.har", har(entry(0)))


# --- how it is read


def test_progress_is_told_in_the_file_s_own_bytes(folder: Folder):
    path = folder.write("long.har.gz", gzip.compress(har(*(entry(number) for number in range(3000))), 1))
    told: list[tuple[Path, int, int]] = []
    folder.take([path], progress=lambda *told_now: told.append(told_now))
    reads = [read for _, read, _ in told]
    assert {(file, size) for file, _, size in told} == {(path, path.stat().st_size)}
    assert reads == sorted(reads)
    assert reads[-1] == path.stat().st_size
    assert all(after - before <= 1 << 17 for before, after in zip([0, *reads], reads, strict=False))


@pytest.mark.parametrize("packed", [False, True])
def test_one_entry_is_in_memory_at_a_time(folder: Folder, packed: bool):
    path, each = folder.path / "big.har", {**answered(0, text="x" * 20_000), "_pad": 0}
    with gzip.open(path, "wb", 1) if packed else path.open("wb") as file:
        file.write(b'{"log": {"entries": [')
        for number in range(1_000):
            file.write((b"," if number else b"") + json.dumps({**each, "_pad": number}).encode())
        file.write(b"]}}")
    tracemalloc.start()
    count = sum(1 for _ in read_entries(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 1_000
    assert peak < 2_000_000  # of 20 MB


def test_entries_come_before_the_file_is_read_to_its_end(folder: Folder):
    path = folder.write("long.har", har(*(entry(number) for number in range(2000))))
    told: list[int] = []
    next(read_entries(path, lambda _, read, __: told.append(read)))
    assert told[-1] < path.stat().st_size / 4


def test_what_the_parser_quotes_is_not_repeated(folder: Folder):
    path = folder.write("a.har", b'{"log": {"entries": [{"x": "sk-secret" oops')
    with pytest.raises(UnreadableError, match=r"^not a readable HAR file \(lexical error: [^\n]*\)$") as error:
        list(read_entries(path))
    assert "sk-secret" not in str(error.value)


# --- limits


def test_an_entry_that_is_too_large_ends_a_file_that_keeps_what_came_before(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(har_file, "MAX_ENTRY", 1 << 20)
    why = "or what stands before it, is over 1 MiB: take it out, or record without the bodies of files"
    large = answered(2, text="x" * 2_000_000)
    report = folder.take_one("large.har", har(entry(0), entry(1), large, entry(3)))
    assert account(report) == (2, 0, {}, f"not a readable HAR file (entry 2, {why})")
    page = har(entry(0)).replace(b'"pages": []', b'"pages": [{"title": "' + b"x" * 2_000_000 + b'"}]')
    assert account(folder.take_one("page.har", page)) == (0, 0, {}, f"not a readable HAR file (entry 0, {why})")
    many = har(*(entry(number, _pad="x" * 9_000) for number in range(5, 405)))
    assert account(folder.take_one("many.har", many)) == (400, 0, {}, None)


@pytest.mark.parametrize("encoding", [None, "base64"])
def test_a_body_that_is_too_large_is_left_out(folder: Folder, monkeypatch: pytest.MonkeyPatch, encoding: str | None):
    monkeypatch.setattr(analysis_har, "MAX_BODY", 10_000)
    asked = entry(1)
    asked["request"]["postData"] = {"text": "A" * 20_000, "encoding": encoding}
    entries = [answered(0, text="A" * 20_000, encoding=encoding), asked, entry(2)]
    assert account(folder.take_one("bodies.har", har(*entries))) == (1, 0, {"a body over 64 MiB": 2}, None)


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "body", [DEEP, '{"usage": ' + DEEP + "}", '{"usage": ' + "9" * 9_000 + "}", "data: " + DEEP + "\n\n"]
)
def test_bodies_nested_absurdly_and_absurd_numbers_are_calls_of_which_nothing_is_known(folder: Folder, body: str):
    asked = entry(1)
    asked["request"]["postData"]["text"] = body
    report = folder.take_one("deep.har", har(answered(0, text=body), asked, entry(2)))
    assert account(report) == (3, 0, {}, None)
    assert [(row["response_id"], row["input_tokens"]) for row in folder.rows()] == [
        (None, None),
        ("c-1", 3),
        ("c-2", 3),
    ]


def test_a_head_that_is_too_large_is_left_out(folder: Folder):
    many = [{"name": "x-request-id", "value": str(number)} for number in range(100_000)]
    asked, told = entry(0), entry(1)
    asked["request"]["headers"], told["response"]["headers"] = many, many
    long, large = entry(2, f"{OPENAI}?{'a=b&' * 300_000}"), entry(3)
    large["response"]["headers"] = [{"name": "x-request-id", "value": "x" * (1 << 20)}]
    odd = entry(4)
    odd["request"]["headers"] = "none"
    report = folder.take_one("heads.har", har(asked, told, long, large, odd, entry(5)))
    assert account(report) == (1, 0, {"a head over 1 MiB": 4, "malformed entry": 1}, None)


def test_few_digits_that_say_a_huge_number_cost_nothing(folder: Folder):
    text = har(entry(0), entry(1))
    text = text.replace(b'"status": 200', b'"status": 1e999999', 1).replace(b"1500.5", b"1e999999", 1)
    assert account(folder.take_one("huge.har", text)) == (2, 0, {}, None)
    assert [row["status_code"] for row in folder.rows()] == [None, 200]


def test_a_large_text_takes_no_more_reads_than_it_must(folder: Folder):
    reads: list[int] = []
    path = folder.write("text.har", har(answered(0, text="x" * (32 << 20))))
    entries = read_entries(path, lambda _, read, __: reads.append(read))
    parsed: list[int] = []
    metered = har_file._Metered.read

    def counted(self: har_file._Metered, size: int = -1) -> bytes:
        data = metered(self, size)
        parsed.append(len(data))
        return data

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(har_file._Metered, "read", counted)
        assert len(next(entries)["response"]["content"]["text"]) == 32 << 20
    assert len(parsed) < 50


def test_what_holds_too_many_values_is_refused(folder: Folder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(har_file, "MAX_VALUES", 1_000)
    report = folder.take_one("full.har", har(entry(0), entry(1, x=[{}] * 2_000)))
    assert account(report) == (
        1,
        0,
        {},
        "not a readable HAR file (entry 1 holds more than 5000000 values: take it out)",
    )
    monkeypatch.setattr(analysis_har, "MAX_VALUES", 1_000)
    full = answered(2, text=json.dumps({"x": [0] * 2_000}))
    assert account(folder.take_one("body.har", har(full, entry(3)))) == (1, 0, {"more than 5000000 values": 1}, None)
