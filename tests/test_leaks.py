"""No credential and nothing that people or models wrote is anywhere in a store's folder, whatever is in it.

Every file is read as it is, spools decoded, columns of Parquet decompressed. That the search finds what is there is
shown with content capture on.
"""

from __future__ import annotations

import base64
import gzip
import json
import logging
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import recorded
import turnledger
from store_bytes import pieces
from turnledger.analysis.har import import_har
from turnledger.exporters.reporting import REPORT
from turnledger.exporters.snapshot import snapshot
from turnledger.exporters.store import Store
from turnledger.instrument import health
from turnledger.instrument.wire import decode_body

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

CANARY = "sk-canary-0c7d25e9b1a84f6633"
CONTENT_CANARY = "canary-in-a-message-93b1"
HEADERS = (
    *("Authorization", "x-api-key", "api-key", "x-goog-api-key", "Cookie", "Proxy-Authorization", "X-Auth-Token"),
    *("X-Amz-Security-Token", "openai-api-key", "Ocp-Apim-Subscription-Key", "X-Client-Secret"),
)
FIELDS = ("key", "api_key", "access_token", "token", "X-Amz-Signature", "X-Amz-Credential", "sig")
WINDOW = 20
"""Characters of a text by which it is found: a part of that length gives it away."""
SETS = [recorded.FILES[start::3] for start in range(3)]


# --- what is looked for


def planted(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry with a canary wherever clients and servers put credentials."""
    copy = json.loads(json.dumps(entry))
    asked, answered = copy["request"], copy["response"]
    asked["headers"] = [item for item in asked["headers"] if item["name"].lower() != "authorization"]
    asked["headers"] += [{"name": name, "value": CANARY} for name in HEADERS[1:]]
    basic = base64.b64encode(f"user:{CANARY}".encode()).decode()
    asked["headers"].append({"name": HEADERS[0], "value": f"Basic {basic}"})
    asked["url"] += ("&" if "?" in asked["url"] else "?") + "&".join(f"{name}={CANARY}" for name in FIELDS)
    signed = f"https://user:{CANARY}@files.test/a?sig={CANARY}"
    answered["headers"] += [
        {"name": "Set-Cookie", "value": f"session={CANARY}; path=/"},
        {"name": "X-Refreshed-Token", "value": CANARY},
        {"name": "Link", "value": f"<{signed}>; rel=next"},
    ]
    return copy


def secrets(text: str) -> list[bytes]:
    """Return how a secret may be written: as it is, and in each of the three ways of base64."""
    plain = text.encode()
    return [plain, plain.hex().encode(), *(base64.b64encode(b"x" * shift + plain)[4:-4] for shift in range(3))]


def leaves(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every text of a JSON document and every key, with the keys above it."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield path, key
            yield from leaves(value, (*path, key))
    elif isinstance(node, list):
        for value in node:
            yield from leaves(value, path)
    elif isinstance(node, str):
        yield path, node


def written(entry: dict[str, Any], *, together: bool = True) -> Iterator[str]:
    """Yield what people and models wrote in an exchange; of a stream also what its pieces are ``together``."""
    asked = (entry["request"].get("postData") or {}).get("text") or ""
    for body in (asked.encode(), recorded.answer_of(entry)):
        documents = decode_body(body).documents
        joined: dict[tuple[str, ...], str] = {}
        for document in documents:
            for path, text in leaves(document):
                yield text
                joined[path] = joined.get(path, "") + text
        yield from joined.values() if together and len(documents) > 1 else ()
        if not documents:
            yield body.decode("utf-8", "replace")


def windows(texts: Iterable[str]) -> set[bytes]:
    """Return pieces of those texts that have blanks, as they are and as JSON writes them, once and twice."""
    found: set[bytes] = set()
    for text in texts:
        if " " not in text or len(text) < WINDOW:
            continue
        once, ascii_only = json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1]
        for form in {text, once, ascii_only, json.dumps(once, ensure_ascii=False)[1:-1]}:
            data = form.encode("utf-8", "replace")
            edges = pairwise(range(0, len(data) + 1, WINDOW))
            found.update(data[start:end] for start, end in edges if b" " in data[start:end])
    return found


def prose_in(data: bytes, wanted: set[bytes]) -> set[bytes]:
    """Return what of that is in some bytes."""
    return {data[at : at + WINDOW] for at in range(len(data) - WINDOW + 1)} & wanted


def found_in(folder: Path, wanted: set[bytes], needles: list[bytes]) -> list[tuple[str, bytes]]:
    """Return what is found in a store, and where."""
    found: list[tuple[str, bytes]] = []
    for piece in pieces(Store.at(folder)):
        found += [(piece.place, needle) for needle in needles if needle in piece.data]
        found += [(piece.place, text) for text in prose_in(piece.data, wanted)]
    return found


# --- stores


@pytest.fixture(autouse=True)
def counted(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG, "turnledger")
    health.reset()
    yield
    turnledger.uninstrument()
    health.reset()


def entries(paths: Iterable[Path]) -> list[dict[str, Any]]:
    return [entry for path in paths for entry in recorded.entries(path)]


def live(folder: Path, exchanges: list[dict[str, Any]], **options: Any) -> None:
    """Have exchanges captured, half of them by a process that has ended: those are Parquet, the others in the spool."""
    half = len(exchanges) // 2
    for part in (exchanges[:half], exchanges[half:]):
        turnledger.uninstrument()
        turnledger.instrument(store=folder, **options)
        for entry in part:
            recorded.replay(planted(entry))
        fail(exchanges[0])
        assert turnledger.flush(60)


def fail(entry: dict[str, Any]) -> None:
    """Have an exchange captured whose answer cannot be unpacked, so that there is something to count and to log."""
    sent = planted(entry)
    headers = {item["name"]: item["value"] for item in sent["request"]["headers"] if item["name"] in HEADERS}
    answer = gzip.compress(recorded.answer_of(entry))[:-20]
    answered = {"content-encoding": "gzip", "set-cookie": f"a={CANARY}"}
    transport = httpx.MockTransport(
        lambda _: httpx.Response(200, headers=answered, stream=httpx.ByteStream(answer[5:]))
    )
    body = (sent["request"].get("postData") or {}).get("text") or ""
    with httpx.Client(transport=transport) as client:
        options: dict[str, Any] = {"headers": headers, "content": body.encode()}
        with client.stream("POST", sent["request"]["url"], **options) as response:
            assert b"".join(response.iter_raw()) == answer[5:]


def rows_of(folder: Path) -> tuple[int, int, list[str]]:
    """Return how many spans are Parquet and how many in spools, and in which folders there are files."""
    store = Store.at(folder)
    found = snapshot(store)
    with turnledger.open(folder) as ledger:
        total = ledger.sql("select count(*) from spans").item()
    spooled = sum(batch.num_rows for batch in found.spooled)
    kinds = sorted({path.relative_to(folder).parts[0] for path in folder.rglob("*") if path.is_file()})
    return total - spooled, spooled, kinds


@pytest.mark.parametrize("paths", SETS, ids=["first", "second", "third"])
def test_a_live_store(paths: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture):
    exchanges = entries(paths)
    wanted, needles = windows(text for entry in exchanges for text in written(entry)), secrets(CANARY)
    live(tmp_path, exchanges)
    stored, spooled, kinds = rows_of(tmp_path)
    assert stored >= len(exchanges) // 3
    assert spooled >= len(exchanges) // 3
    assert kinds == ["meta", "spans", "spool"]
    assert len(wanted) > 300
    assert found_in(tmp_path, wanted, needles) == []
    turnledger.uninstrument()
    with turnledger.open(tmp_path) as ledger:
        assert ledger.sql("select count(*) from spans where name = ?", [REPORT]).item() == 2
    assert found_in(tmp_path, wanted, needles) == []
    assert_log_is_clean(caplog, wanted, needles)


def assert_log_is_clean(caplog: pytest.LogCaptureFixture, wanted: set[bytes], needles: list[bytes]) -> None:
    assert "capture.decode failed" in caplog.text
    ours = "\n".join(caplog.handler.format(record) for record in caplog.records if record.name == "turnledger")
    assert [needle for needle in needles if needle in ours.encode()] == []
    assert prose_in(ours.encode(), wanted) == set()


@pytest.mark.parametrize("paths", SETS, ids=["first", "second", "third"])
def test_an_imported_store(paths: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture):
    files: list[Path] = []
    for path in paths:
        files.append(tmp_path / path.name)
        log = {"entries": [planted(entry) for entry in recorded.entries(path)]}
        files[-1].write_bytes(gzip.compress(json.dumps({"log": log}).encode(), 1))
    exchanges = entries(paths)
    reports = import_har(files, Store.at(tmp_path / "store"))
    assert sum(report.taken for report in reports) >= len(exchanges) - 1
    wanted, needles = windows(text for entry in exchanges for text in written(entry)), secrets(CANARY)
    assert found_in(tmp_path / "store", wanted, needles) == []
    assert prose_in(caplog.text.encode(), wanted) == set()
    assert CANARY not in caplog.text


# --- that the search finds what is there


@pytest.mark.parametrize("in_spool", [True, False], ids=["spool", "parquet"])
def test_content_is_found_where_it_was_asked_for(in_spool: bool, tmp_path: Path):
    exchanges = entries(SETS[0])
    said = next(entry for entry in exchanges if '"messages"' in entry["request"]["postData"]["text"])
    body = json.loads(said["request"]["postData"]["text"])
    body["messages"] = [{"role": "user", "content": f'Please keep "{CONTENT_CANARY}"\nin this very message.'}]
    said["request"]["postData"]["text"] = json.dumps(body)
    turnledger.instrument(store=tmp_path, capture_content=True)
    for entry in exchanges:
        recorded.replay(planted(entry))
    assert turnledger.flush(60)
    if not in_spool:
        turnledger.uninstrument()
    places = "(decoded): content" if in_spool else "parquet: content"
    # What was recorded as binary is kept as it was sent: JSON in base64 in frames.
    texts = [entry for entry in exchanges if entry["response"]["content"].get("encoding") != "base64"]
    wanted = [windows(written(entry, together=False)) for entry in texts]
    found = {text for place, text in found_in(tmp_path, set().union(*wanted), []) if place.endswith(places)}
    assert [one for one in wanted if one and not one & found] == []
    assert sum(map(bool, wanted)) > 30
    kept = [place for place, _ in found_in(tmp_path, set(), secrets(CONTENT_CANARY))]
    assert any(place.endswith(places) for place in kept)
    assert found_in(tmp_path, set(), secrets(CANARY)) == []


def test_every_file_of_a_store_is_searched(tmp_path: Path):
    live(tmp_path, entries(SETS[0])[:6])
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    searched = {piece.place for piece in pieces(Store.at(tmp_path))}
    assert files <= searched
    assert {place.rpartition(" ")[2] for place in searched} >= {"raw_metadata", "identifiers", "attributes", "name"}
    (tmp_path / "meta" / "note").write_text(f"a: {CANARY}")
    assert found_in(tmp_path, set(), secrets(CANARY)) == [("meta/note", CANARY.encode())]
