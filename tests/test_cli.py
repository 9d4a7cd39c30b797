"""The command line as people and programs use it: a real process, its two outputs and its exit code."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from rich.console import Console
from store_rows import call_row, write_store
from turnledger.analysis.output import Format, cell_text, printable, table_of, write_frame
from turnledger.analysis.pricing.book import book_version

if TYPE_CHECKING:
    from collections.abc import Callable

Run = "Callable[..., subprocess.CompletedProcess[str]]"
COMMAND = Path(sys.executable).parent / "turnledger"
HOSTILE = "\x1b[31mred\x1b]0;title\x07 | <script>alert(1)</script> [b]bold[/b] \u202egnp"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command in an empty folder; its store is there too."""

    def command(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name != "TURNLEDGER_STORE"}
        return subprocess.run(  # noqa: PLW1510  the exit code is what is asserted
            [COMMAND, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, **options
        )

    return command


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of three calls in two conversations, one of them without a price."""
    rows = [
        call_row(conversation_id="chat", conversation_source="app", identifiers=[("response_id", ["r1", "r2"])]),
        call_row(conversation_id="chat", conversation_source="app", response_model="unheard-of"),
        call_row(conversation_id=HOSTILE, conversation_source="app"),
    ]
    return write_store(tmp_path / "turnledger-data", rows).root


def har_entry(number: int) -> dict[str, Any]:
    """Return a recorded exchange as HAR has it."""
    body = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello there."}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }
    return {
        "startedDateTime": "2026-11-01T12:00:00Z",
        "time": 1500,
        "request": {
            "method": "POST",
            "url": "https://api.openai.com/v1/chat/completions",
            "headers": [{"name": "Authorization", "value": "Bearer sk-secret-value-000000000000"}],
            "postData": {"text": json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello?"}]})},
        },
        "response": {"status": 200, "headers": [], "content": {"text": json.dumps(body)}},
    }


def har(*entries: dict[str, Any]) -> bytes:
    """Return a HAR file."""
    return json.dumps({"log": {"entries": list(entries)}}).encode()


def test_import_says_what_became_of_every_file_and_a_corrupt_one_stops_no_other(run: Any, tmp_path: Path) -> None:
    page = {**har_entry(9), "request": {"method": "GET", "url": "https://example.com/", "headers": []}}
    (tmp_path / "a.har").write_bytes(har(har_entry(1), page))
    (tmp_path / "b.har.gz").write_bytes(gzip.compress(har(har_entry(2), har_entry(3)))[:-20])
    (tmp_path / "c.har").write_text("no JSON")
    (tmp_path / "d.har.gz").write_bytes(gzip.compress(har(har_entry(4))))
    done = run("import", "har", ".", "--format", "json")
    assert done.returncode == 1
    account = {row["file"]: row for row in json.loads(done.stdout)}
    assert account["a.har"]["taken"] == 1
    assert account["a.har"]["skipped_why"] == "1 not a provider call"
    assert account["b.har.gz"]["error"]
    assert account["c.har"]["error"]
    assert account["d.har.gz"] == {
        "file": "d.har.gz", "taken": 1, "already_there": 0, "skipped": 0, "skipped_why": None, "error": None
    }  # fmt: skip
    assert sorted(line.split(":")[1].strip() for line in done.stderr.splitlines()) == ["b.har.gz", "c.har"]
    again = run("import", "har", "a.har", "d.har.gz", "-f", "json")
    assert again.returncode == 0
    assert [(row["taken"], row["already_there"]) for row in json.loads(again.stdout)] == [(0, 1), (0, 1)]
    sources = run("sql", "select source from calls order by all", "-f", "csv").stdout.split()
    assert sources[:2] == ["source", "a.har#0"]
    assert "d.har.gz#0" in sources
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*.parquet"))
    assert b"sk-secret" not in stored


def test_import_of_what_is_not_there(run: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert run("import", "har", "missing.har").stderr == "error: missing.har: no such file\n"
    done = run("import", "har", "empty")
    assert done.returncode == 2
    assert "empty: there is no .har or .har.gz file in this folder" in done.stderr
    assert run("import").returncode == 2


@pytest.mark.usefixtures("store")
def test_costs_count_what_has_no_price(run: Any) -> None:
    done = run("costs", "--by", "conversation", "--format", "json")
    rows = json.loads(done.stdout)
    assert {row["conversation"]: (row["cost_usd"], row["unpriced_calls"]) for row in rows} == {
        "chat": (0.000075, 1),
        HOSTILE: (0.000075, 0),
    }
    assert '"cost_usd":0.000075,' in done.stdout
    assert done.stderr.splitlines() == [
        f"calls: 3, cost: 0.000150 USD, priced by {book_version()}",
        "without a cost, so not in the sum: 1 (turnledger sql 'from unpriced_calls')",
    ]


@pytest.mark.usefixtures("store")
def test_calls_and_conversations_in_every_format(run: Any, tmp_path: Path) -> None:
    assert len(json.loads(run("calls", "-f", "json").stdout)) == 3
    rows = list(csv.DictReader(io.StringIO(run("calls", "--conversation", "chat", "-f", "csv").stdout)))
    assert [row["identifiers"] for row in rows] == ["", '{"response_id":["r1","r2"]}']
    assert rows[1]["cost_usd"] == "0.000075000000000000"
    assert run("conversations", "-o", "conversations.parquet").stdout == ""
    frame = pl.read_parquet(tmp_path / "conversations.parquet")
    assert frame["cost_usd"].to_list() == [Decimal("0.000075")] * 2
    table = run("conversations").stdout
    assert "chat" in table
    assert "0.000075" in table
    assert run("conversations", "-f", "markdown").stdout.startswith("| last_started_at | conversation_id |")


@pytest.mark.usefixtures("store")
def test_rows_left_out_are_said_to_be(run: Any) -> None:
    done = run("calls", "--limit", "2", "-f", "json")
    assert len(json.loads(done.stdout)) == 2
    assert done.stderr == "the first 2 rows; --limit shows more\n"
    assert "the first" not in run("calls", "--limit", "3", "-f", "json").stderr


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("form", ["table", "markdown"])
def test_text_off_the_wire_steers_no_terminal_and_breaks_no_table(run: Any, form: str) -> None:
    out = run("conversations", "-f", form).stdout
    assert "\x1b" not in out
    assert "\u202e" not in out
    if form == "table":
        assert "[b]bold[/b]" in out
    else:
        lines = out.splitlines()
        assert {line.replace("\\|", "").count("|") for line in lines} == {lines[0].count("|")}
        assert "<script>" not in out.replace("\\<", "")


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["calls", "--store", "nowhere"], 1, "error: no store at "),
        (["calls", "--since", "yesterday"], 2, "error: Invalid value: 'yesterday' is neither an age such as 7d"),
        (["calls", "--format", "yaml"], 2, "error: Invalid value for '--format'"),
        (["calls", "--limit", "0"], 2, "error: Invalid value for '--limit'"),
        (
            ["costs", "--by", "weather"],
            2,
            "error: Invalid value: cannot group costs by 'weather'; known: conversation,",
        ),
        (["providers", "nobody"], 2, "error: Invalid value: no provider document 'nobody'; 'turnledger providers'"),
        (["sql", "select 1; select 2"], 2, "error: Invalid value: one SQL statement is expected, 2 were given"),
        (["sql", "drop view calls"], 2, "error: Invalid value: only queries are run"),
        (["sql", "copy (select 1) to 'x.csv'"], 2, "error: Invalid value: only queries are run"),
        (["sql", "selec 1"], 1, "error: Parser Error"),
        (["sql", "from read_text('/etc/hostname')"], 1, "error: Permission Error"),
        (["calls", "-o", "no/such/folder.json"], 1, "error: "),
        (["nonsense"], 2, "error: No such command 'nonsense'"),
        (["calls", "--nonsense"], 2, "error: No such option: --nonsense"),
    ],
)
def test_mistakes_are_one_plain_line(run: Any, tmp_path: Path, arguments: list[str], status: int, said: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(said)
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["turnledger-data"]


@pytest.mark.usefixtures("store")
def test_sql_from_standard_input(run: Any) -> None:
    assert run("sql", "-", "-f", "csv", input="select count(*) as n from calls").stdout == "n\n3\n"


@pytest.mark.usefixtures("store")
def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    line = f"'{COMMAND}' sql 'select repeat(raw_usage, 1) from calls, range(200000)' -f csv | head -1"
    done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60)  # noqa: PLW1510
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_providers_and_version(run: Any) -> None:
    rows = json.loads(run("providers", "-f", "json").stdout)
    assert {"openai", "anthropic", "openrouter", "gemini", "deepseek"} <= {row["provider"] for row in rows}
    listed = run("providers").stdout
    assert re.search(r"deepseek +DeepSeek +api\.deepseek\.com +4 +2026-11-23", listed)
    assert re.search(r"openai +OpenAI +api\.openai\.com and 1 more ", listed)
    facts = json.loads(run("providers", "anthropic", "-f", "json").stdout)
    assert "request_id" in facts["surfaces"]["messages"]["supported_identifiers"]
    assert "Cost implications" in run("providers", "openai").stdout
    assert run("--version").stdout.startswith("turnledger ")


def test_every_command_has_help(run: Any) -> None:
    overview = run("--help").stdout
    for command in ("demo", "import", "calls", "conversations", "costs", "providers", "configure", "sql"):
        assert command in overview
        assert "Usage: turnledger" in run(command, "--help").stdout
    assert "demo" in run().stdout


def test_without_the_analysis_libraries_it_says_what_to_install(tmp_path: Path) -> None:
    blocked = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('typer', 'duckdb', 'polars'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "from turnledger.analysis.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", blocked], cwd=tmp_path, capture_output=True, text=True, timeout=60)  # noqa: PLW1510
    assert done.returncode == 1
    assert done.stderr.endswith("the command line needs: pip install 'turnledger[analysis]'\n")
    assert done.stderr.count("\n") == 1


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.json"
    write_frame(pl.DataFrame({"a": [1]}), Format.JSON, target)
    assert json.loads(target.read_bytes()) == [{"a": 1}]

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write_frame(pl.DataFrame({"a": [2]}), Format.JSON, target)
    assert json.loads(target.read_bytes()) == [{"a": 1}]
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_cells_for_people() -> None:
    assert cell_text(None) == "-"
    assert cell_text(Decimal("0.1234567")) == "0.123457"
    assert cell_text(["a", None]) == "a, -"
    assert (
        printable("a\x1b[0m\u202eb\n")
        == "a\N{REPLACEMENT CHARACTER}[0m\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
    )
    console = Console(width=40, file=io.StringIO())
    with console.capture() as shown:
        console.print(table_of(pl.DataFrame({"[red]a": ["[link=x]y"]}), 40))
    assert "[link=x]y" in shown.get()
    assert "[red]a" in shown.get()
