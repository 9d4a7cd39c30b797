"""What is shipped beside the code: the README, whose examples run, and the credits of the demo's recordings."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import turnledger
from rich.console import Console
from turnledger.analysis.demo import run_demo
from turnledger.analysis.demo.stub import Stub, load_recordings
from turnledger.exporters.store import Store

ROOT = Path(__file__).parent.parent
COMMAND = Path(sys.executable).parent / "turnledger"
RECORDINGS = ROOT / "analysis" / "demo" / "recordings.json"
README = (ROOT / "README.md").read_text()


def run(command: list[Any], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_readme_examples_run(tmp_path: Path):
    examples = "\n".join(blocks("python"))
    with Stub(item for item in load_recordings() if item.provider == "openai") as stub:
        # Only this differs from an application that talks to the provider: whose API the stub's host speaks.
        setting = f"import turnledger; turnledger.instrument('ledger/', hosts={{{stub.host!r}: 'openai'}})\n"
        done = run(
            [sys.executable, "-c", setting + examples],
            cwd=tmp_path,
            env={**os.environ, "OPENAI_BASE_URL": f"{stub.url}/v1", "OPENAI_API_KEY": "none", "NO_PROXY": "*"},
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Hello! How can I help you today?\n")
    with turnledger.open(tmp_path / "ledger") as opened:
        rows = {row["conversation_id"]: row for row in opened.conversations().rows(named=True)}
        strategies = opened.sql("select managed_strategy from spans where conversation_id = 'sums-1'").rows()
    assert {name: (row["user_id"], row["calls"]) for name, row in rows.items()} == {
        "support-4711": ("u1", 1),
        "sums-1": (None, 2),
    }
    assert all(row["cost_usd"] > 0 for row in rows.values())
    assert strategies == [("server_state",)] * 2


def shape(text: str) -> list[list[str]]:
    """Return the first two lines of every part: its title and its columns, without figures and paths."""
    parts = [part.splitlines()[:2] for part in text.strip().split("\n\n")]
    return [re.sub(r"\d[\d.,]*", "0", re.sub(r"/\S+", "PATH", " ".join(part))).split() for part in parts]


def test_readme_shows_what_the_demo_prints(tmp_path: Path):
    console = Console(file=io.StringIO(), width=90)
    run_demo(Store.at(tmp_path), console)
    [block] = blocks("text")
    assert shape(block) == shape(console.file.getvalue())  # type: ignore[attr-defined]  a StringIO


def test_readme_names_every_command_and_no_other():
    done = run([COMMAND, "--help"], env={**os.environ, "COLUMNS": "200"})
    commands = re.findall(r"^│ ([a-z]+) {2,}", done.stdout.partition("Commands")[2], re.MULTILINE)
    table = "".join(re.findall(r"^\| (`turnledger .*) \|.*\|$", README, re.MULTILINE))
    assert set(re.findall(r"`turnledger ([a-z]+)", table)) == set(commands)
    assert "make demo" in README
    assert "make test" in README


def entries() -> list[dict[str, Any]]:
    data = json.loads(RECORDINGS.read_text(encoding="utf-8"))
    return [*data["recordings"], *data["documents"].values()]


def test_recordings_are_small_and_many():
    assert RECORDINGS.stat().st_size < 120_000
    assert len(load_recordings()) == 26
    assert sorted({recording.status for recording in load_recordings()}) == [200, 429]


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry["_source"].rpartition("/")[2][:60])
def test_recordings_are_credited(entry: dict[str, Any]):
    notice = (ROOT / "NOTICE").read_text()
    project, _, file = entry["_source"].partition(":")
    section = notice.partition(f"\n{project} ({entry['_license']})")[2].partition("\n\n")[0]
    assert f"    {file.partition('#')[0]}\n" in f"{section}\n"


def test_credits_name_nothing_else():
    named_files = re.findall(r"^    (\S+\.ya?ml)$", (ROOT / "NOTICE").read_text(), re.MULTILINE)
    assert set(named_files) == {entry["_source"].partition(":")[2].partition("#")[0] for entry in entries()}


def test_recordings_hold_no_secret():
    text = RECORDINGS.read_text(encoding="utf-8")
    assert not re.findall(r"sk-[A-Za-z0-9_-]{8,}|Bearer |AIza[\w-]{20,}|encrypted_content|\"signature\"", text)
    names = {name for recording in load_recordings() for name in recording.headers}
    assert not {name for name in names if re.search(r"cookie|auth|key|token$|secret", name)}
    assert "REDACTED" not in text
