"""A store's own copy of the provider documents: what configuring writes and says; documents as people see them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
import turnledger
from rich.console import Console
from store_rows import call_row, write_store
from turnledger.analysis.provider_page import provider_markdown, provider_page, surface_table
from turnledger.analysis.providers import (
    PROVIDER_SCHEMA,
    ProvidersFileError,
    configure,
    find_document,
    provider_table,
    providers_of,
)
from turnledger.exporters.store import META, Store
from turnledger.instrument.capabilities import capabilities_of
from turnledger.instrument.documents import Registry, load_documents, parse_documents, read_documents

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND = Path(sys.executable).parent / "turnledger"
SURFACE = '[[surface]]\nname = "chat"\noperation = "chat"\npath = "/chat"\n'
PROSE = "# Acme\n\n## Architecture\n\nA *fine* one.\n"


def text(stem: str, extra: str = "", prose: str = PROSE) -> dict[str, str]:
    front = f'id = "{stem}"\nname = "{stem.title()}"\nhosts = ["api.{stem}.test"]\nchecked = 2026-11-23\n'
    return {f"{stem}.md": f"+++\n{front}{SURFACE}{extra}\n+++\n{prose}"}


def registry(*texts: dict[str, str]) -> Registry:
    return Registry(parse_documents({name: body for item in texts for name, body in item.items()}))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store")


def changes(done: Any) -> list[tuple[Any, ...]]:
    return done.changes.rows()


def test_the_first_time_all_are_added(store: Store):
    done = configure(store, registry(text("acme"), text("bcme")))
    assert (done.providers, done.is_written, done.path) == (2, True, str(store.root / "meta" / "providers.parquet"))
    assert changes(done) == [("acme", "added", None), ("bcme", "added", None)]
    frame = pl.read_parquet(done.path)
    assert frame.schema == PROVIDER_SCHEMA
    assert json.loads(frame["capabilities"][0])["surfaces"]["chat"]["path"] == "/chat"
    assert frame["notes"][0] == PROSE.strip()
    assert [item.name for item in Path(done.path).parent.iterdir()] == ["providers.parquet"]


def test_doing_it_again_leaves_the_file_alone(store: Store):
    first = configure(store, registry(text("acme")))
    os.utime(first.path, ns=(10**18, 10**18))
    done = configure(store, registry(text("acme")))
    assert (done.is_written, changes(done), done.providers) == (False, [], 1)
    assert Path(done.path).stat().st_mtime_ns == 10**18


def test_what_changed_is_told_by_key(store: Store):
    configure(store, registry(text("acme", 'tiers = ["a"]'), text("bcme"), text("ccme")))
    caching = '[surface.caching]\nkind = "implicit"\nsource = "https://acme.test"\nchecked = 2026-11-23\n'
    done = configure(
        store, registry(text("acme", 'tiers = ["a", "b"]\n' + caching), text("bcme", prose="# New\n"), text("dcme"))
    )
    caching_keys = [f"surfaces.chat.caching.{key}" for key in ("kind", "source", "checked")]
    assert changes(done) == [
        ("dcme", "added", None),
        ("acme", "changed", ["surfaces.chat.tiers", *caching_keys]),
        ("bcme", "changed", ["prose"]),
        ("ccme", "removed", None),
    ]
    assert pl.read_parquet(done.path)["provider"].to_list() == ["acme", "bcme", "dcme"]


def test_a_provider_whose_document_cannot_be_read_now_stays(store: Store):
    configure(store, registry(text("acme"), text("bcme")))
    documents, refused = read_documents({**text("acme", "colour = 1"), **text("bcme")})
    done = configure(store, Registry(documents, refused=refused))
    assert (changes(done), done.providers, done.is_written) == ([], 2, False)


def test_a_file_that_cannot_be_replaced_stays_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch):
    before = Path(configure(store, registry(text("acme"))).path).read_bytes()

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        configure(store, registry(text("bcme")))
    assert [item.read_bytes() for item in (store.root / META).iterdir()] == [before]


def damaged(store: Store, how: str) -> Path:
    path = Path(configure(store, registry(text("acme"))).path)
    data = path.read_bytes()
    if how == "frame":
        pl.DataFrame({"provider": [[1]]}).write_parquet(path)
    else:
        path.write_bytes({"empty": b"", "text": b"no Parquet", "cut": data[: len(data) // 2], "tail": data[100:]}[how])
    return path


@pytest.mark.parametrize("how", ["empty", "text", "cut", "tail", "frame"])
def test_a_damaged_file_is_one_clear_line(how: str, store: Store):
    path = damaged(store, how)
    with pytest.raises(ProvidersFileError) as told:
        configure(store, registry(text("acme")))
    said = str(told.value)
    assert said.startswith(f"{path}: not a readable file of providers (")
    assert said.endswith("); remove it and run turnledger configure")
    assert "\n" not in said
    rows, problems = providers_of(store, registry(text("acme")))
    assert (rows["provider"].to_list(), problems) == (["acme"], [said])


def test_what_an_older_version_did_not_have_is_unknown(store: Store):
    path = Path(configure(store, registry(text("acme"))).path)
    pl.read_parquet(path).drop("unbilled_surfaces", "notes").write_parquet(path)
    rows, problems = providers_of(store, registry(text("acme")))
    assert rows["unbilled_surfaces"].to_list() == [None]
    assert problems == [f"{path}: not as the provider documents are now: turnledger configure says what changed"]
    assert changes(configure(store, registry(text("acme")))) == [("acme", "changed", ["prose"])]


# --- the ledger


def test_a_ledger_reads_the_store_s_own_providers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = write_store(tmp_path / "store", [call_row(provider="acme", surface="poll")])
    unbilled = text("acme", '[[surface]]\nname = "poll"\noperation = "chat"\npath = "/poll"\nbilled = false')
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "acme.md").write_text(unbilled["acme.md"])
    monkeypatch.setenv("TURNLEDGER_DOCUMENTS", str(tmp_path / "documents"))
    configure(store)
    monkeypatch.delenv("TURNLEDGER_DOCUMENTS")  # another machine, which has only the store
    with turnledger.open(store.root) as ledger:
        assert ledger.problems == ()
        assert ledger.sql("select surfaces from providers where provider = 'acme'").item().to_list() == ["chat", "poll"]
        assert ledger.sql("from unpriced_calls").height == 0
        shipped = set(load_documents().documents)
        assert set(ledger.sql("select provider from providers").to_series()) == shipped | {"acme"}


def test_a_ledger_without_a_copy_has_the_documents_at_hand(tmp_path: Path):
    store = write_store(tmp_path / "store", [call_row()])
    with turnledger.open(store.root) as ledger:
        assert ledger.problems == ()
        assert ledger.sql("from providers").height == len(load_documents().documents)
    assert not (store.root / META).exists()


@pytest.mark.parametrize("how", ["text", "cut"])
def test_a_ledger_goes_on_beside_a_damaged_copy_and_says_so(how: str, tmp_path: Path):
    store = write_store(tmp_path / "store", [call_row()])
    path = damaged(store, how)
    with turnledger.open(store.root) as ledger:
        (problem,) = ledger.problems
        assert problem.startswith(f"{path}: not a readable file of providers (")
        assert ledger.calls().height == 1
        assert ledger.sql("from providers").height == len(load_documents().documents)


def test_a_ledger_says_that_the_copy_is_another_version(tmp_path: Path):
    store = write_store(tmp_path / "store", [call_row()])
    path = Path(configure(store).path)
    pl.read_parquet(path).with_columns(name=pl.lit("Other")).write_parquet(path)
    with turnledger.open(store.root) as ledger:
        assert ledger.problems == (
            f"{path}: not as the provider documents are now: turnledger configure says what changed",
        )
        assert ledger.sql("select distinct name from providers").item() == "Other"


# --- the command line


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command in an empty folder."""

    def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TURNLEDGER")}
        return subprocess.run(  # noqa: PLW1510  the exit code is what is asserted
            [COMMAND, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )

    return command


def test_the_command_says_what_changed(run: Any, tmp_path: Path):
    count = len(load_documents().documents)
    path = tmp_path / "turnledger-data" / "meta" / "providers.parquet"
    first = run("configure", "-f", "json")
    assert {(row["change"], row["keys"]) for row in json.loads(first.stdout)} == {("added", None)}
    assert first.stderr == f"providers: {count} ({count} added, 0 changed, 0 removed) in {path}\n"
    again = run("configure")
    assert (again.returncode, again.stdout) == (0, "")
    assert again.stderr == f"providers: {count} (nothing changed) in {path}\n"
    path.write_bytes(b"no Parquet")
    broken = run("configure")
    assert (broken.returncode, broken.stdout, broken.stderr.count("\n")) == (1, "", 1)
    assert broken.stderr.startswith(f"error: {path}: not a readable file of providers (")


def test_one_provider_in_every_format(run: Any, tmp_path: Path):
    page = run("providers", "anthropic").stdout
    for said in (
        "Anthropic",
        "OpenTelemetry name",
        "messages ─",
        "identifiers",
        "caching",
        "Cost implications",
        "https:",
    ):
        assert said in page
    facts = json.loads(run("providers", "Anthropic", "-f", "json").stdout)
    assert facts == turnledger.get_provider_capabilities("anthropic")
    rows = pl.read_csv(io.StringIO(run("providers", "api.anthropic.com", "-f", "csv").stdout))
    assert rows["surface"].to_list() == list(facts["surfaces"])
    markdown = run("providers", "anthropic", "-f", "markdown").stdout
    assert markdown.startswith("# Anthropic\n\n| fact | |\n| --- | --- |\n")
    assert "## Surface messages" in markdown
    assert "\n## Cost implications\n" in markdown
    assert run("providers", "anthropic", "-o", "page.md").returncode == 0
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == markdown
    assert run("providers", "anthropic", "-o", "facts.json").returncode == 0
    assert json.loads((tmp_path / "facts.json").read_bytes()) == facts


def test_an_unknown_provider_is_one_line_with_the_nearest(run: Any):
    done = run("providers", "gemnii")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: Invalid value: no provider document 'gemnii'; nearest: gemini")
    assert done.stderr.count("\n") == 1


# --- pages


def shown(page: Any, color_system: Any) -> str:
    terminal = io.StringIO()
    Console(width=100, file=terminal, force_terminal=True, color_system=color_system).print(page)
    return terminal.getvalue()


@pytest.mark.parametrize("name", ["acme", "ACME", "Acme", "api.acme.test"])
def test_a_document_is_found_by_any_of_its_names(name: str):
    assert find_document(registry(text("acme"), text("bcme")), name).id == "acme"


def test_without_a_near_name_the_list_is_named():
    with pytest.raises(ValueError, match=r"^no provider document 'zz'; 'turnledger providers' lists all$"):
        find_document(registry(text("acme")), "zz")


@pytest.mark.parametrize("document", load_documents().documents.values(), ids=lambda document: document.id)
def test_every_document_has_a_page(document: Any):
    found = capabilities_of(document)
    page = shown(provider_page(found, document.prose), color_system="truecolor")
    assert found["name"] in page
    assert page.count("]8;") >= len(found["sources"])
    markdown = provider_markdown(found, document.prose)
    assert all(f"- <{url}>" in markdown for url in found["sources"])
    assert surface_table(found)["surface"].to_list() == list(found["surfaces"])


def test_text_of_documents_steers_no_terminal():
    hostile = text("acme", 'notes = "a\\u001b[31mred | [bold]b"', prose="# Acme\n\nx\x1b]0;title\x07y [link=z]w\n")
    [document] = parse_documents(hostile)
    found = capabilities_of(document)
    page = shown(provider_page(found, document.prose), color_system=None)
    assert "\x1b[31m" not in page
    assert "\x1b]0;" not in page
    assert "[bold]b" in page
    markdown = provider_markdown(found, document.prose)
    assert "\x1b" not in markdown
    assert r"red \| \[bold\]b" in markdown


def test_the_table_has_a_row_a_document():
    frame = provider_table(registry(text("acme"), text("bcme")))
    assert frame.schema == PROVIDER_SCHEMA
    assert frame.select("provider", "surfaces", "unbilled_surfaces").rows() == [
        ("acme", ["chat"], []),
        ("bcme", ["chat"], []),
    ]
