"""The demo: what it plays, what it records, what it prints, and what it says where it cannot run."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import turnledger
from genai_prices import calc_price, extract_usage
from rich.console import Console
from turnledger.analysis.demo import DemoUnavailable, run_demo
from turnledger.analysis.demo.stub import Recording, Stub, load_recordings
from turnledger.exporters.store import Store
from turnledger.instrument.runtime import active_runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = Path(sys.executable).parent / "turnledger"
CALLS, ATTEMPTS = 25, 26
NAMES = [
    "support",
    "joke",
    "dragons",
    "research",
    "names",
    "sums",
    "puzzle",
    "articles",
    "release",
    "weather",
    "version",
]
ODD_ENVIRONMENT = {
    "HTTP_PROXY": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "no_proxy": "example.org",
    "OPENAI_BASE_URL": "https://nowhere.invalid",
    "OPENAI_API_KEY": "odd\nkey",
    "OPENAI_LOG": "debug",
    "ANTHROPIC_BASE_URL": "ftp://nowhere.invalid",
    "ANTHROPIC_AUTH_TOKEN": "odd\ntoken",
    "ANTHROPIC_CUSTOM_HEADERS": "x-odd: 1",
    "SSL_CERT_FILE": "/nowhere",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "3",
    "OTEL_TRACES_SAMPLER": "always_off",
}


class Shown(NamedTuple):
    """One run of the demo: its store and what it printed."""

    store: Store
    text: str

    @property
    def name(self) -> str:
        """Return the ending of this run's conversation ids."""
        return named(self.text)


def named(text: str) -> str:
    found = re.search(r"^support-([0-9a-f]{6})\b", text, re.MULTILINE)
    assert found, text
    return found[1]


def run(command: list[Any], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


def show(store: Store) -> Shown:
    console = Console(file=io.StringIO(), width=90)
    run_demo(store, console)
    assert isinstance(console.file, io.StringIO)
    return Shown(store, console.file.getvalue())


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """Run the demo once, in an environment that would mislead its SDKs, and see that this comes back as it was."""
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in ODD_ENVIRONMENT.items():
            patch.setenv(variable, value)
        before = {name: value for name, value in os.environ.items() if not name.startswith("_RJEM")}
        found = show(Store.at(tmp_path_factory.mktemp("demo") / "store"))
        # polars adds a variable of its own when it is imported
        assert {name: value for name, value in os.environ.items() if not name.startswith("_RJEM")} == before
    assert active_runtime() is None
    return found


@pytest.fixture
def ledger(shown: Shown) -> Iterator[turnledger.Ledger]:
    with turnledger.open(shown.store.root) as opened:
        yield opened


def answer_of(recording: Recording) -> dict[str, Any]:
    """Return the answer as one object; a stream's usage is what its events say last."""
    if not recording.match.stream:
        return json.loads(recording.body)
    events = [json.loads(line.partition(":")[2]) for line in recording.body.splitlines() if line.startswith("data:")]
    message = next(event["message"] for event in events if "message" in event)
    last = next(event["usage"] for event in reversed(events) if "usage" in event)
    return {**message, "usage": {**message["usage"], **last}}


ANSWERS = {
    answer["id"]: (recording, answer)
    for recording in load_recordings()
    if recording.status == 200
    for answer in [answer_of(recording)]
}


def expected_cost(response_id: str, moment: Any) -> Decimal:
    """Return the cost of a recorded answer, from its body and the price book alone."""
    recording, answer = ANSWERS[response_id]
    flavor = {"/v1/responses": "responses", "/v1/chat/completions": "chat"}.get(recording.match.path, "default")
    found = extract_usage(answer, provider_id=recording.provider, api_flavor=flavor)
    return calc_price(
        found.usage, answer["model"], provider_id=recording.provider, genai_request_timestamp=moment
    ).total_price


def test_every_conversation_is_there(shown: Shown, ledger: turnledger.Ledger):
    rows = ledger.conversations().sort("started_at")
    assert rows["conversation_id"].to_list() == [f"{name}-{shown.name}" for name in NAMES]
    assert rows["conversation_source"].unique().to_list() == ["app"]
    assert rows["calls"].to_list() == [2, 1, 3, 4, 2, 2, 1, 2, 2, 4, 2]
    assert rows["user_id"].to_list() == ["ana"] * 2 + ["ben"] * 2 + ["cem"] * 3 + ["dora"] * 2 + ["eve"] * 2
    assert rows["unpriced_calls"].sum() == rows["failed_calls"].sum() == 0


def test_every_recording_is_played_and_priced_exactly(ledger: turnledger.Ledger):
    calls = ledger.calls().rows(named=True)
    assert {call["response_id"] for call in calls} == set(ANSWERS)
    assert len(calls) == len(ANSWERS) == CALLS
    wanted = {call["call_id"]: expected_cost(call["response_id"], call["started_at"]) for call in calls}
    assert {call["call_id"]: call["cost_usd"] for call in calls} == wanted
    assert all(isinstance(call["cost_usd"], Decimal) and call["cost_usd"] > 0 for call in calls)
    sums = {
        conversation["conversation_id"]: sum(wanted[row["call_id"]] for row in conversation["cost_tracking"])
        for conversation in ledger.conversations().rows(named=True)
    }
    assert dict(ledger.costs(by="conversation").select("conversation", "cost_usd").rows()) == sums


def test_one_call_took_two_attempts(shown: Shown, ledger: turnledger.Ledger):
    [(call_id, conversation)] = ledger.sql("select call_id, conversation_id from calls where attempts > 1").rows()
    assert conversation == f"joke-{shown.name}"
    attempts = ledger.attempts(call=call_id).sort("attempt_index")
    assert attempts.select("attempt_index", "status_code", "error_type", "retry_after").rows() == [
        (0, 429, "RateLimitReached", "1"),
        (1, 200, None, None),
    ]
    assert ledger.attempts().height == ATTEMPTS


def test_the_cache_is_written_then_read(shown: Shown, ledger: turnledger.Ledger):
    rows = ledger.sql(
        "select cache_write_tokens, cache_read_tokens, input_tokens, cache_write_by_ttl['5m'], strategy from calls "
        "where conversation_id = ? order by started_at",
        [f"release-{shown.name}"],
    ).rows()
    assert rows == [(7351, 0, 7361, 7351, "single_turn"), (0, 7351, 7361, 0, "single_turn")]


def test_streams_are_streams(ledger: turnledger.Ledger):
    rows = ledger.sql(
        "select input_tokens, output_tokens, first_chunk_ms, duration_ms from calls where is_stream order by started_at"
    ).rows()
    assert [row[:2] for row in rows] == [(563, 37), (617, 41)]
    assert all(0 < first < whole for _, _, first, whole in rows)


def test_identifiers_are_those_of_the_recordings(shown: Shown, ledger: turnledger.Ledger):
    columns = ["response_id", "request_id", "previous_response_id", "identifiers"]
    by_response = {row["response_id"]: row for row in ledger.calls().select(columns).rows(named=True)}
    for response_id, (recording, answer) in ANSWERS.items():
        row = by_response[response_id]
        found = row["identifiers"]
        assert found["response_id"] == [response_id]
        assert row["request_id"] == (recording.headers.get("x-request-id") or recording.headers.get("request-id"))
        assert row["previous_response_id"] == answer.get("previous_response_id")
        organization = recording.headers.get("openai-organization", recording.headers.get("anthropic-organization-id"))
        assert found.get("organization_id") == ([organization] if organization else None)
    chain = ledger.sql(
        "select response_id, previous_response_id, strategy from calls where conversation_id = ? order by started_at",
        [f"research-{shown.name}"],
    ).rows()
    assert [previous for _, previous, _ in chain] == [None, *(response for response, _, _ in chain[:-1])]
    assert [strategy for _, _, strategy in chain[1:]] == ["server_state"] * 3


def test_it_prints_what_the_store_holds(shown: Shown, ledger: turnledger.Ledger):
    assert f"{CALLS} calls, {ATTEMPTS} HTTP attempts" in " ".join(shown.text.split())
    total = ledger.sql("select sum(cost_usd) from calls").item()
    assert f"Together {total:.6f} USD" in shown.text
    [(file, size)] = re.findall(r"^(/\S+\.parquet) \(([\d,]+) bytes\)$", shown.text, re.MULTILINE)
    assert Path(file).stat().st_size == int(size.replace(",", ""))
    assert f"turnledger conversations --store {shown.store.root}" in shown.text
    for identifier in ("previous_response_id", "request_id", "organization_id", "tool_call_id", "workspace_id"):
        assert re.search(rf"^{identifier} +\d+  \S+", shown.text, re.MULTILINE)
    assert re.search(rf"^release-{shown.name} +7361 +0 +7351 ", shown.text, re.MULTILINE)
    assert re.search(rf"^joke-{shown.name} +0 +429 ", shown.text, re.MULTILINE)


def test_the_command_adds_to_a_store_and_speaks_of_its_own_run(shown: Shown, tmp_path: Path):
    with turnledger.open(shown.store.root) as opened:
        before = opened.calls().height
    done = run(
        [COMMAND, "demo", "--store", shown.store.root],
        cwd=tmp_path,
        env={**os.environ, **ODD_ENVIRONMENT, "COLUMNS": "80"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert named(done.stdout) != shown.name
    assert shown.name not in done.stdout
    assert max(len(line) for line in done.stdout.splitlines() if str(shown.store.root) not in line) <= 80
    with turnledger.open(shown.store.root) as opened:
        assert opened.calls().height == before + CALLS
    assert list(tmp_path.iterdir()) == []


BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name == {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
sys.argv = ["turnledger", "demo", "--store", {store!r}]
from turnledger.analysis.cli import main
main()
"""


@pytest.mark.parametrize("missing", ["openai", "anthropic"])
def test_a_missing_sdk_is_named(missing: str, tmp_path: Path):
    store = tmp_path / "store"
    script = BLOCKER.format(missing=missing, store=str(store))
    done = run([sys.executable, "-c", script])
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"error: the demo runs the real SDKs of two providers, and {missing} cannot be imported: "
        'pip install "openai" "anthropic"\n'
    )
    assert not store.exists()


def test_capture_that_is_on_stays_as_it_is(recorder: Any, tmp_path: Path):
    before = active_runtime()
    with pytest.raises(DemoUnavailable, match="capture is already on"):
        run_demo(Store.at(tmp_path / "store"), Console(file=io.StringIO()))
    assert active_runtime() is before is not None
    assert not (tmp_path / "store").exists()


def test_calls_that_cannot_be_written_are_said(tmp_path: Path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DemoUnavailable, match="were not written to"):
        run_demo(Store.at(tmp_path / "file" / "store"), Console(file=io.StringIO()))
    assert active_runtime() is None


def test_an_app_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("turnledger.analysis.demo.run.load_recordings", list)
    with pytest.raises(DemoUnavailable, match=r"NotFoundError.*no recorded answer.*with openai \d.*pip install"):
        run_demo(Store.at(tmp_path / "store"), Console(file=io.StringIO()))
    assert active_runtime() is None


def test_importing_it_is_light():
    script = "import sys, turnledger.analysis.demo; print(*sys.modules)"
    done = run([sys.executable, "-c", script])
    assert not set(done.stdout.split()) & {"anthropic", "duckdb", "openai", "opentelemetry", "polars", "rich"}


def post(url: str, body: bytes | None) -> tuple[int, dict[str, Any]]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with pytest.raises(urllib.error.HTTPError) as caught:
        opener.open(urllib.request.Request(url, data=body), timeout=5)
    with caught.value as answer:
        return answer.code, json.load(answer)


@pytest.mark.parametrize("body", [b'{"model": "m", "input": "never asked"}', b"no json", b"[]", b'{"input": 7}', None])
def test_the_stub_knows_only_what_was_recorded(body: bytes | None):
    with Stub(load_recordings()) as stub:
        status, document = post(f"{stub.url}/v1/responses", body)
    assert status == 404
    assert document["error"]["message"].startswith("the demo has no recorded answer for /v1/responses: ")
