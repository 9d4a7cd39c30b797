"""What tests say to models and models to them, in the shapes of several surfaces, and the digests of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from turnledger.instrument.digests import DigestKey, Thread, thread_of
from turnledger.instrument.documents import load_documents
from turnledger.instrument.metadata import without_earlier_messages

if TYPE_CHECKING:
    from turnledger.instrument.message_rules import MessageRules

KEY = DigestKey.of(bytes(range(32)))
REGISTRY = load_documents()


def rules_of(place: str) -> MessageRules:
    """Return the rules of ``document/surface``."""
    document, _, surface = place.partition("/")
    return next(item.messages for item in REGISTRY.named(document).surfaces if item.name == surface)


def thread(place: str, request: dict[str, Any], *documents: Any, key: DigestKey = KEY) -> Thread:
    """Return where a call of ``document/surface`` stands by its messages."""
    rules = rules_of(place)
    _, messages = without_earlier_messages(request, rules)
    found = thread_of(orjson.dumps(request), request, messages, documents, rules, key)
    assert found is not None
    return found


def user(text: str) -> dict[str, Any]:
    """Return a user's message as most surfaces write it."""
    return {"role": "user", "content": text}


def model(text: str) -> dict[str, Any]:
    """Return an answer sent back as most surfaces write it."""
    return {"role": "assistant", "content": text}


def completion(text: str, **more: Any) -> dict[str, Any]:
    """Return a chat completion."""
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text, **more}}]}
