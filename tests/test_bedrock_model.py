"""What a document says of answers is what the SDK's own description of the service says: nothing else, nothing less."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from botocore.loaders import Loader
from turnledger.instrument.documents import load_documents
from turnledger.instrument.identifiers import is_identifier_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from turnledger.instrument.paths import Path
    from turnledger.instrument.surfaces import Surface

SURFACES = {surface.name: surface for surface in load_documents().documents["bedrock"].surfaces}
RUNTIME, AGENTS, HARNESS = "bedrock-runtime", "bedrock-agent-runtime", "bedrock-agentcore"

COMPLETE = {
    "converse": (RUNTIME, "Converse"),
    "converse-stream": (RUNTIME, "ConverseStream"),
    "count-tokens": (RUNTIME, "CountTokens"),
    "guardrail": (RUNTIME, "ApplyGuardrail"),
    "async-invoke": (RUNTIME, "StartAsyncInvoke"),
    "async-invoke.get": (RUNTIME, "GetAsyncInvoke"),
    "retrieve-and-generate": (AGENTS, "RetrieveAndGenerate"),
    "retrieve-and-generate.stream": (AGENTS, "RetrieveAndGenerateStream"),
    "rerank": (AGENTS, "Rerank"),
    "sessions": (AGENTS, "CreateSession"),
    "sessions.invocations": (AGENTS, "CreateInvocation"),
    "sessions.steps": (AGENTS, "PutInvocationStep"),
    "harness": (HARNESS, "InvokeHarness"),
}
"""Surfaces and the operations whose every identifier and token count they read, or explain."""

FOUND = COMPLETE | {
    "agents": (AGENTS, "InvokeAgent"),
    "agents.inline": (AGENTS, "InvokeInlineAgent"),
    "flows": (AGENTS, "InvokeFlow"),
}
"""Surfaces and the operations in whose answers all stands that they read; a trace of an agent has much more."""


_SHARED = ("converse", "converse-stream", "harness")
"""One description of answers in one piece and of streams, whose events hold the same under other names."""


def model(service: str) -> dict[str, Any]:
    """Return the SDK's description of a service."""
    return Loader().load_service_model(service, "service-2")


def leaves(shapes: dict[str, Any], name: str, path: str = "", seen: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the paths of all values in a shape's body, lists passed over, any key of a map as ``*``."""
    shape = shapes[name]
    if name in seen:
        return
    if shape["type"] == "structure":
        for key, member in shape["members"].items():
            if "location" not in member:
                # What is streamed stands at the top: an event is an object of its own.
                below = (
                    "" if shapes[member["shape"]].get("eventstream") else f"{path}.{member.get('locationName', key)}"
                )
                yield from leaves(shapes, member["shape"], below.removeprefix("."), (*seen, name))
    elif shape["type"] == "list":
        yield from leaves(shapes, shape["member"]["shape"], path, (*seen, name))
    elif shape["type"] == "map":
        yield from leaves(shapes, shape["value"]["shape"], f"{path}.*", (*seen, name))
    else:
        yield path


def answer(service: str, operation: str) -> set[str]:
    """Return the paths of all values in the answers of an operation."""
    found = model(service)
    return set(leaves(found["shapes"], found["operations"][operation]["output"]["shape"]))


def plain(path: Path) -> str:
    """Return a path without its steps into lists."""
    return ".".join(step for step in path if not step.startswith("["))


def read(surface: Surface) -> set[str]:
    """Return the paths of answers at which a surface looks for identifiers, facts and counts."""
    fields = {name: locations for name, locations in surface.fields.items() if name != "error_type"}
    locations = [item for found in (surface.identifiers, fields) for items in found.values() for item in items]
    paths = {plain(location.path) for location in locations if location.source.startswith("response.b")}
    usage = surface.usage
    expressions = [*usage.counts.values(), *usage.cache_write_by_ttl.values(), *usage.details.values()]
    terms = {path for item in expressions for alternative in item.alternatives for path, *_ in alternative}
    return paths | {plain((*at, *term)) for at in usage.at for term in terms}


def within(paths: Iterable[str], envelopes: Iterable[Path]) -> dict[str, set[str]]:
    """Return for each path where it may stand: by itself, or in an envelope of a stream's."""
    return {path: {path, *(f"{plain(envelope)}.{path}" for envelope in envelopes)} for path in paths}


def stands(place: str, known: set[str]) -> bool:
    """Tell whether there is a value at a place, ``*`` being any key."""
    pattern = re.compile(re.escape(place).replace(r"\*", r"[^.]+"))
    return any(pattern.fullmatch(path) for path in known)


@pytest.mark.parametrize(("name", "operation"), FOUND.items(), ids=FOUND)
def test_what_is_read_exists(name: str, operation: tuple[str, str]):
    surface, known = SURFACES[name], answer(*operation)
    if name in _SHARED:
        known = known.union(*(answer(*FOUND[shared]) for shared in _SHARED))
    places = within(read(surface), surface.stream.unwrap)
    assert [path for path, where in places.items() if not any(stands(place, known) for place in where)] == []


@pytest.mark.parametrize(("name", "operation"), COMPLETE.items(), ids=COMPLETE)
def test_what_exists_is_read_or_explained(name: str, operation: tuple[str, str]):
    surface = SURFACES[name]
    explained = {re.sub(r"\[.*?\]", "", path) for path in surface.facts.get("explained", {})}
    places = within(read(surface) | explained, surface.stream.unwrap)
    known = {place for where in places.values() for place in where}
    wanted = {path for path in answer(*operation) if is_wanted(path.rpartition(".")[2])}
    assert sorted(wanted - known) == []


def is_wanted(key: str) -> bool:
    """Tell whether a value of this name is an identifier or a count of tokens."""
    return is_identifier_key(key) or key.endswith("Tokens")


def test_the_paths_of_operations_are_those_of_the_document():
    for name, (service, operation) in FOUND.items():
        uri = model(service)["operations"][operation]["http"]["requestUri"]
        sample = re.sub(r"\{\w+\}", "x-1", uri.partition("?")[0])
        assert SURFACES[name].path.fullmatch(sample), (name, uri)


def test_counts_in_headers_are_of_every_model():
    for name, surface in SURFACES.items():
        if name.startswith("invoke"):
            assert surface.usage.headers["inputTokenCount"] == "x-amzn-bedrock-input-token-count"
