"""Rows for people and programs: a frame as table, JSON, CSV, Parquet or Markdown, on standard output or in a file.

Text from recorded traffic is hostile: what could steer a terminal or break a Markdown table never reaches either.
"""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
import polars as pl
from rich.box import Box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

UNPIPED_WIDTH: Final = 10_000
"""Columns of a table that goes into a file or a pipe: as many as it wants."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_MARKDOWN: Final = re.compile(r"([\\|`*<>\[\]]|\b_|_\b)")


_RULED: Final = Box("    \n    \n ── \n    \n    \n    \n    \n    \n")
"""No lines but one under the header: ids can be copied, and columns keep two spaces between them."""
_NARROWEST_TEXT: Final = 10


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    MARKDOWN = "markdown"


_SUFFIXES: Final = {
    ".json": Format.JSON,
    ".csv": Format.CSV,
    ".parquet": Format.PARQUET,
    ".md": Format.MARKDOWN,
}


def format_of(said: Format | None, output: Path | None) -> Format:
    """Return the format asked for, else the one the file's name ends with, else a table."""
    return said or (_SUFFIXES.get(output.suffix.lower()) if output else None) or Format.TABLE


def write_frame(frame: pl.DataFrame, form: Format, output: Path | None = None) -> None:
    """Print a frame, or write it to a file that appears under its name only when it is complete.

    Raises:
        OSError: if the file cannot be written; one that was there before is as it was.
        ValueError: if Parquet would go to a terminal.
    """
    if output is not None:
        replace_file(output, _RENDERERS[form](frame))
    elif form is Format.TABLE:
        room = Console().width if sys.stdout.isatty() else UNPIPED_WIDTH
        Console(width=UNPIPED_WIDTH).print(table_of(frame, room), crop=False)
    elif form is Format.PARQUET and sys.stdout.isatty():
        raise ValueError("Parquet is no text: name a file with --output, or pipe it")
    else:
        sys.stdout.buffer.write(_RENDERERS[form](frame))
        sys.stdout.buffer.flush()


def write_text(text: str, output: Path | None = None) -> None:
    """Print text, or write it to a file that appears under its name only when it is complete.

    Raises:
        OSError: if the file cannot be written.
    """
    if output is not None:
        replace_file(output, text.encode())
    else:
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()


def replace_file(output: Path, data: bytes) -> None:
    """Write a file that appears under its name only when it is complete; one that was there before is replaced."""
    handle, temporary = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)  # as a file made by open() would be
        Path(temporary).replace(output)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def table_of(frame: pl.DataFrame, room: int, figures: Collection[str] = ()) -> Table:
    """Return a frame as a Rich table; numbers to the right, unknown as a dash.

    Args:
        frame: the rows.
        room: characters a line should have at most. Ids break to fit, figures never do: a table that still does not fit
            is wider, so that no column is left out.
        figures: columns of text that are figures for people, and stand to the right.
    """
    heads = [printable(name).replace("_", "\n") for name in frame.columns]
    rows = [[printable(cell_text(cell)) for cell in row] for row in frame.iter_rows()]
    widths = [
        max(cell_len(line) for line in (*head.splitlines(), *(row[index] for row in rows)))
        for index, head in enumerate(heads)
    ]
    right = _right(frame, figures)
    texts = [index for index, kind in enumerate(frame.dtypes) if not (right[index] or kind.is_temporal())]
    while texts and sum(widths) + len(widths) + 1 > room:
        longest = max(texts, key=lambda index: widths[index])
        if widths[longest] <= _NARROWEST_TEXT:
            break
        widths[longest] -= 1
    table = Table(header_style="bold", box=_RULED, pad_edge=False, padding=0)
    for head, width, is_right in zip(heads, widths, right, strict=True):
        table.add_column(Text(head), justify="right" if is_right else "left", width=width, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _right(frame: pl.DataFrame, figures: Collection[str]) -> list[bool]:
    """Tell of each column whether it stands to the right."""
    return [kind.is_numeric() or name in figures for name, kind in frame.schema.items()]


def cell_text(cell: Any) -> str:
    """Return one value as people read it: money to a millionth of a dollar, times in UTC, unknown as a dash."""
    if isinstance(cell, list):
        return ", ".join(cell_text(item) for item in cast("list[Any]", cell))
    if isinstance(cell, dict):
        return ", ".join(f"{key}={cell_text(value)}" for key, value in cast("dict[str, Any]", cell).items())
    if isinstance(cell, datetime):
        return f"{cell:%Y-%m-%d %H:%M:%S}{'Z' if cell.tzinfo else ''}"
    if isinstance(cell, Decimal | float):
        return f"{cell:.6f}" if isinstance(cell, Decimal) else f"{cell:.1f}"
    return "-" if cell is None else str(cell)


def printable(text: str) -> str:
    """Return text without anything that moves a cursor, changes colours or turns the writing direction."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def markdown_text(text: str) -> str:
    """Return text that stands in a Markdown table's cell as it is."""
    return _MARKDOWN.sub(r"\\\1", printable(text))


def printable_lines(text: str) -> str:
    """Return text of several lines, each of them printable."""
    return "\n".join(printable(line) for line in text.splitlines())


def _render_table(frame: pl.DataFrame) -> bytes:
    console = Console(file=io.StringIO(), width=UNPIPED_WIDTH)
    with console.capture() as captured:
        console.print(table_of(frame, UNPIPED_WIDTH))
    return captured.get().encode()


def json_rows(frame: pl.DataFrame) -> str:
    """Return a frame as one JSON array of objects. Money is a number with every digit it has."""
    rows = [orjson.dumps(_plain(row), default=_plain, option=orjson.OPT_UTC_Z) for row in frame.iter_rows(named=True)]
    return (b"[" + b",\n ".join(rows) + b"]").decode()


def _render_json(frame: pl.DataFrame) -> bytes:
    return f"{json_rows(frame)}\n".encode()


def _plain(value: Any) -> Any:
    """Return what the JSON encoder takes, with exact numerals for money."""
    match value:
        case Decimal():
            return orjson.Fragment(_exact(value))
        case datetime():
            return value.astimezone(UTC) if value.tzinfo else value
        case dict():
            return {str(key): _plain(item) for key, item in cast("dict[Any, Any]", value).items()}
        case list():
            return [_plain(item) for item in cast("list[Any]", value)]
        case str() | int() | float() | bool() | date() | None:
            return value
        case _:
            return str(value)


def _exact(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _render_csv(frame: pl.DataFrame) -> bytes:
    """Comma-separated, with a header line; what has parts of its own is JSON in its cell."""
    nested = [name for name, kind in frame.schema.items() if kind.is_nested()]
    flat = frame.with_columns(
        pl.Series(name, [None if cell is None else _json_text(cell) for cell in frame[name].to_list()], pl.String)
        for name in nested
    )
    return flat.write_csv().encode()


def _json_text(cell: Any) -> str:
    return orjson.dumps(_plain(cell), default=_plain).decode()


def _render_parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def markdown_table(frame: pl.DataFrame, figures: Collection[str] = ()) -> str:
    """Return a frame as a Markdown table; numbers, and the columns that are ``figures``, to the right."""
    rule = ["---:" if is_right else "---" for is_right in _right(frame, figures)]
    heads = [[markdown_text(cell) for cell in frame.columns], rule]
    rows = [[markdown_text(cell_text(cell)) for cell in row] for row in frame.iter_rows()]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (*heads, *rows))


def _render_markdown(frame: pl.DataFrame) -> bytes:
    return markdown_table(frame).encode()


_RENDERERS: Final[Mapping[Format, Callable[[pl.DataFrame], bytes]]] = {
    Format.TABLE: _render_table,
    Format.JSON: _render_json,
    Format.CSV: _render_csv,
    Format.PARQUET: _render_parquet,
    Format.MARKDOWN: _render_markdown,
}
