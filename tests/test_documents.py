"""Loading provider documents: a mistake is told by file, key and what was expected; hosts, inheritance, matching."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

import httpx
import pytest
import turnledger
from stub_server import json_reply
from turnledger.instrument import health
from turnledger.instrument.capabilities import get_provider_capabilities
from turnledger.instrument.documents import Registry, load_documents, parse_documents
from turnledger.instrument.exchange import Exchange
from turnledger.instrument.facts import extract
from turnledger.instrument.frontmatter import DocumentError

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Recorder
    from stub_server import StubServer

SHIPPED = {
    item.name: item.read_text(encoding="utf-8")
    for item in resources.files("turnledger.provider_docs").iterdir()
    if item.name.endswith(".md") and item.name != "README.md"
}
HEAD = 'id = "acme"\nname = "Acme"\nhosts = ["api.acme.test"]\n'
SURFACE = HEAD + '[[surface]]\nname = "chat"\noperation = "chat"\npath = "/v1/chat"\n'


def load(front: str, file: str = "acme.md", **others: str) -> Registry:
    """Load one document, given by its front matter, and others beside the shipped ones."""
    texts = {f"{stem}.md": f"+++\n{other}\n+++\n" for stem, other in others.items()}
    return Registry(parse_documents({**SHIPPED, **texts, file: f"+++\n{front}\n+++\n# Acme\n"}))


@pytest.mark.parametrize(
    ("front", "message"),
    [
        ("id = ", "acme.md: front matter: expected valid TOML ("),
        ('name = "Acme"', "acme.md: id: expected a text in quotes"),
        ('id = "acme"', "acme.md: name: expected a text in quotes"),
        ('id = "acme"\nname = ""', "acme.md: name: expected a text in quotes"),
        ('id = "acne"\nname = "Acme"\nhosts = []', "acme.md: id: expected 'acme', the name of the file"),
        ('id = "acme"\nname = "Acme"', "acme.md: hosts: expected a list of texts"),
        ('id = "acme"\nname = "Acme"\nhosts = [1]', "acme.md: hosts: expected a list of texts"),
        (
            'id = "acme"\nname = "A"\nhosts = ["api.openai.com"]',
            "hosts: expected a host of its own: api.openai.com is in",
        ),
        (HEAD + "hostss = []", "acme.md: hostss: expected one of the known keys: api_stateful, "),
        (HEAD + "content = 3", "acme.md: content: expected a table"),
        (
            HEAD + 'content = { text_key = ["a"] }',
            "acme.md: content.text_key: expected one of the known keys: opaque_keys",
        ),
        (HEAD + "content = { text_keys = 1 }", "acme.md: content.text_keys: expected a list of texts"),
        (
            HEAD + 'content = { secret_patterns = ["("] }',
            "acme.md: content.secret_patterns: expected regular expressions",
        ),
        (HEAD + "surface = 3", "acme.md: surface: expected tables written as [[surface]]"),
        (HEAD + "[surface]\nname = 'x'", "acme.md: surface: expected tables written as [[surface]]"),
        (HEAD + "[[surface]]\nname = 3", "acme.md: surface[0].name: expected a text in quotes"),
        (HEAD + "[[surface]]\nname = 'x'", "acme.md: surface[0].operation: expected a text in quotes"),
        (
            HEAD + "[[surface]]\nlike = 3",
            "acme.md: surface.like: expected 'document/surface' of an existing surface, not 3",
        ),
        (
            HEAD + "[[surface]]\nlike = 'openai/nothing'",
            "acme.md: surface.like: expected 'document/surface' of an existing",
        ),
        (
            HEAD + "[[surface]]\nlike = 'nobody/chat'",
            "acme.md: surface.like: expected 'document/surface' of an existing",
        ),
        (HEAD + "[[surface]]\nname = 'a'\nlike = 'acme/a'", "acme.md: surface.like: expected 'document/surface' of an"),
        (
            SURFACE + SURFACE.removeprefix(HEAD),
            "acme.md: surface[0].name: expected a name of its own: two surfaces are",
        ),
        (SURFACE + "colour = 'red'", "acme.md: surface[0].colour: expected one of the known keys: billed, billing, "),
        (SURFACE + "method = [1]", "acme.md: surface[0].method: expected a list of texts"),
        (SURFACE + "requires = ['body:model']", "acme.md: surface[0].requires: expected a location such as"),
        (SURFACE + "requires = ['model']", "acme.md: surface[0].requires: expected a location such as"),
        (SURFACE + "fields = []", "acme.md: surface[0].fields: expected a table"),
        (
            SURFACE + "fields = { model = 'url:x' }",
            "acme.md: surface[0].fields.model: expected one of the known keys: con",
        ),
        (SURFACE + "fields = { user = 'user' }", "acme.md: surface[0].fields.user: expected a location such as"),
        (SURFACE + "fields = { user = 3 }", "acme.md: surface[0].fields.user: expected a list of texts"),
        (
            SURFACE + "identifiers = { x = 'response.body:a b' }",
            "acme.md: surface[0].identifiers.x: expected a location",
        ),
        (SURFACE + "usage = { at = 'a..b' }", "acme.md: surface[0].usage.at: expected a path ('a..b' is not a path"),
        (SURFACE + "usage = { merge = 'most' }", "acme.md: surface[0].usage.merge: expected 'update' (later figures"),
        (
            SURFACE + "usage = { input = 'a' }",
            "acme.md: surface[0].usage.input: expected one of the known keys: at, beside, bill",
        ),
        (
            SURFACE + "usage = { input_tokens = 'a + ' }",
            "acme.md: surface[0].usage.input_tokens: expected a sum of paths",
        ),
        (SURFACE + "usage = { details = 1 }", "acme.md: surface[0].usage.details: expected a table"),
        (
            SURFACE + "usage = { details = { x = 'a-' , y = 'a b' } }",
            "surface[0].usage.details.y: expected a sum of paths",
        ),
        (SURFACE + "usage = { billed_cost_unit_usd = 'x' }", "usage.billed_cost_unit_usd: expected a number in quotes"),
        (
            SURFACE + "usage = { billed_cost_unit_usd = 'NaN' }",
            "usage.billed_cost_unit_usd: expected a number in quotes",
        ),
        (SURFACE + "usage = { billed_cost_unit_usd = 0.1 }", "usage.billed_cost_unit_usd: expected a text in quotes"),
        (SURFACE + "stream = { always = 'yes' }", "acme.md: surface[0].stream.always: expected true or false"),
        (
            SURFACE + "stream = { done = 'x' }",
            "acme.md: surface[0].stream.done: expected one of the known keys: always",
        ),
        (SURFACE + "stream = { unwrap = '' }", "acme.md: surface[0].stream.unwrap: expected a path"),
        (SURFACE + "messages = { at = 'a b' }", "acme.md: surface[0].messages.at: expected a path"),
        (
            SURFACE + "messages = { roles = 'x' }",
            "acme.md: surface[0].messages.roles: expected one of the known keys: answer, at",
        ),
        (SURFACE.replace("/v1/chat", "v1/chat"), "acme.md: surface[0].path: expected a path such as"),
        (SURFACE.replace("/v1/chat", "/{a}/{a}"), "acme.md: surface[0].path: expected a path such as"),
    ],
)
def test_a_mistake_is_told_by_file_key_and_what_was_expected(front: str, message: str):
    with pytest.raises(DocumentError) as error:
        load(front)
    assert message in str(error.value)
    assert "\n" not in str(error.value).removesuffix(")")


@pytest.mark.parametrize("text", ["", "# Acme\n", "+++\nid = 'acme'\n", "---\nid: acme\n---\n"])
def test_a_document_begins_with_its_front_matter(text: str):
    with pytest.raises(DocumentError, match=r"acme\.md: front matter: expected TOML between two lines of '\+\+\+'"):
        parse_documents({"acme.md": text})


def test_line_ends_of_windows_are_read():
    document = parse_documents({"acme.md": f"+++\n{SURFACE}+++\n\n# Acme\n".replace("\n", "\r\n")})[0]
    assert (document.name, document.prose, len(document.surfaces)) == ("Acme", "# Acme", 1)


def post(url: str, request: bytes = b'{"model":"m","messages":[]}', response: bytes = b"{}") -> Exchange:
    return Exchange.build(method="POST", url=url, request_body=request, status_code=200, response_body=response)


COMPATIBLE = HEAD + '[[surface]]\nname = "chat.completions"\nlike = "openai_compatible/chat.completions"\n'


def test_a_compatible_provider_is_one_document_and_no_python():
    answer = (
        b'{"id":"c-1","model":"acme-large-2","created":1760000000,"session_id":"s-9","choices":[{"message":{"role":'
        b'"assistant","content":"Confidential"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":4,'
        b'"total_tokens":13,"prompt_tokens_details":{"cached_tokens":5},"cost_ticks":25}}'
    )
    registry = load(
        COMPATIBLE
        + '[surface.identifiers]\nsession_id = "response.body:session_id"\n'
        + '[surface.usage]\nbilled_cost = "cost_ticks"\nbilled_cost_unit_usd = "0.0001"\n'
    )
    facts = extract(post("https://api.acme.test/v1/chat/completions", response=answer), registry)
    assert facts is not None
    assert (facts.provider, facts.surface, facts.response_model) == ("acme", "chat.completions", "acme-large-2")
    assert facts.identifiers == {"response_id": ["c-1"], "session_id": ["s-9"]}
    assert (facts.usage.input_tokens, facts.usage.output_tokens, facts.usage.cache_read_tokens) == (9, 4, 5)
    assert str(facts.usage.billed_cost_usd) == "0.0025"
    assert facts.raw_metadata["response"]["choices"][0]["message"]["content"] == "<12 chars>"


def test_what_holds_text_is_inherited_however_far():
    front = COMPATIBLE.replace("openai_compatible/chat", "openai/chat")
    facts = extract(
        post(
            "https://api.acme.test/v1/chat/completions",
            response=b'{"choices":[{"message":{"content":"Confidential"}}]}',
        ),
        load(front),
    )
    assert facts is not None
    assert "Confidential" not in str(facts.raw_metadata)


def test_a_surface_s_own_keys_win_and_its_tables_are_joined():
    base = load(COMPATIBLE).documents["acme"].surfaces[0]
    surface = (
        load(COMPATIBLE + "requires = []\n[surface.usage]\ninput_tokens = 'n'\n[surface.usage.details]\nx = 'y'\n")
        .documents["acme"]
        .surfaces[0]
    )
    assert surface.requires == ()
    assert surface.usage.counts.keys() == base.usage.counts.keys()
    assert surface.usage.counts["input_tokens"] != base.usage.counts["input_tokens"]
    assert surface.usage.details.keys() == {"x"}  # tables within a table are replaced as a whole
    assert surface.fields == base.fields


def test_an_unknown_host_with_a_known_path_keeps_its_address():
    facts = extract(post("http://models.internal:8000/v1/chat/completions"), load_documents())
    assert facts is not None
    assert (facts.provider, facts.server_address) == ("openai_compatible", "models.internal")


@pytest.mark.parametrize("path", ["/v1/chat/completions/c-1", "/chat", "/v1/files", "/", ""])
def test_an_unknown_host_with_an_unknown_path_is_no_provider(path: str):
    assert extract(post("http://models.internal" + path), load_documents()) is None


def test_an_unknown_host_must_be_sent_the_shape_of_the_surface():
    assert extract(post("http://models.internal/v1/chat/completions", b'{"model":"m"}'), load_documents()) is None
    assert extract(post("http://models.internal/api/responses", b'{"model":"m"}'), load_documents()) is None


@pytest.mark.parametrize(
    ("mapped", "url", "provider"),
    [
        ("gateway.internal", "https://gateway.internal/v1/messages", "anthropic"),
        ("GATEWAY.internal", "https://Gateway.Internal/v1/messages", "anthropic"),
        ("gateway.internal", "https://gateway.internal:8443/v1/messages", "anthropic"),
        ("gateway.internal:8443", "https://gateway.internal:8443/v1/messages", "anthropic"),
        ("gateway.internal:8443", "https://gateway.internal/v1/messages", None),
        ("*.gateway.internal", "https://eu.gateway.internal/v1/messages", "anthropic"),
        ("[::1]:8080", "http://[::1]:8080/v1/messages", "anthropic"),
    ],
)
def test_a_host_is_mapped_to_a_document(mapped: str, url: str, provider: str | None):
    facts = extract(post(url), load_documents({mapped: "anthropic"}))
    assert (facts and facts.provider) == provider


def test_a_host_mapped_to_nothing_is_told():
    with pytest.raises(
        ValueError, match=r"hosts: 'gw' is mapped to 'acne', which has no document; known: .*anthropic, "
    ):
        load_documents({"gw": "acne"})


def test_a_provider_is_found_by_its_id_and_by_its_opentelemetry_name():
    assert get_provider_capabilities("gemini") == get_provider_capabilities("gcp.gemini")
    with pytest.raises(ValueError, match=r"^no provider document 'gemnii'; known: .*anthropic, .*openrouter"):
        get_provider_capabilities("gemnii")


def test_claims_about_a_provider_are_not_inherited_by_another():
    front = COMPATIBLE.replace("openai_compatible/chat", "openai/chat")
    facts = load(front).documents["acme"].surfaces[0].facts
    assert "metadata_fields" in facts
    assert not facts.keys() & {"caching", "retention", "sources", "checked", "notes"}


def test_surfaces_that_are_like_each_other_in_a_circle_are_told():
    circle = HEAD + "[[surface]]\nname = 'a'\nlike = 'acme/b'\n[[surface]]\nname = 'b'\nlike = 'acme/a'\n"
    with pytest.raises(DocumentError, match=r"acme\.md: surface\.like: expected 'document/surface'"):
        load(circle)


@pytest.mark.parametrize(
    ("shape", "path", "may"),
    [
        ("/v1/chat", "/v1/chat", True),
        ("/v1/chat", "/v1/chat/", True),
        ("/v1/chat", "/v1/chats", False),
        ("/v1/models/{model}:run", "/v1/models/m:run", True),
        ("/v1/models/{model}:run", "/v1/models/m:walk", False),
        ("/v1/batches/{batch}", "/v1/batches/b-1", True),
        ("/v1/batches/{batch}", "/v1/files/b-1", False),
        ("/v1/{kind}/{name}", "/anything/at/all", True),
        ("/", "/", True),
        ("/", "/v1/chat", False),
    ],
)
def test_a_request_is_judged_by_the_end_of_its_path_first(shape: str, path: str, *, may: bool):
    surface = f'[[surface]]\nname = "x"\noperation = "chat"\npath = "{shape}"\n'
    text = f'+++\nid = "acme"\nname = "A"\nhosts = []\n{surface}+++\n'
    registry = Registry(parse_documents({"acme.md": text}))
    assert registry.may_match("POST", path.encode()) is may
    assert not registry.may_match("GET", path.encode())


def named(host: str, surface: str = "", stem: str = "acme") -> str:
    """Return the front matter of a document with one surface of its own."""
    return (
        f'id = "{stem}"\nname = "Acme"\nhosts = ["{host}"]\n[[surface]]\nname = "chat"\noperation = "chat"\n'
        f'path = "**/chat/completions"\n{surface}'
    )


@pytest.mark.parametrize(
    ("pattern", "host", "fits"),
    [
        ("models.*.acme.test", "models.eu-west-1.acme.test", True),
        ("models.*.acme.test", "models.eu-west-1.acme.test:443", True),
        ("models.*.acme.test", "models.acme.test", False),
        ("models.*.acme.test", "models.x.acme.test.evil", False),
        ("*-ai.acme.test", "eu-ai.acme.test", True),
        ("*.acme.test", "acme.test", False),
        ("a.b*.test", "aXb.test", False),
    ],
)
def test_a_star_in_a_host_is_any_text(pattern: str, host: str, *, fits: bool):
    found = load(named(pattern)).of_host(host)
    assert (found is not None and found.id == "acme") is fits


def test_a_gateway_is_told_by_what_it_requires_at_a_host_nobody_names():
    like = 'like = "openai_compatible/chat.completions"\n'
    registry = load(named("*", like + 'requires = ["response.header:x-acme-id", "request.body:messages"]\n'))
    request = {"method": "POST", "url": "http://any.internal/v1/chat/completions", "status_code": 200}
    body = b'{"model":"m","messages":[]}'
    answer = b'{"id":"r-1","usage":{"prompt_tokens":3,"completion_tokens":1}}'
    by_header = Exchange.build(
        **request, request_body=body, response_body=answer, response_headers=[("X-Acme-Id", "1")]
    )
    plain = Exchange.build(**request, request_body=body, response_body=answer)
    other = Exchange.build(**request, request_body=b"{}", response_body=answer, response_headers=[("X-Acme-Id", "1")])
    assert [getattr(extract(item, registry), "provider", None) for item in (by_header, plain, other)] == [
        "acme",
        "openai_compatible",
        None,
    ]


def test_two_surfaces_of_one_path_are_told_apart_by_what_they_require():
    first = named("api.acme.test", 'requires = ["request.body:thread"]\n')
    second = '[[surface]]\nname = "plain"\noperation = "chat"\npath = "**/chat/completions"\n'
    registry = load(first + second)
    url = "https://api.acme.test/v1/chat/completions"
    sent = [b'{"thread":"t-1"}', b"{}", b"nothing to read"]
    assert [getattr(extract(post(url, body), registry), "surface", None) for body in sent] == ["chat", "plain", "plain"]


# --- documents of the user's own


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of documents that the environment names."""
    monkeypatch.setenv("TURNLEDGER_DOCUMENTS", str(tmp_path))
    return tmp_path


def write(folder: Path, front: str, file: str = "acme.md") -> None:
    (folder / file).write_text(f"+++\n{front}\n+++\n# Acme\n", encoding="utf-8")


def test_a_provider_is_added_by_writing_one_document(folder: Path, capture: Recorder, stub: StubServer):
    write(folder, COMPATIBLE.replace("api.acme.test", stub.host))
    answer = {"id": "r-1", "model": "acme-9", "usage": {"prompt_tokens": 7, "completion_tokens": 2}}
    stub.script(json_reply(answer))
    capture.hosts.clear()
    capture.on()
    assert httpx.post(f"{stub.url}/v1/chat/completions", json={"model": "acme", "messages": []}).json() == answer
    row = capture.row()
    assert (row["provider"], row["surface"], row["response_model"]) == ("acme", "chat.completions", "acme-9")
    assert (row["input_tokens"], row["output_tokens"], row["response_id"]) == (7, 2, "r-1")


def test_a_document_of_the_same_name_takes_the_place_of_the_shipped_one(folder: Path):
    write(folder, 'id = "deepseek"\nname = "Mine"\nhosts = ["deepseek.internal"]', "deepseek.md")
    registry = load_documents()
    assert registry.refused == ()
    assert registry.documents["deepseek"].name == "Mine"
    assert registry.of_host("api.deepseek.com") is None


def test_a_malformed_document_is_refused_and_the_others_keep_working(folder: Path):
    write(folder, HEAD + "colour = 'red'")
    write(folder, HEAD.replace("acme", "bcme") + "[[surface]]\nname = 3", "bcme.md")
    write(folder, 'id = "zcme"\nname = "Z"\nhosts = ["api.openai.com"]', "zcme.md")
    write(folder, HEAD.replace("acme", "good"), "good.md")
    (folder / "notes.md").write_text("No front matter.", encoding="utf-8")
    registry = load_documents()
    assert [str(error).partition(": expected")[0] for error in registry.refused] == [
        "notes.md: front matter",
        "acme.md: colour",
        "bcme.md: surface[0].name",
        "zcme.md: hosts",
    ]
    assert [health.snapshot()[f"documents.{name}.md"] for name in ("notes", "acme", "bcme", "zcme")] == [1] * 4
    assert {stem.removesuffix(".md") for stem in SHIPPED} | {"good"} == registry.documents.keys()
    assert extract(post("https://api.openai.com/v1/chat/completions"), registry) is not None
    (folder / "store" / "spans").mkdir(parents=True)
    with turnledger.open(folder / "store") as ledger:
        assert ledger.problems == tuple(map(str, registry.refused))


@pytest.mark.parametrize("odd", ["missing", "file", "bytes"])
def test_a_folder_that_cannot_be_read_is_told_and_the_shipped_documents_keep_working(
    folder: Path, odd: str, monkeypatch: pytest.MonkeyPatch
):
    if odd == "bytes":
        (folder / "acme.md").write_bytes(b"+++\n\xff\xfe\n+++\n")
    else:
        monkeypatch.setenv("TURNLEDGER_DOCUMENTS", str(folder / odd))
        if odd == "file":
            (folder / odd).write_text("")
    registry = load_documents()
    [error] = registry.refused
    assert str(error).partition(" (")[0].endswith("TURNLEDGER_DOCUMENTS: expected a folder of Markdown files in UTF-8")
    assert registry.documents.keys() == {stem.removesuffix(".md") for stem in SHIPPED}
