"""What a document says of its provider, as programs get it: typed, JSON, with sources and days."""

from __future__ import annotations

import json
from datetime import date
from typing import Any, get_type_hints

import pytest
import turnledger
from turnledger.instrument.capabilities import (
    CachingCapabilities,
    ProviderCapabilities,
    SdkCapabilities,
    SurfaceCapabilities,
    UsageCapabilities,
    capabilities_of,
)
from turnledger.instrument.documents import load_documents, parse_documents
from turnledger.instrument.surfaces import Location

DOCUMENTS = list(load_documents().documents.values())
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.id)

ACME = """+++
id = "acme"
name = "Acme AI"
hosts = ["api.acme.test"]
checked = 2026-11-20
api_stateful = "threads"

[sdk.acme]
version = "1.2"
checked = 2026-11-19

[[surface]]
name = "chat"
operation = "chat"
path = "**/models/{model}:run"
method = ["POST", "PUT"]
stateful = false
metadata_fields = "answers[].reason"
tiers = "plain"

[surface.identifiers]
response_id = ["response.body:$.id", "response.header:X-Id"]
thing_id = "response.body:a[].b[kind=x].id"

[surface.usage]
at = "usage"
input_tokens = "in"
billed_cost = "cost"
details = { sources = "n" }
cache_write_by_ttl = { 5m = "w5" }

[surface.caching]
kind = "implicit"
read_multiplier = "0.1"
source = "https://acme.test/cache"
checked = 2026-11-18

[[surface]]
name = "poll"
operation = "chat"
path = "/poll"
billed = false
checked = 2026-11-17
+++
# Acme AI
"""


def test_a_whole_document():
    [document] = parse_documents({"acme.md": ACME})
    assert capabilities_of(document) == {
        "id": "acme",
        "name": "Acme AI",
        "otel_provider_name": "acme",
        "price_provider": "acme",
        "hosts": ["api.acme.test"],
        "api_stateful": "threads",
        "sdk_session_support": None,
        "capabilities": [],
        "cost_truth": None,
        "bills": True,
        "billing": {
            "aborted_stream": "unknown",
            "stream_error": "unknown",
            "timeout": "unknown",
            "refusal": "unknown",
            "refusal_reasons": [],
            "billed_statuses": [],
            "stated_by": None,
            "source": [],
            "checked": None,
            "notes": None,
        },
        "headers": [],
        "sources": [],
        "checked": "2026-11-20",
        "sdk": {"acme": {"version": "1.2", "checked": "2026-11-19"}},
        "surfaces": {
            "chat": {
                "operation": "chat",
                "methods": ["POST", "PUT"],
                "path": "**/models/{model}:run",
                "billed": True,
                "stateful": False,
                "retention": None,
                "supported_identifiers": ["response_id", "thing_id"],
                "identifiers": {
                    "response_id": ["response.body:id", "response.header:x-id"],
                    "thing_id": ["response.body:a[].b[kind=x].id"],
                },
                "metadata_fields": ["answers[].reason"],
                "usage": {
                    "counts": ["input_tokens"],
                    "cache_write_by_ttl": ["5m"],
                    "details": ["sources"],
                    "reports_billed_cost": True,
                },
                "caching": {
                    "kind": "implicit",
                    "read_multiplier": "0.1",
                    "source": "https://acme.test/cache",
                    "checked": "2026-11-18",
                },
                "tiers": ["plain"],
                "sources": [],
                "checked": "2026-11-20",
                "notes": None,
            },
            "poll": {
                "operation": "chat",
                "methods": ["POST"],
                "path": "/poll",
                "billed": False,
                "stateful": None,
                "retention": None,
                "supported_identifiers": [],
                "identifiers": {},
                "metadata_fields": [],
                "usage": {"counts": [], "cache_write_by_ttl": [], "details": [], "reports_billed_cost": False},
                "caching": None,
                "tiers": [],
                "sources": [],
                "checked": "2026-11-17",
                "notes": None,
            },
        },
    }


def assert_typed(found: dict[str, Any], kind: Any) -> None:
    """Assert that a dict has the keys of its type, all of them where they are required, and values of their kinds."""
    hints = get_type_hints(kind)
    assert kind.__required_keys__ <= found.keys() <= hints.keys(), kind
    for key, value in found.items():
        simple = {str: str, int: int, bool: bool}.get(hints[key])
        assert simple is None or isinstance(value, simple), (kind, key, value)


@each_document
def test_every_document_is_typed_json(document: Any):
    found: Any = turnledger.get_provider_capabilities(document.id)
    assert json.loads(json.dumps(found)) == found
    assert_typed(found, ProviderCapabilities)
    for sdk in found["sdk"].values():
        assert_typed(sdk, SdkCapabilities)
    for surface in found["surfaces"].values():
        assert_typed(surface, SurfaceCapabilities)
        assert_typed(surface["usage"], UsageCapabilities)
        if surface["caching"] is not None:
            assert_typed(surface["caching"], CachingCapabilities)
            assert {"kind", "source", "checked"} <= surface["caching"].keys()
    days = [found["checked"], *(surface["checked"] for surface in found["surfaces"].values())]
    assert all(date.fromisoformat(day) for day in days)


@each_document
def test_places_are_told_as_documents_write_them(document: Any):
    for surface in document.surfaces:
        for locations in surface.identifiers.values():
            assert tuple(Location.parse(str(location)) for location in locations) == locations


def test_an_unknown_provider_is_told():
    with pytest.raises(ValueError, match=r"^no provider document 'acne'; known: .*anthropic, "):
        turnledger.get_provider_capabilities("acne")
