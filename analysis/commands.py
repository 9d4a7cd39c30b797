"""The command line: a thin shell, each command one call of a documented Python function.

Data goes to standard output, everything said about it to standard error. Exit code 2 is wrong usage, 1 a failure,
3 a limit that was exceeded.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from importlib.metadata import version as installed_version
from typing import Annotated, Final, NoReturn

import duckdb
import orjson
import typer
from rich.console import Console

from ..exporters.store import Store
from ..instrument.capabilities import capabilities_of
from ..instrument.documents import load_documents
from .diffing import diffing
from .doctor import doctor_command
from .importing import import_command
from .ledger import StoreError, reason
from .listing import listing
from .options import FormatOption, OutputOption, StoreOption
from .output import Format, format_of, printable_lines, write_frame, write_text
from .pricing.command import prices_command
from .provider_page import provider_markdown, provider_page, surface_table
from .providers import configure, find_document, provider_overview, provider_table
from .recommending import recommend_command
from .reconciling.command import reconcile_command
from .retention import retention
from .shell import FOR_PEOPLE, opened, say
from .spending import spending
from .upkeep import upkeep

app: Final = typer.Typer(
    name="turnledger",
    help="The books of your LLM conversations: identifiers, usage and costs, from a folder of Parquet.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(listing)
app.add_typer(spending)
app.add_typer(diffing)
app.add_typer(upkeep)
app.add_typer(retention)
app.add_typer(recommend_command)
app.add_typer(doctor_command)
app.add_typer(prices_command)
app.add_typer(reconcile_command)
app.add_typer(import_command, name="import", help="Import recorded exchanges.")


def run() -> None:
    """Run the command line; whatever goes wrong is one plain line."""
    try:
        status: object = app(standalone_mode=False)
    except typer.TyperException as error:
        message = str(getattr(error, "format_message", error.__str__)())
        _fail(f"{message} (see {_command_of(error)} --help)", 2)
    except typer.Abort:
        _fail("stopped", 130)
    except BrokenPipeError:
        # The reader went away, as `head` does: nothing is wrong, and nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except duckdb.Error as error:
        _fail(reason(error), 1)  # a query's mistake keeps the lines that point at it
    except (StoreError, ValueError, OSError) as error:
        _fail(" ".join(str(error).split()), 1)
    raise SystemExit(status if isinstance(status, int) else 0)


def _command_of(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return str(context.command_path) if context is not None else "turnledger"


def _fail(line: str, status: int) -> NoReturn:
    sys.stderr.write(f"error: {printable_lines(line)}\n")
    raise SystemExit(status) from None


@app.callback(invoke_without_command=True)
def _main(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"turnledger {installed_version('turnledger')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def demo(store: StoreOption = None) -> None:
    """Run a little app against recorded answers, without key or network, and show its books."""
    from .demo import DemoUnavailable, run_demo  # noqa: PLC0415  SDKs load only here

    try:
        run_demo(Store.at(store), Console())
    except DemoUnavailable as error:
        raise StoreError(str(error)) from None


@app.command()
def providers(
    name: Annotated[str | None, typer.Argument(help="Show one provider's document: its id, name or host.")] = None,
    form: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """List the providers that have a document, or show one: surfaces, identifiers, caching, cost truths.

    Of one provider JSON has its capabilities, CSV and Parquet its surfaces, Markdown and the terminal all there is.
    """
    registry = load_documents()
    for refused in registry.refused:
        say(f"warning: {refused}")
    chosen = format_of(form, output)
    if name is None:
        table = provider_table(registry)
        write_frame(provider_overview(table) if chosen in FOR_PEOPLE else table, chosen, output)
        return
    try:
        document = find_document(registry, name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    found = capabilities_of(document)
    if chosen is Format.TABLE and output is None:
        Console().print(provider_page(found, document.prose))
    elif chosen is Format.JSON:
        write_text(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() + "\n", output)
    elif chosen in FOR_PEOPLE:
        write_text(provider_markdown(found, document.prose), output)
    else:
        write_frame(surface_table(found), chosen, output)


@app.command("configure")
def _configure(store: StoreOption = None, form: FormatOption = None, output: OutputOption = None) -> None:
    """Write the providers model of a store from the provider documents, and say what changed since last time."""
    registry = load_documents()
    for refused in registry.refused:
        say(f"warning: {refused}")
    done = configure(Store.at(store), registry)
    chosen = format_of(form, output)
    if done.changes.height or chosen is not Format.TABLE or output is not None:
        write_frame(done.changes, chosen, output)
    counts = Counter(done.changes["change"].to_list())
    said = ", ".join(f"{counts[change]} {change}" for change in ("added", "changed", "removed"))
    say(f"providers: {done.providers} ({said if done.changes.height else 'nothing changed'}) in {done.path}")


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One SELECT over the models; - reads it from standard input.")],
    store: StoreOption = None,
    form: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """Query the models: calls, conversations, attempts, prices, unpriced_calls, daily_spend, providers, spans ..."""
    text = sys.stdin.read() if query == "-" else query
    with opened(store) as ledger:
        statements = ledger.connection.extract_statements(text)
        if len(statements) != 1:
            raise typer.BadParameter(f"one SQL statement is expected, {len(statements)} were given")
        if statements[0].type not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
            raise typer.BadParameter("only queries are run: begin with SELECT, FROM, WITH, DESCRIBE or EXPLAIN")
        ledger.only_read()
        write_frame(ledger.sql(text), format_of(form, output), output)
