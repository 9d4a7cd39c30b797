"""``[surface.continuing]`` of every document, and what is refused of such a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from turnledger.instrument.continuing import TEXT, continuing_rules
from turnledger.instrument.documents import load_documents
from turnledger.instrument.frontmatter import DocumentError, Table
from turnledger.instrument.managing.breakpoints import marked
from turnledger.instrument.managing.shaping import filled
from turnledger.instrument.messages import MODEL, SYSTEM, USER, role_of

if TYPE_CHECKING:
    from turnledger.instrument.surfaces import Surface

SURFACES = {
    f"{document.id}/{surface.name}": surface
    for document in load_documents().documents.values()
    for surface in document.surfaces
    if surface.continuing.messages and surface.is_billed
}
MARKED = [name for name, surface in SURFACES.items() if surface.continuing.breakpoint]


def test_the_surfaces_that_go_on():
    expected = {
        *("openai/chat.completions", "openai/responses", "anthropic/messages", "gemini/generate_content"),
        *("gemini/interactions", "mistral/chat.completions", "mistral/conversations", "openrouter/chat.completions"),
        *("bedrock/converse", "cohere/chat", "ollama/chat", "openai_compatible/chat.completions"),
    }
    assert expected <= SURFACES.keys()


@pytest.mark.parametrize("name", SURFACES)
def test_templates_are_told_apart(name: str):
    """What the manager writes is read as what it is: by the windows, and by the stitching of recorded calls."""
    surface = SURFACES[name]
    rules, of_messages = surface.continuing, surface.messages
    assert role_of(filled(rules.user, "hello"), of_messages) == USER
    assert role_of(filled(rules.assistant, "hello"), of_messages) == MODEL
    if rules.system_message:
        assert role_of(filled(rules.system_message, "hello"), of_messages) == SYSTEM
    assert bool(rules.system_message) != bool(rules.system_argument)
    assert TEXT not in str(filled(rules.user, "hello"))
    assert of_messages.whole or of_messages.answer, "nothing says where the answer stands"
    assert rules.calls


@pytest.mark.parametrize("name", SURFACES)
def test_a_state_that_can_be_used_can_be_lost(name: str):
    surface: Surface = SURFACES[name]
    if surface.continuing.state:
        assert surface.facts.get("stateful") is not False
        assert surface.continuing.expired_status


@pytest.mark.parametrize("name", MARKED)
def test_no_request_has_too_many_breakpoints(name: str):
    surface = SURFACES[name]
    rules = surface.continuing
    assert rules.breakpoint is not None
    messages = [filled(template, "hello") for template in (rules.user, rules.assistant) * 5] + [filled(rules.user, "x")]
    marks = marked({rules.messages: messages}, rules, surface.messages, None)[rules.messages]
    changed = [number for number, message in enumerate(messages) if marks[number] != message]
    assert changed == [8, 10]
    assert len(changed) <= rules.breakpoint.most


GOOD: dict[str, Any] = {"messages": "m", "user": {"text": TEXT}, "assistant": {"text": TEXT}}
MARK: dict[str, Any] = {"mark": {"cached": True}, "places": "messages", "most": 4}


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"messages": "m"}, "user"),
        ({**GOOD, "user": {"text": "hello"}}, "user"),
        ({**GOOD, "system_argument": "config[].system"}, "system_argument"),
        ({**GOOD, "state": {"previous_id": 1}}, "previous_id"),
        ({**GOOD, "calls": "a[b"}, "calls"),
        ({**GOOD, "mesages": "m"}, "mesages"),
        ({**GOOD, "breakpoint": {**MARK, "places": "footer"}}, "places"),
        ({**GOOD, "breakpoint": {**MARK, "most": 0}}, "most"),
        ({**GOOD, "breakpoint": {**MARK, "most": True}}, "most"),
        ({**GOOD, "breakpoint": {**MARK, "part": {"p": 1}}}, "mark"),
        ({**GOOD, "breakpoint": {"places": "messages", "most": 1}}, "mark"),
        ({**GOOD, "breakpoint": {**MARK, "colour": "red"}}, "colour"),
    ],
)
def test_what_is_refused(values: dict[str, Any], key: str):
    with pytest.raises(DocumentError) as caught:
        continuing_rules(Table("acme.md", "surface[0].continuing", values))
    assert caught.value.key.endswith(key)


def test_what_is_taken():
    rules = continuing_rules(Table("acme.md", "", {**GOOD, "breakpoint": MARK, "expired": ["404", "gone"]}))
    assert (rules.expired_status, rules.expired_codes) == (frozenset({404}), frozenset({"gone"}))
    assert rules.breakpoint is not None
    assert (rules.breakpoint.places, rules.breakpoint.most) == (frozenset({"messages"}), 4)
    assert continuing_rules(Table("acme.md", "", {})).messages == ""
