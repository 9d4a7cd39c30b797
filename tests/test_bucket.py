"""Stores in an object store: a real S3 API server on loopback, real clients, whole commands, and what goes wrong."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import turnledger
from har_files import entry, har
from s3_server import BUCKET, S3Server
from store_rows import call_row
from stub_server import StubServer, json_reply
from turnledger.analysis.ledger import StoreError
from turnledger.analysis.remote import ListedFiles
from turnledger.exporters import bucket as buckets
from turnledger.exporters.bucket import BucketStorage, bucket_at, in_time
from turnledger.exporters.keys import KEY_FILE, digest_key
from turnledger.exporters.rolling import recover
from turnledger.exporters.snapshot import list_files
from turnledger.exporters.spool import spool_files
from turnledger.exporters.storage import UnavailableError
from turnledger.exporters.store import Store
from turnledger.exporters.writing import SpanWriter
from turnledger.instrument import health

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMMAND = Path(sys.executable).parent / "turnledger"
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello there."}}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """One server for the tests of this file; each has a prefix of its own."""
    server = S3Server()
    yield server
    server.close()


@pytest.fixture
def s3(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The server, named in the environment as other programs of this service are told, with credentials."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "TURNLEDGER_", "XDG_"))]:
        monkeypatch.delenv(name)
    said = {
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "s3cr3t-s3cr3t",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_ENDPOINT_URL": server.url,
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    health.reset()
    yield server
    turnledger.uninstrument()
    server.heal()
    health.reset()


@pytest.fixture
def address(s3: S3Server) -> str:
    """A prefix that nobody has used."""
    return f"s3://{BUCKET}/ledger-{next(_numbers)}"


def at(address: str) -> BucketStorage:
    storage = bucket_at(address)
    assert storage is not None
    return storage


def write(address: str, *rows: dict[str, Any]) -> Store:
    store = Store.at(address)
    writer = SpanWriter(store)
    for row in rows:
        writer.add(row)
    writer.close()
    return store


def names(address: str) -> list[str]:
    return [file.name for file in at(address).walk("spans")]


def spools(address: str) -> list[Path]:
    return [path for folder in Store.at(address).spools for path in spool_files(folder)]


def ask(stub: StubServer, times: int = 1) -> None:
    with httpx2.Client() as client:
        for _ in range(times):
            body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello?"}]}
            assert client.post(f"{stub.url}/v1/chat/completions", json=body).status_code == 200


def counted(address: str) -> int:
    with turnledger.open(address) as ledger:
        assert ledger.problems == ()
        return ledger.calls().height


@pytest.fixture
def provider(stub: StubServer) -> StubServer:
    """A stub that answers as a provider does."""
    stub.script(json_reply(ANSWER))
    return stub


# --- addresses


@pytest.mark.parametrize(
    ("said", "location", "found"),
    [
        ("s3://books/a/b", "s3://books/a/b", "s3://books/a/b"),
        ("s3://books//a/b/", "s3://books/a/b", "s3://books/a/b"),
        (Path("s3://books/a"), "s3://books/a", "s3://books/a"),
        ("gs://books", "gs://books", "gs://books"),
        ("az://books/a%20b", "az://books/a%20b", "az://books/a%20b"),
        ("s3://books/a?region=eu-west-1", "s3://books/a", "s3://books/a?region=eu-west-1"),
        (
            "s3://books/a?endpoint_override=127.0.0.1:9000&scheme=http",
            "s3://books/a",
            "s3://books/a?endpoint_override=127.0.0.1%3A9000&scheme=http",
        ),
    ],
)
def test_an_address_names_bucket_and_prefix(said: Any, location: str, found: str):
    store = Store.at(said)
    assert (store.location, store.address) == (location, found)
    assert Store.at(store.address) == store
    assert store.storage.path("meta/x") == f"{location}/meta/x"
    assert store.is_remote


@pytest.mark.parametrize("said", ["s3", "./s3:", "C:/books", "a folder", "s4:/books"])
def test_what_is_no_address_is_a_folder(said: str):
    assert not Store.at(said).is_remote


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("s3://AKIASECRET:hidden@books/a", "no credentials"),
        ("s3://books/a?access_key=hidden", "unknown option 'access_key'"),
        ("s3://books/a?secret_key=hidden", "unknown option 'secret_key'"),
        ("s3://books/a?AKIASECRET=hidden", "unknown option in the address"),
        ("s3://books/a?endpoint_override=http://me:hidden@127.0.0.1", "no credentials"),
        ("az://books/a?account_key=hidden", "unknown option 'account_key'"),
        ("gs://books/a?access_token=hidden", "unknown option 'access_token'"),
        ("s3://", "needs a bucket and a prefix"),
        ("ftp://books/a", "is not where a store can be"),
    ],
)
def test_a_wrong_address_is_refused_without_repeating_it(said: str, error: str):
    with pytest.raises(ValueError, match=error) as raised:
        Store.at(said)
    assert "hidden" not in str(raised.value)
    assert "AKIASECRET" not in str(raised.value)


def test_the_spool_is_on_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in [name for name in os.environ if name.startswith(("AWS_", "TURNLEDGER_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    spool = Store.at("s3://books/a").spool
    assert spool.parent == tmp_path / "state" / "turnledger"
    assert Store.at("s3://books/a/?region=eu-west-1").spool == spool
    elsewhere = {Store.at(said).spool for said in ("s3://books/b", "gs://books/a", "s3://books/a?endpoint_override=x")}
    assert len(elsewhere | {spool}) == 4
    monkeypatch.setenv("AWS_ENDPOINT_URL", "x")
    assert Store.at("s3://books/a").spool in elsewhere
    monkeypatch.setenv("XDG_STATE_HOME", "not/absolute")
    assert Store.at("s3://books/a").spool.parent.name == "turnledger-" + str(os.getuid())
    monkeypatch.delenv("XDG_STATE_HOME")
    assert Store.at("s3://books/a").spool.parent == tmp_path / "home" / ".local" / "state" / "turnledger"
    monkeypatch.setenv("TURNLEDGER_SPOOL", str(tmp_path / "said"))
    assert Store.at("s3://books/a").spool.parent == tmp_path / "said"
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("TURNLEDGER_SPOOL", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file" / "state"))
    store = Store.at("s3://books/a")
    assert store.spool.parent == store.spill.parent
    assert store.spool != store.spill
    store.guard_spool()
    assert store.spool.parent.stat().st_mode & 0o777 == 0o700
    store.spool.parent.chmod(0o777)
    with pytest.raises(PermissionError, match="only this user"):
        store.guard_spool()


# --- objects


def test_objects(address: str):
    storage = at(address)
    assert not storage.is_there()
    assert list(storage.walk("spans")) == []
    for name in ("spans/date=2026-11-02/b.parquet", "spans/date=2026-11-01/a b#?.parquet", "meta/x", "spans/.hidden"):
        storage.publish(name, lambda file: file.write(b"content"))
    assert storage.is_there()
    found = list(storage.walk("spans"))
    assert [file.name for file in found] == ["spans/date=2026-11-01/a b#?.parquet", "spans/date=2026-11-02/b.parquet"]
    assert {file.size for file in found} == {7}
    assert min(file.modified for file in found) > 1.7e9
    storage.publish("meta/x", lambda file: file.write(b"another"))
    with storage.open("meta/x") as file:
        assert (file.read(3), file.seek(-2, os.SEEK_END), file.read()) == (b"ano", 5, b"er")
    with pytest.raises(FileExistsError):
        storage.publish("meta/x", lambda file: file.write(b"third"), anew=True)
    storage.publish("meta/y", lambda file: file.write(b"first"), anew=True)
    storage.remove("meta/x")
    storage.remove("meta/x")
    assert (storage.exists("meta/x"), storage.exists("meta/y"), storage.exists("meta")) == (False, True, False)
    with pytest.raises(FileNotFoundError):
        storage.open("meta/x")


def test_a_writer_that_fails_leaves_nothing(address: str):
    def fails(file: Any) -> None:
        file.write(b"half of it")
        raise OSError("no more of it")

    with pytest.raises(OSError, match="no more of it"):
        at(address).publish("meta/x", fails)
    assert not at(address).is_there()


@pytest.mark.parametrize(
    ("failing", "size"),
    [
        ("^PUT", 1000),
        ("^PUT", 9 << 20),
        ("^POST .*uploads$", 21 << 20),
        ("^PUT .*partNumber=2", 21 << 20),
        ("^POST .*uploadId=", 21 << 20),
        (r"^PUT .*/x\.parquet$", 9 << 20),  # the copy within the service
    ],
)
def test_an_upload_that_fails_leaves_nothing_that_counts(s3: S3Server, address: str, failing: str, size: int):
    storage = at(address)
    content = os.urandom(size)
    s3.fail(failing)
    with pytest.raises(UnavailableError, match=f"^{address}: "):
        storage.publish("spans/x.parquet", lambda file: file.write(content))
    s3.heal()
    assert list(storage.walk("spans")) == []
    assert not storage.exists("spans/x.parquet")
    storage.publish("spans/x.parquet", lambda file: file.write(content))
    assert [file.size for file in storage.walk("spans")] == [size]
    with storage.open("spans/x.parquet") as file:
        assert file.read() == content
    assert list(storage.litter()) == []


def test_a_service_that_does_not_answer_is_not_waited_for(address: str, monkeypatch: pytest.MonkeyPatch):
    released = threading.Event()
    with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
        in_time(released.wait, 0.01)
    released.set()
    monkeypatch.setattr(buckets, "LIMIT_S", 0.0)
    with pytest.raises(UnavailableError, match=f"^{address}: no answer"):
        at(address).is_there()


# --- recording


def test_calls_are_recorded_and_read_back(s3: S3Server, address: str, provider: StubServer):
    turnledger.instrument(store=address, hosts={provider.host: "openai"})
    with turnledger.conversation("chat"):
        ask(provider, 2)
    assert turnledger.flush(20)
    assert len(names(address)) == 1  # where the process runs as a service, its disk goes with it
    assert spools(address) == []
    ask(provider)
    turnledger.uninstrument()
    assert len(names(address)) == 2
    assert health.snapshot() == {"spool.rolled_spans": health.snapshot()["spool.rolled_spans"]}
    with turnledger.open(address) as ledger, turnledger.open(address) as second:
        assert ledger.problems == ()
        assert ledger.calls()["input_tokens"].to_list() == [10, 10, 10]
        assert ledger.conversations()["calls"].sum() == 3
        assert ledger.costs("model")["cost_usd"].sum() > 0
        assert ledger.messages().height > 0
        assert second.calls().equals(ledger.calls())
        loaded = "select count(*) from duckdb_extensions() where loaded and extension_name = 'httpfs'"
        assert ledger.sql(loaded).item() == 0
    assert {said.split(" ")[0] for said, _ in s3.requests()} <= {"GET", "HEAD", "PUT"}


KILLED = """
import os, signal, sys, httpx2, turnledger
turnledger.instrument(store=sys.argv[1], hosts={sys.argv[2]: "openai"}, durability="span")
with httpx2.Client() as client:
    for _ in range(3):
        client.post(f"http://{sys.argv[2]}/v1/chat/completions",
                    json={"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello?"}]})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_loses_nothing(address: str, provider: StubServer):
    digest_key(Store.at(address))  # so that its copy is at hand
    killed = subprocess.run([sys.executable, "-c", KILLED, address, provider.host], check=False)
    assert killed.returncode == -9
    assert len(spools(address)) == 1
    assert names(address) == []
    assert counted(address) == 3
    turnledger.instrument(store=address, hosts={provider.host: "openai"})
    ask(provider)
    assert turnledger.flush(20)
    turnledger.uninstrument()
    assert spools(address) == []
    assert counted(address) == 4


def test_a_server_that_is_down_while_calls_are_recorded(s3: S3Server, address: str, provider: StubServer):
    key = digest_key(Store.at(address))
    s3.stop()
    try:
        turnledger.instrument(store=address, hosts={provider.host: "openai"})
        ask(provider, 2)
        assert not turnledger.flush(20)
        turnledger.uninstrument()
        assert health.snapshot()["store.roll"] > 0
        with pytest.raises(StoreError, match=f"the store at {address} cannot be read"):
            turnledger.open(address)
    finally:
        s3.start()
    assert names(address) == []
    assert counted(address) == 2
    with turnledger.open(address) as ledger:
        assert ledger.sql("select distinct digest_key from spans where call_id is not null").rows() == [(key.name,)]
    recover(Store.at(address))
    assert spools(address) == []
    assert len(names(address)) == 1
    assert counted(address) == 2


def test_the_key_has_a_copy_here(s3: S3Server, address: str):
    store = Store.at(address)
    key = digest_key(store)
    copy = store.spool / KEY_FILE
    assert (copy.stat().st_mode & 0o777, copy.stat().st_uid) == (0o600, os.getuid())
    s3.fail("digest.key", 403, "AccessDenied")
    assert digest_key(store) == key
    s3.heal()
    store.storage.publish(KEY_FILE, lambda file: file.write(b"f" * 64))
    assert digest_key(store).secret == b"\xff" * 32
    assert copy.read_bytes().strip() == b"f" * 64
    copy.unlink()
    s3.fail("digest.key", 403, "AccessDenied")
    with pytest.raises(UnavailableError, match="the key of message digests cannot be read"):
        digest_key(store)


# --- reading


def test_many_threads_read_what_they_ask_for(address: str):
    storage = at(address)
    table = pa.table({"number": list(range(200_000)), "text": [str(number) for number in range(200_000)]})
    for name in ("spans/a.parquet", "spans/b.parquet"):
        storage.publish(name, lambda file: pq.write_table(table, file, row_group_size=5_000))
    listed = list(storage.walk("spans"))
    expected = 2 * sum(range(200_000))
    for _ in range(5):
        with duckdb.connect(config={"threads": 4}) as connection:
            connection.register_filesystem(ListedFiles(storage, listed))
            paths = [storage.path(file.name) for file in listed]
            query = "select sum(number), sum(text::bigint) from read_parquet(?)"
            assert connection.execute(query, [paths]).fetchall() == [(expected, expected)]


def test_only_listed_files_are_read_and_none_is_written(address: str):
    storage = at(address)
    for name in ("spans/a.parquet", "spans/b.parquet"):
        storage.publish(name, lambda file: pq.write_table(pa.table({"n": [1]}), file))
    first, second = storage.walk("spans")
    files = ListedFiles(storage, [first])
    assert files.glob(storage.path("spans/*")) == [storage.path("spans/*")]
    assert files.info(storage.path(first.name))["size"] == first.size
    with pytest.raises(FileNotFoundError, match="is no file of this store"):
        files.open(storage.path(second.name))
    with pytest.raises(PermissionError):
        files.open(storage.path(first.name), "wb")


def test_a_store_is_read_with_few_requests(s3: S3Server, address: str):
    for _ in range(3):
        write(address, call_row())
    s3.heal()
    assert counted(address) == 3
    asked = Counter(said for said, _ in s3.requests() if ".parquet" in said and "/meta/" not in said)
    assert sorted(asked.values()) == [1] * 6  # each is opened and read, once


def test_a_part_of_a_file_is_read_alone(s3: S3Server, address: str):
    storage = at(address)
    table = pa.table({"number": list(range(20_000)), "text": [os.urandom(150) for _ in range(20_000)]})
    storage.publish("spans/wide.parquet", lambda file: pq.write_table(table, file))
    (file,) = storage.walk("spans")
    s3.heal()
    with duckdb.connect() as connection:
        connection.register_filesystem(ListedFiles(storage, [file]))
        query = f"select sum(number) from '{storage.path(file.name)}'"
        assert connection.execute(query).fetchall() == [(sum(range(20_000)),)]
    ranges = [span.removeprefix("bytes=").split("-") for _, span in s3.requests() if span]
    assert 0 < sum(int(end) - int(start) for start, end in ranges) < file.size / 10


def test_several_ledgers_at_once(s3: S3Server):
    addresses = [f"s3://{BUCKET}/ledger-{next(_numbers)}" for _ in range(3)]
    for count, one in enumerate(addresses, 1):
        write(one, *(call_row() for _ in range(count)))
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(counted, addresses)) == [1, 2, 3]


def test_a_damaged_file_is_named_and_left_out(address: str):
    store = write(address, call_row())
    store.storage.publish("spans/date=2026-11-01/x.parquet", lambda file: file.write(b"no Parquet"))
    with turnledger.open(address) as ledger:
        assert ledger.calls().height == 1
        (problem,) = ledger.problems
        assert problem.startswith(f"{address}/spans/date=2026-11-01/x.parquet: left out, it is not readable Parquet")


def test_a_service_that_refuses_is_not_a_damaged_file(s3: S3Server, address: str):
    write(address, call_row())
    s3.fail(r"\.parquet", 403, "AccessDenied")
    with pytest.raises(StoreError, match=r"cannot be read: .*ACCESS_DENIED"):
        turnledger.open(address)


# --- commands


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command in an empty folder, with the environment of the test."""

    def command(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [COMMAND, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return command


def test_commands(address: str, run: Any, tmp_path: Path):
    recording = tmp_path / "recorded.har.gz"
    recording.write_bytes(gzip.compress(har(entry())))
    assert json.loads(run("import", "har", recording, "--store", address, "-f", "json").stdout)[0]["taken"] == 1
    assert json.loads(run("import", "har", recording, "--store", address, "-f", "json").stdout)[0]["taken"] == 0
    assert len(names(address)) == 1
    (call,) = json.loads(run("calls", "--store", address, "-f", "json").stdout)
    assert (call["input_tokens"], call["output_tokens"]) == (3, 2)
    assert json.loads(run("costs", "--store", address, "-f", "json").stdout)[0]["calls"] == 1
    assert (
        f" added, 0 changed, 0 removed) in {address}/meta/providers.parquet"
        in run("configure", "--store", address).stderr
    )
    assert "nothing changed" in run("configure", "--store", address).stderr
    assert "Traceback" not in run("doctor", "--store", address).stdout


def test_upkeep(address: str, run: Any):
    for _ in range(3):
        write(address, call_row(), call_row())
    (before, *_) = sorted(names(address))
    assert "3 files became 1, with 6 spans" in run("compact", "--store", address, "--grace", "0s").stderr
    (after,) = names(address)
    assert after != before
    assert counted(address) == 6
    assert "nothing to do" in run("migrate", "--store", address).stderr


def test_retention(address: str, run: Any):
    for user in ("alice@example.com", "bob@example.com"):
        write(address, call_row(user_id=user, raw_usage="{}"), call_row(tags=[("owner", user)]))
    assert "searched" in run("erase", "--user", "alice@example.com", "--store", address).stderr
    assert len(names(address)) == 2
    tables = [pq.read_table(at(address).open(name)).to_pylist() for name in names(address)]
    assert "alice@example.com" not in str(tables)
    assert sorted(len(table) for table in tables) == [1, 2]
    before = ("--before", "2026-11-02", "--store", address)
    assert "the details of 1 spans" in run("prune", "--keep-costs", *before).stderr
    assert "pruned: 3 spans" in run("prune", *before).stderr
    assert [pq.read_table(at(address).open(name)).num_rows for name in names(address)] == [0]


def test_queries_read_this_store_and_nothing_else(address: str, run: Any):
    store = write(address, call_row())
    store.storage.publish("spans/other.txt", lambda file: file.write(b"n\n1\n"))
    assert "1" in run("sql", "select count(*) from calls", "--store", address, "-f", "csv").stdout
    refused = run("sql", f"from read_csv('{address}/spans/other.txt')", "--store", address, code=1)
    assert "Cannot access file" in refused.stderr
    (file,) = list_files(store.storage).files
    with turnledger.open(address) as ledger:
        ledger.only_read()
        assert ledger.sql(f"select count(*) from '{address}/{file.name}'").item() == 1
        for other in (f"{address}/spans/*", f"s3://{BUCKET}/x.parquet", "http://127.0.0.1/x", "/etc/passwd"):
            with pytest.raises(duckdb.PermissionException, match="Cannot access file"):
                ledger.sql(f"from read_csv('{other}')")
        with pytest.raises(duckdb.Error):
            ledger.sql(f"copy (select 1) to '{address}/{file.name}' (format parquet, use_tmp_file false)")
    assert counted(address) == 1


def test_a_file_that_cannot_be_fetched_later_is_said_in_one_line(s3: S3Server, address: str, run: Any):
    store = write(address, call_row())
    (file,) = list_files(store.storage).files
    with store.storage.open(file.name) as opened:
        table = pa.concat_tables([pq.read_table(opened)] * 20_000)
    texts = pa.array([os.urandom(100).hex() for _ in range(table.num_rows)])
    large = table.set_column(table.schema.get_field_index("attributes"), "attributes", texts)
    store.storage.publish(file.name, lambda file: pq.write_table(large, file, compression="none"))
    s3.fail(r"^GET .*\.parquet bytes=\d{1,6}-")  # all but the footer at its end
    (said,) = run("sql", "select max(attributes) from spans", "--store", address, code=1).stderr.splitlines()
    assert said.startswith(f"error: the store at {address} cannot be read: OSError: ")
    assert re.search("made to fail|INTERNAL_FAILURE", said)  # the service's words, or but its code


def test_mistakes_are_said_in_one_line(s3: S3Server, address: str, run: Any):
    def line(store: str) -> str:
        (said,) = run("calls", "--store", store, code=1).stderr.splitlines()
        return said

    assert line(address) == f"error: no store at {address}: record or import calls first, or name another with --store"
    assert "no-such-bucket cannot be read: " in line("s3://no-such-bucket")
    assert "NO_SUCH_BUCKET" in line("s3://no-such-bucket/ledger")
    assert "no credentials belong into the address" in line("s3://me:s3cr3t@books/ledger")
    s3.fail(".", 403, "InvalidAccessKeyId")
    refused = line(address)
    assert refused.startswith(f"error: the store at {address} cannot be read: ")
    assert "INVALID_ACCESS_KEY_ID" in refused
    assert "s3cr3t" not in refused
    s3.heal()
    s3.stop()
    try:
        assert "Could not connect" in line(address)
    finally:
        s3.start()
