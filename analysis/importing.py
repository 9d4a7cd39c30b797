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
from .har import ImportReport, import_har
from .options import FormatOption, OutputOption, StoreOption
from .output import format_of, printable, write_frame

import_command: Final = typer.Typer()
_ENDINGS: Final = ("*.har", "*.har.gz")


@import_command.command("har")
def har(
    paths: Annotated[list[Path], typer.Argument(help="HAR files, plain or gzip, or folders of them.")],
    store: StoreOption = None,
    form: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """Import HAR recordings. Importing a file again adds nothing."""
    files = _files(paths)
    try:
        with _progress() as told:
            reports = import_har(files, Store.at(store), progress=told)
    except KeyFileError as error:
        sys.stderr.write(f"error: {printable(str(error))}\n")
        raise typer.Exit(1) from error
    write_frame(_account(reports), format_of(form, output), output)
    for report in reports:
        if report.error:
            sys.stderr.write(f"error: {printable(str(report.path))}: {report.error}\n")
    if any(report.error for report in reports):
        raise typer.Exit(1)


def _files(paths: Sequence[Path]) -> list[Path]:
    """Return the files named, those of folders in order of their names."""
    files: list[Path] = []
    for path in paths:
        found = sorted({item for ending in _ENDINGS for item in path.rglob(ending)}) if path.is_dir() else [path]
        if not found:
            raise typer.BadParameter(f"{path}: there is no .har or .har.gz file in this folder")
        files += found
    return files


def _account(reports: Sequence[ImportReport]) -> pl.DataFrame:
    rows = [
        {
            "file": str(report.path),
            "taken": report.taken,
            "already_there": report.duplicates,
            "skipped": sum(report.skipped.values()),
            "skipped_why": ", ".join(f"{count} {reason}" for reason, count in report.skipped.most_common()) or None,
            "error": report.error,
        }
        for report in reports
    ]
    schema = {"file": pl.String, "taken": pl.Int64, "already_there": pl.Int64, "skipped": pl.Int64}
    return pl.DataFrame(rows, schema={**schema, "skipped_why": pl.String, "error": pl.String}, orient="row")


@contextmanager
def _progress() -> Generator[Callable[[Path, int, int], None]]:
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
