"""The provider documents as a relation, at hand or as a store was configured with them, and what changed in between."""

from __future__ import annotations

import difflib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
import polars as pl

from ..exporters.storage import UnavailableError
from ..exporters.store import META
from ..instrument.capabilities import capabilities_of
from ..instrument.documents import load_documents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..exporters.store import Store
    from ..instrument.documents import ProviderDocument, Registry

_TEXTS: Final = pl.List(pl.String)
_FILE: Final = f"{META}/providers.parquet"
PROVIDER_SCHEMA: Final = pl.Schema(
    {
        "provider": pl.String(),
        "name": pl.String(),
        "otel_provider_name": pl.String(),
        "hosts": _TEXTS,
        "surfaces": _TEXTS,
        "unbilled_surfaces": _TEXTS,  # those whose requests run no model: no price is missed there
        "api_stateful": pl.String(),
        "sdk_session_support": pl.String(),
        "supported_identifiers": _TEXTS,
        "metadata_fields": _TEXTS,
        "checked": pl.Date(),
        "capabilities": pl.String(),  # JSON: the document's facts, surface by surface
        "notes": pl.String(),  # Markdown: the document's prose
        "bills": pl.Boolean(),  # false: a gateway whose upstream sends the bill
        "routes": pl.Boolean(),  # hands requests on to other providers
        # what of a call is billed that was given up on, failed or was declined: [billing] of the document
        "aborted_stream": pl.String(),
        "stream_error": pl.String(),
        "timeout": pl.String(),
        "refusal": pl.String(),
        "refusal_reasons": _TEXTS,
        "billed_statuses": pl.List(pl.Int64),
    }
)

_BILLING: Final = ("aborted_stream", "stream_error", "timeout", "refusal", "refusal_reasons", "billed_statuses")


class ProvidersFileError(ValueError):
    """A store's file of providers cannot be read; the text says what, where and what to do."""


@dataclass(frozen=True, slots=True)
class Configured:
    """What configuring a store did.

    Attributes:
        path: the store's file of providers.
        providers: how many providers are in it now.
        changes: one row per provider that is not as it was: ``provider``, ``change`` (``added``, ``changed`` or
            ``removed``) and the ``keys`` of its document that changed.
        is_written: False where all was as before, and the file was left alone.
    """

    path: str
    providers: int
    changes: pl.DataFrame
    is_written: bool


def provider_table(registry: Registry) -> pl.DataFrame:
    """Return one row per provider document."""
    return pl.DataFrame(
        [_row(document) for document in registry.documents.values()], schema=PROVIDER_SCHEMA, orient="row"
    )


def provider_overview(table: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each provider that fits a terminal: who it is, its first host, how many surfaces it has."""
    more = pl.col("hosts").list.len() - 1
    return table.select(
        "provider",
        "name",
        host=pl.col("hosts").list.first()
        + pl.when(more > 0).then(pl.format(" and {} more", more)).otherwise(pl.lit("")),
        surfaces=pl.col("surfaces").list.len(),
        checked="checked",
    )


def _row(document: ProviderDocument) -> dict[str, Any]:
    found = capabilities_of(document)
    surfaces = found["surfaces"]
    return {
        "provider": document.id,
        "name": document.name,
        "otel_provider_name": document.otel_name,
        "hosts": found["hosts"],
        "surfaces": list(surfaces),
        "unbilled_surfaces": [name for name, surface in surfaces.items() if not surface["billed"]],
        "api_stateful": _text(found["api_stateful"]),
        "sdk_session_support": _text(found["sdk_session_support"]),
        "supported_identifiers": sorted({name for surface in surfaces.values() for name in surface["identifiers"]}),
        "metadata_fields": sorted({path for surface in surfaces.values() for path in surface["metadata_fields"]}),
        "checked": document.front.get("checked"),
        "capabilities": orjson.dumps(found).decode(),
        "notes": document.prose.strip(),
        "bills": found["bills"],
        "routes": not found["bills"] or "routing" in found["capabilities"],
        **{name: found["billing"][name] for name in _BILLING},
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def find_document(registry: Registry, name: str) -> ProviderDocument:
    """Return the document that a person means: by its id, OpenTelemetry name, display name or one of its hosts.

    Raises:
        ValueError: if there is none, with the nearest names.
    """
    by_name: dict[str, ProviderDocument] = {}
    for document in reversed(registry.documents.values()):
        for alias in (document.name, document.otel_name, document.id):
            by_name[alias.lower()] = document
    found = registry.documents.get(name) or by_name.get(name.lower()) or registry.of_host(name)
    if found is not None:
        return found
    near = difflib.get_close_matches(name.lower(), by_name, n=5, cutoff=0.5)
    ids = list(dict.fromkeys(by_name[alias].id for alias in near))
    hint = f"nearest: {', '.join(ids)}; " if ids else ""
    raise ValueError(f"no provider document {name!r}; {hint}'turnledger providers' lists all")


# --- a store's own copy


def configure(store: Store, registry: Registry | None = None) -> Configured:
    """Write the ``providers`` model of a store from the documents, so that it tells the same wherever it is opened.

    Doing it again changes nothing; the file appears complete or not at all. A provider whose document cannot be read
    now stays as it was.

    Args:
        store: the store; its folder is made where there is none yet.
        registry: provider documents; default the shipped ones and the user's own.

    Returns:
        What is different from the last time.

    Raises:
        ProvidersFileError: if the store's file of providers is damaged.
        OSError: if it cannot be written.
    """
    registry = registry or load_documents()
    before, after = _stored(store), provider_table(registry)
    if before is not None:
        refused = [error.file.removesuffix(".md") for error in registry.refused]
        kept = pl.col("provider").is_in(refused) & ~pl.col("provider").is_in(after["provider"].to_list())
        after = pl.concat([after, before.filter(kept)])
    after = after.sort("provider")
    is_new = before is None or not before.equals(after)
    if is_new:
        buffer = io.BytesIO()
        after.write_parquet(buffer, compression="zstd")
        store.storage.publish(_FILE, lambda file: file.write(buffer.getvalue()))
    return Configured(store.storage.path(_FILE), after.height, _changes(before, after), is_new)


def providers_of(store: Store, registry: Registry) -> tuple[pl.DataFrame, list[str]]:
    """Return the providers as a store was configured with them, and those at hand that it does not have yet.

    Returns:
        The rows, and a line for what is wrong: a damaged file (what is at hand stands for it), or one that is not as
        the documents at hand are.
    """
    at_hand = provider_table(registry)
    try:
        stored = _stored(store)
    except ProvidersFileError as error:
        return at_hand, [str(error)]
    if stored is None:
        return at_hand, []
    here = pl.col("provider").is_in(at_hand["provider"].to_list())
    missing = ~pl.col("provider").is_in(stored["provider"].to_list())
    problems: list[str] = []
    if not stored.filter(here).sort("provider").equals(at_hand.sort("provider")):
        path = store.storage.path(_FILE)
        problems = [f"{path}: not as the provider documents are now: turnledger configure says what changed"]
    return pl.concat([stored, at_hand.filter(missing)]), problems


def _stored(store: Store) -> pl.DataFrame | None:
    """Return the store's own rows, None where it was never configured. What an older version had not is NULL."""
    try:
        with store.storage.open(_FILE) as file:
            frame = pl.read_parquet(file)
        columns = [
            (pl.col(name) if name in frame.columns else pl.lit(None)).cast(kind).alias(name)
            for name, kind in PROVIDER_SCHEMA.items()
        ]
        return frame.select(columns)
    except FileNotFoundError:
        return None
    except UnavailableError:
        raise
    except (OSError, pl.exceptions.PolarsError) as error:
        said = " ".join(str(error).split())[:120]
        path = store.storage.path(_FILE)
        raise ProvidersFileError(
            f"{path}: not a readable file of providers ({said}); remove it and run turnledger configure"
        ) from error


def _changes(before: pl.DataFrame | None, after: pl.DataFrame) -> pl.DataFrame:
    old = {} if before is None else {str(row["provider"]): row for row in before.iter_rows(named=True)}
    new = {str(row["provider"]): row for row in after.iter_rows(named=True)}
    rows = [
        *((name, "added", None) for name in new if name not in old),
        *((name, "changed", _changed(old[name], new[name])) for name in new if name in old and old[name] != new[name]),
        *((name, "removed", None) for name in old if name not in new),
    ]
    schema = {"provider": pl.String(), "change": pl.String(), "keys": _TEXTS}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return the keys of a document that are not as they were; ``prose`` is what stands below its front matter."""
    old, new = (dict(_leaves(_facts(row["capabilities"]), "")) for row in (before, after))
    both = {**old, **new}
    keys = [
        key
        for key in both
        if old.get(key) != new.get(key) and not any(other.startswith(f"{key}.") for other in both)  # the whole table
    ]
    if before["notes"] != after["notes"]:
        keys.append("prose")
    return keys or [name for name in PROVIDER_SCHEMA if before[name] != after[name]]


def _facts(text: str | None) -> Any:
    try:
        return orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return {}


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for key, value in cast("dict[str, Any]", node).items():
            yield from _leaves(value, f"{path}.{key}" if path else key)
    else:
        yield path, node
