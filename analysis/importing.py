"""``turnledger import``: recordings into a store, with progress and an account of what became of every file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import polars as pl
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from ..exporters.keys import KeyFileError
from ..exporters.store import Store
from ..instrument.documents import load_documents
from .har import import_har
from .options import FormatOption, OutputOption, StoreOption
from .output import Format, format_of, printable, write_frame
from .providers import find_document
from .response_lines import FIELDS
from .responses import import_responses
from .taking import ImportReport
from .unpacking import Progress as Told

import_command: Final = typer.Typer()
_HAR_ENDINGS: Final = (".har", ".har.gz")
_LINES_ENDINGS: Final = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")


@import_command.command("har")
def har(
    paths: Annotated[list[Path], typer.Argument(help="HAR files, plain or gzip, or folders of them.")],
    store: StoreOption = None,
    form: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """Import HAR recordings. Importing a file again adds nothing."""
    files = _files(paths, _HAR_ENDINGS)
    _import(lambda told: import_har(files, Store.at(store), progress=told), form, output)


@import_command.command("responses")
def responses(
    paths: Annotated[list[Path], typer.Argument(help="Files of JSON lines, plain or gzip, or folders of them.")],
    store: StoreOption = None,
    provider: Annotated[
        str | None, typer.Option("--provider", help="Whose responses they are, where a line does not say it.")
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(
            "--field", help=f"What a field is called in the files: response=raw. Fields: {', '.join(FIELDS)}."
        ),
    ] = None,
    form: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """Import raw responses that an application has kept. Importing a file again adds nothing."""
    files, names, registry = _files(paths, _LINES_ENDINGS), _names(field or ()), load_documents()
    try:
        whose = find_document(registry, provider).id if provider is not None else None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None

    def run(told: Told) -> list[ImportReport]:
        return import_responses(files, Store.at(store), provider=whose, fields=names, progress=told, registry=registry)

    _import(run, form, output)


def _names(said: Sequence[str]) -> dict[str, str]:
    """Return the names of fields by ours."""
    pairs = [text.partition("=") for text in said]
    for name, sign, theirs in pairs:
        if name not in FIELDS or not (sign and theirs):
            hint = f"response=raw_response; fields: {', '.join(FIELDS)}"
            raise typer.BadParameter(f"{name + sign + theirs!r} is not like {hint}")
    return {name: theirs for name, _, theirs in pairs}


def _import(run: Callable[[Told], list[ImportReport]], form: Format | None, output: Path | None) -> None:
    """Run an import, print what became of every file, and say which could not be read."""
    try:
        with _progress() as told:
            reports = run(told)
    except KeyFileError as error:
        sys.stderr.write(f"error: {printable(str(error))}\n")
        raise typer.Exit(1) from error
    write_frame(_account(reports), format_of(form, output), output)
    for report in reports:
        if report.error:
            sys.stderr.write(f"error: {printable(str(report.path))}: {report.error}\n")
    if any(report.error for report in reports):
        raise typer.Exit(1)


def _files(paths: Sequence[Path], endings: Sequence[str]) -> list[Path]:
    """Return the files named, those of folders in order of their names."""
    files: list[Path] = []
    for path in paths:
        found = sorted({item for end in endings for item in path.rglob(f"*{end}")}) if path.is_dir() else [path]
        if not found:
            raise typer.BadParameter(f"{path}: there is no {' or '.join(endings)} file in this folder")
        files += found
    return files


def _account(reports: Sequence[ImportReport]) -> pl.DataFrame:
    rows = [
        {
            "file": str(report.path),
            "taken": report.taken,
            "already_there": report.duplicates,
            "skipped": sum(report.skipped.values()),
            "skipped_why": _reasons(report),
            "error": report.error,
        }
        for report in reports
    ]
    schema = {"file": pl.String, "taken": pl.Int64, "already_there": pl.Int64, "skipped": pl.Int64}
    return pl.DataFrame(rows, schema={**schema, "skipped_why": pl.String, "error": pl.String}, orient="row")


def _reasons(report: ImportReport) -> str | None:
    said = [(reason, count, report.places.get(reason)) for reason, count in report.skipped.most_common()]
    return ", ".join(f"{count} {reason}" + (f" (first: {at})" if at else "") for reason, count, at in said) or None


@contextmanager
def _progress() -> Generator[Told]:
    """Show how far the current file is read, on a terminal only."""
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    tasks: dict[Path, int] = {}

    def told(path: Path, read: int, size: int) -> None:
        if path not in tasks:
            tasks[path] = bar.add_task(printable(path.name), total=size)
        bar.update(tasks[path], completed=read)  # pyright: ignore[reportArgumentType]  a task's id is an int

    with bar:
        yield told
