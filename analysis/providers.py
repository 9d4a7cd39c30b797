"""The provider documents as a relation: what each provider offers and what is read from its calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
import polars as pl

from ..instrument.capabilities import capabilities_of

if TYPE_CHECKING:
    from ..instrument.documents import ProviderDocument, Registry

_TEXTS: Final = pl.List(pl.String)
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
    }
)


def provider_table(registry: Registry) -> pl.DataFrame:
    """Return one row per provider document."""
    return pl.DataFrame(
        [_row(document) for document in registry.documents.values()], schema=PROVIDER_SCHEMA, orient="row"
    )


def _row(document: ProviderDocument) -> dict[str, Any]:
    fields = [str(name) for surface in document.surfaces for name in surface.facts.get("metadata_fields", ())]
    return {
        "provider": document.id,
        "name": document.name,
        "otel_provider_name": document.otel_name,
        "hosts": list(document.hosts),
        "surfaces": [surface.name for surface in document.surfaces],
        "unbilled_surfaces": [surface.name for surface in document.surfaces if not surface.is_billed],
        "api_stateful": _text(document.front.get("api_stateful")),
        "sdk_session_support": _text(document.front.get("sdk_session_support")),
        "supported_identifiers": sorted({name for surface in document.surfaces for name in surface.identifiers}),
        "metadata_fields": sorted(set(fields)),
        "checked": document.front.get("checked"),
        "capabilities": orjson.dumps(capabilities_of(document)).decode(),
        "notes": document.prose.strip(),
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)
