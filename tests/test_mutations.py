"""Recorded exchanges with something wrong in them, sent by real clients.

The application notices nothing of us, every exchange has its row, the store stays readable, nothing grows, and no
credential is anywhere in it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import mutated_calls
import pytest
import turnledger
from mutants import CANARY, Mutant, mutant
from sizes import sized
from store_bytes import pieces
from turnledger.exporters.reporting import ORDINARY
from turnledger.exporters.store import Store
from turnledger.instrument import health
from turnledger.instrument.documents import load_documents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZES = {
    "httpx2": sized(900, 60_000),
    "httpx": sized(200, 12_000),
    "httpx2 async": sized(200, 12_000),
    "requests": sized(100, 8_000),
    "aiohttp": sized(100, 8_000),
}
EXPLAINED = ORDINARY | {
    "capture.decode",  # a body that is not packed as its header says: nothing of it can be read
    "worker.inline",  # the queue was full: the work was done where it came from
}
"""What may be counted; anything else is a failure of ours that nothing here explains."""
GROWTH = {"python": sized(2, 4) << 20, "arrow": 1 << 20, "rss": 96 << 20}
"""Bytes by which a process may grow from N to 2 N exchanges, whatever N: what is remembered of calls has bounds."""


def digest(outcome: object) -> bytes:
    return hashlib.blake2b(repr(outcome).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def calls(numbers: range, client: str) -> Iterator[tuple[Mutant, bytes]]:
    """Send mutants, and wait for the books now and then."""
    for done, (sent, outcome) in enumerate(mutated_calls.CLIENTS[client](numbers), 1):
        yield sent, digest(outcome)
        if done % mutated_calls.AT_ONCE == 0:
            assert turnledger.flush(60)


def may_be_no_call(sent: Mutant) -> bool:
    """Tell whether a surface of this address is told by what the exchange holds, which may be mutated."""
    url = urlsplit(sent.url)
    match = load_documents().match(sent.method, url.netloc, url.path)
    assert match is not None
    return bool(match.surface.requires)


def secrets() -> list[bytes]:
    """Return how the canary may be written: as it is, and in each of the three ways of base64."""
    plain = CANARY.encode()
    packed = [base64.b64encode(b"x" * shift + plain)[4:-4] for shift in range(3)]
    return [plain, plain.hex().encode(), *packed]


@pytest.fixture(autouse=True)
def counted() -> Iterator[None]:
    health.reset()
    yield
    turnledger.uninstrument()
    health.reset()


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # as an error it would be sent by nobody
@pytest.mark.parametrize("client", SIZES)
def test_mutated_exchanges(client: str, tmp_path: Path):
    first = sum(list(SIZES.values())[: list(SIZES).index(client)])
    numbers = range(first, first + SIZES[client])
    plain = [outcome for _, outcome in calls(numbers, client)]
    turnledger.instrument(store=tmp_path / "store")
    due: dict[int, bool] = {}
    for (sent, outcome), expected in zip(calls(numbers, client), plain, strict=True):
        assert outcome == expected, f"with capture the application gets something else: {sent}"
        url = urlsplit(sent.url)
        if load_documents().match(sent.method, url.netloc, url.path) is not None:
            due[sent.number] = may_be_no_call(sent)
    assert turnledger.flush(60)
    assert_no_secret(tmp_path / "store")
    turnledger.uninstrument()
    counts = health.snapshot()
    assert set(counts) <= EXPLAINED, counts
    assert_every_call_is_there(tmp_path / "store", due, counts.get("extract.not_a_call", 0), client)
    assert_no_secret(tmp_path / "store")


def assert_every_call_is_there(folder: Path, due: dict[int, bool], not_calls: int, client: str) -> None:
    """Read the ledger: each exchange has one row, but for those that are counted as no call, and may be none."""
    tag = mutated_calls.TAG
    with turnledger.open(folder) as ledger:
        assert ledger.problems == ()
        assert ledger.costs().height > 0
        assert ledger.sql("from calls").height > 0
        named = ledger.sql(f"select tags['{tag}']::bigint as number from spans where call_id is not null")
        broken = ledger.sql("from calls where not json_valid(raw_metadata) or not json_valid(raw_usage)")
        assert broken.height == 0, broken.to_dicts()
    rows = Counter(named["number"])
    wire = client in ("requests", "aiohttp")
    wrong = [mutant(number, on_the_wire=wire) for number in rows if number not in due or rows[number] != 1]
    assert not wrong, f"rows that are one too many: {'; '.join(map(str, wrong))}"
    missing = [mutant(number, on_the_wire=wire) for number in due.keys() - rows.keys()]
    lost = [sent for sent in missing if not due[sent.number]]
    assert not lost, f"no row of {'; '.join(map(str, lost))}"
    assert len(missing) == not_calls, f"{not_calls} counted as no call; no row of {'; '.join(map(str, missing))}"


def assert_no_secret(folder: Path) -> None:
    needles, seen = secrets(), 0
    for piece in pieces(Store.at(folder)):
        found = [needle for needle in needles if needle in piece.data]
        assert found == [], piece.place
        seen += len(piece.data)
    assert seen > 100_000


def test_a_canary_would_be_found(tmp_path: Path):
    turnledger.instrument(store=tmp_path)
    with turnledger.conversation(f"kept-{CANARY}"):
        list(mutated_calls.CLIENTS["httpx2"](range(40)))
    assert turnledger.flush(60)
    with pytest.raises(AssertionError, match="spool"):
        assert_no_secret(tmp_path)
    turnledger.uninstrument()
    with pytest.raises(AssertionError, match="parquet"):
        assert_no_secret(tmp_path)


def test_nothing_grows(tmp_path: Path):
    warm_up, count = sized((500, 600), (10_000, 10_000))
    command = [sys.executable, mutated_calls.__file__, str(tmp_path), str(warm_up), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    _, first, second = map(json.loads, done.stdout.splitlines())
    grown = {name: second[name] - first[name] for name in GROWTH}
    assert all(grown[name] <= bound for name, bound in GROWTH.items()), grown
