"""Every shipped provider document holds to the format, and the page that describes the format is true.

Written for whatever documents there are: a new one is checked without a word here.
"""

from __future__ import annotations

import json
import re
import textwrap
from datetime import date
from decimal import Decimal
from importlib import resources
from typing import Any

import pytest
from turnledger.instrument import paths
from turnledger.instrument.capabilities import get_provider_capabilities
from turnledger.instrument.documents import Registry, load_documents, parse_documents
from turnledger.instrument.frontmatter import DocumentError

FOLDER = resources.files("turnledger.provider_docs")
README = (FOLDER / "README.md").read_text(encoding="utf-8")
SHIPPED = {
    item.name: item.read_text(encoding="utf-8")
    for item in FOLDER.iterdir()
    if item.name.endswith(".md") and item.name != "README.md"
}
REGISTRY = load_documents()
DOCUMENTS = list(REGISTRY.documents.values())
SURFACES = [(document, surface) for document in DOCUMENTS for surface in document.surfaces]
TEMPLATE = ["Architecture", "Implementation details", "Cost implications", "SDK information"]

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.id)
each_surface = pytest.mark.parametrize(
    ("document", "surface"), SURFACES, ids=[f"{document.id}/{surface.name}" for document, surface in SURFACES]
)


def described(heading: str) -> set[str]:
    """Return the keys in the tables under a heading of the README, up to the next heading."""
    section = re.split(rf"(?m)^#+ {re.escape(heading)}$", README)[1]
    return set(re.findall(r"(?m)^\| `(\w[\w.]*)` \|", re.split(r"(?m)^#+ ", section)[0]))


HEAD = 'id = "x"\nname = "X"\nhosts = []\n'
SURFACE = HEAD + '[[surface]]\nname = "s"\noperation = "o"\npath = "/p"\n'


@pytest.mark.parametrize(
    ("heading", "front"),
    [
        ("Top level", HEAD + "no_such_key = 1"),
        ("`[billing]`", HEAD + "[billing]\nno_such_key = 1"),
        ("`[content]`", HEAD + "[content]\nno_such_key = 1"),
        ("`[[export]]`", HEAD + "[[export]]\nname = 'e'\nrequires = ['a']\nno_such_key = 1"),
        ("`[[surface]]`", SURFACE + "no_such_key = 1"),
        ("`[surface.fields]`", SURFACE + "[surface.fields]\nno_such_key = 'url:x'"),
        ("`[surface.usage]`", SURFACE + "[surface.usage]\nno_such_key = 'x'"),
        ("`[surface.stream]`", SURFACE + "[surface.stream]\nno_such_key = 'x'"),
        ("`[surface.messages]`", SURFACE + "[surface.messages]\nno_such_key = 'x'"),
    ],
)
def test_the_readme_describes_the_keys_that_are_read(heading: str, front: str):
    with pytest.raises(DocumentError, match="no_such_key: expected one of the known keys: ") as error:
        parse_documents({"x.md": f"+++\n{front}\n+++\n"})
    accepted = set(error.value.expected.partition(": ")[2].split(", "))
    assert described(heading) == accepted - {"no_such_key"}


def test_the_readme_describes_the_sources_of_locations():
    with pytest.raises(DocumentError, match="requires: expected a location") as error:
        parse_documents({"x.md": f"+++\n{SURFACE}requires = ['nowhere:x']\n+++\n"})
    accepted = str(error.value).partition("does not begin with one of ")[2].rstrip(")").split(", ")
    assert described("Locations and paths") == set(accepted)


def test_the_readme_describes_the_facts_that_are_stated():
    caching = [surface.facts["caching"] for _, surface in SURFACES if "caching" in surface.facts]
    assert described("`[surface.caching]`") == {key for table in caching for key in table}
    sdks = [sdk for document in DOCUMENTS for sdk in document.front.get("sdk", {}).values()]
    assert described("`[sdk.<package>]`") == {key for sdk in sdks for key in sdk}
    words = re.search(r"(?s)Capabilities: (.*?)\.", README)
    assert words
    assert set(re.findall(r"`(\w+)`", words[1])) == {
        word for document in DOCUMENTS for word in document.front.get("capabilities", [])
    }


def test_the_readme_s_example_works():
    example = re.search(r"(?s)   (    \+\+\+\n.*?)\n\n\d\. ", README)
    assert example
    registry = Registry(parse_documents({**SHIPPED, "acme.md": textwrap.dedent(example[1].replace("       ", ""))}))
    match = registry.match("POST", "api.acme.ai", "/v1/chat/completions")
    assert match
    assert (match.document.id, match.surface.name) == ("acme", "chat.completions")


def test_the_readme_is_no_document():
    assert {f"{document.id}.md" for document in DOCUMENTS} == SHIPPED.keys()


def test_hosts_are_told_apart():
    hosts = [host.lower() for document in DOCUMENTS for host in document.hosts if host != "*"]
    assert len(hosts) == len(set(hosts))


def test_what_is_taken_at_any_host_has_marks_of_its_own():
    anywhere = [surface for document in DOCUMENTS if "*" in document.hosts for surface in document.surfaces]
    assert all(surface.requires for surface in anywhere)
    marks = [
        (method, surface.path.pattern, frozenset(surface.requires))
        for surface in anywhere
        for method in surface.methods
    ]
    assert len(marks) == len(set(marks))


@each_document
def test_a_document_says_who_it_is_and_where_that_is_from(document: Any):
    front = document.front
    assert document.name
    assert document.hosts
    assert document.surfaces
    assert date(2024, 1, 1) < front["checked"] <= date.today()  # noqa: DTZ011  a day, anywhere
    assert front["sources"]
    assert all(url.startswith("https://") for url in front["sources"])
    for key in ("api_stateful", "sdk_session_support", "capabilities", "cost_truth", "headers"):
        assert key in front, key


@each_document
def test_the_prose_has_its_four_parts(document: Any):
    parts = re.split(r"(?m)^## (.+)$", document.prose)
    assert parts[0].startswith(f"# {document.name}")
    assert parts[1::2] == TEMPLATE
    assert all(len(text.split()) >= 8 for text in parts[2::2])


@each_document
def test_capabilities_are_found_by_id_and_by_opentelemetry_name(document: Any):
    found = get_provider_capabilities(document.id)
    assert get_provider_capabilities(document.otel_name) == found
    assert found["surfaces"].keys() == {surface.name for surface in document.surfaces}
    assert json.loads(json.dumps(found, default=str))["id"] == document.id


def sample_paths(document: Any, name: str) -> list[str]:
    """Return URL paths of a surface, as its document writes the pattern."""
    written = next(item["path"] for item in document.front["surface"] if item["name"] == name)
    path = re.sub(r"\{\w+\}", "thing-1.2", written)
    return ["/v1beta" + path[2:], path[2:]] if path.startswith("**") else [path]


def candidates(method: str, host: str, path: str) -> list[Any]:
    """Return the surfaces that a request may be of, in the order in which they are tried."""
    found, match = [], REGISTRY.match(method, host, path)
    while match is not None:
        found.append(match.surface)
        match = match.otherwise
    return found


@each_surface
def test_a_surface_is_found_by_its_path_and_hides_no_other(document: Any, surface: Any):
    host = next((host.replace("*", "eu") for host in document.hosts), "")
    host = "anything.internal" if host == "eu" else host
    for path in sample_paths(document, surface.name):
        for method in surface.methods:
            assert REGISTRY.may_match(method, path.encode())
            found = candidates(method, host, path)
            assert surface in found, path
            before = found[: found.index(surface)]
            assert all(set(other.requires) - set(surface.requires) for other in before), "it is never reached"
            assert candidates(method, host, path + "/") == found
        assert REGISTRY.match("BREW", host, path) is None


@each_surface
def test_what_a_call_is_known_by_is_an_identifier_too(document: Any, surface: Any):
    named = {location for locations in surface.identifiers.values() for location in locations}
    for field in ("response_id", "previous_response_id", "conversation", "user"):
        assert set(surface.fields.get(field, ())) <= named, field
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in surface.identifiers)


@each_surface
def test_facts_have_a_source_and_a_date(document: Any, surface: Any):
    facts = surface.facts
    if "retention" in facts:
        assert facts["sources"]
    for url in facts.get("sources", []):
        assert url.startswith("https://")
    if "caching" in facts:
        assert facts["caching"]["source"].startswith("https://")
        assert isinstance(facts["caching"]["checked"], date)
    assert all(paths.parse(path) for path in facts.get("metadata_fields", []))
    tiers = facts.get("tiers", ["standard"])
    assert tiers
    assert len(tiers) == len(set(tiers))


@each_surface
def test_caching_can_be_computed_with(document: Any, surface: Any):
    caching = surface.facts.get("caching", {})
    for key, value in caching.items():
        if "multiplier" in key:
            figures = value.values() if isinstance(value, dict) else [value]
            assert all(isinstance(figure, str) and 0 <= Decimal(figure) <= 3 for figure in figures), key
        elif key.startswith(("minimum_tokens", "granularity_tokens", "breakpoints", "lookback_")):
            figures = value.values() if isinstance(value, dict) else [value]
            assert all(isinstance(figure, int) and figure > 0 for figure in figures), key
    ttls = [*caching.get("ttls", []), *caching.get("write_multiplier_by_ttl", {}), *surface.usage.cache_write_by_ttl]
    assert all(re.fullmatch(r"\d+[mhd]", ttl) for ttl in [*ttls, caching.get("default_ttl", "5m")])
    if "ttls" in caching:
        assert caching["default_ttl"] in caching["ttls"]
