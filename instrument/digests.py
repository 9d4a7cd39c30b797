"""Chained, keyed digests of messages: what ties a call to the one it continues, and tells nothing of what was said.

The digest of a prefix of messages is made of the one before it, so equal digests mean equal prefixes. A request that
begins with an earlier call's request and answer has that call's answer digest among its prefixes that end with a
model's message. Without the key nobody can find out by trying which text a digest is of.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from .messages import MODEL, SYSTEM, Canonical, canonical, read_parts
from .metadata import is_from_model
from .paths import find

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .message_rules import MessageRules

DIGEST_BYTES: Final = 12
"""96 bits: among a billion messages the odds of two that collide are one in a hundred billion."""

_OWN_BYTES: Final = 8
KEPT_PREFIXES: Final = 3
"""Prefixes kept of a request, the longest first: more than one, should the calls between have gone unseen."""

MAX_CHOICES: Final = 8
EARLIER: Final = "earlier"
TOOLS: Final = "tools"


class DigestKey(NamedTuple):
    """The key of a store's digests, and a name of it that does not give it away."""

    secret: bytes
    name: str

    @classmethod
    def of(cls, secret: bytes) -> DigestKey:
        """Return the key with its name."""
        return cls(secret, hashlib.blake2b(b"name", key=secret, digest_size=4).hexdigest())


class MessageSize(NamedTuple):
    """A message sent or answered, or several as one entry: by whom, how many, and how large; never what.

    ``size`` is in bytes of text, tool calls and their results; ``media`` counts the parts of users that are no text;
    ``digest`` is of a message by itself, not chained.
    """

    role: str
    messages: int
    size: int
    media: int
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Thread:
    """Where a call stands among others, by its messages alone.

    Attributes:
        key_name: name of the key of all the digests.
        request: digest of the whole request.
        prefixes: digests of the prefixes that end with a model's message, the longest first; the answers continued.
        answers: digest of request and answer, one a choice; none where nothing was answered.
        system: digest of system prompt and tools; these never tie calls.
        sizes: system prompt, tools, earlier messages as one, new messages one by one, the answer.
        first: digest of the request's first message by itself: what a window or a summary begins with.
        asks_tools: whether the answer calls a tool of the application.
        marks_cache: whether the request says what is to be cached.
    """

    key_name: str
    request: str
    prefixes: tuple[str, ...]
    answers: tuple[str, ...]
    system: str | None
    sizes: tuple[MessageSize, ...]
    first: str | None
    asks_tools: bool
    marks_cache: bool


def thread_of(  # noqa: PLR0913  a call is that many parts
    body: bytes, request: Any, messages: Sequence[Any], documents: Sequence[Any], rules: MessageRules, key: DigestKey
) -> Thread | None:
    """Return where a call stands among others, None where its request holds no messages.

    Args:
        body: the request's body as it was sent.
        request: its JSON document, whole.
        messages: all of its messages.
        documents: the response's JSON documents; none of a failed call.
        rules: where things stand in them.
        key: key of the store's digests.
    """
    if not messages or not rules.parts:
        return None
    chain = _Chain(key.secret)
    found = [item for message in messages if (item := canonical(message, rules)) is not None]
    said = [item for item in found if item.role != SYSTEM]
    for item in said:
        chain.add(item)
    answers = answers_of(documents, rules)
    system = [item for item in found if item.role == SYSTEM]
    beside = [text for path in rules.system for text in find(request, path) if isinstance(text, str) and text]
    if beside:
        system.append(Canonical(SYSTEM, beside))
    tools = [value for path in rules.tools for value in find(request, path) if value]
    return Thread(
        key_name=key.name,
        request=chain.request(),
        prefixes=tuple(reversed(chain.prefixes[-KEPT_PREFIXES:])),
        answers=tuple(dict.fromkeys(chain.answer(form) for answer in answers for form in _sent_back(answer))),
        system=_system_digest(system, tools, key),
        sizes=tuple(_sizes(said, system, tools, answers, key)),
        first=_own_digest(said[0], key) if said else None,
        asks_tools=any(answer.calls for answer in answers),
        marks_cache=rules.cache_mark is not None and rules.cache_mark.search(body) is not None,
    )


class _Chain:
    """The digests of one request's prefixes; what the model wrote in one go is one link, in however many messages."""

    def __init__(self, secret: bytes) -> None:
        self._hash = hashlib.blake2b(key=secret, digest_size=DIGEST_BYTES)
        self._state = b""
        self._run: Canonical | None = None
        self.prefixes: list[str] = []

    def _after(self, item: Canonical) -> bytes:
        digest = self._hash.copy()
        digest.update(self._state + item.content())
        return digest.digest()

    def add(self, item: Canonical) -> None:
        """Go on with a message."""
        if item.role == MODEL:
            if self._run is None:
                self._run = Canonical(MODEL, count=0)
            self._run.join(item)
            return
        self._end_run()
        self._state = self._after(item)

    def _end_run(self) -> None:
        if self._run is not None:
            self._state, self._run = self._after(self._run), None
            self.prefixes.append(self._state.hex())

    def request(self) -> str:
        """Return the digest of the whole request."""
        return (self._state if self._run is None else self._after(self._run)).hex()

    def answer(self, answer: Canonical) -> str:
        """Return the digest of the request and an answer, which goes on with what the request began for the model."""
        joined = Canonical(MODEL, count=0)
        if self._run is not None:
            joined.join(self._run)
        joined.join(answer)
        return self._after(joined).hex()


def answers_of(documents: Iterable[Any], rules: MessageRules) -> list[Canonical]:
    """Return what the model answered, one for each choice; a stream's pieces are put together."""
    choices: dict[int, Canonical] = {}
    whole: list[Any] = []
    read: set[int] = set()  # pieces read, by identity: an envelope and what it holds are both documents
    for document in documents:
        whole = [item for path in rules.whole for item in find(document, path)] or whole
        for position, choice in enumerate(item for path in rules.choices for item in find(document, path)):
            _add_pieces(choices, position, choice, rules, read)
    if whole:
        said = Canonical(MODEL, count=0)
        for item in whole:
            form = canonical(item, rules) if is_from_model(item, rules) else None
            if form is not None:
                said.join(form)
        return [] if said.is_empty else [said]
    return [choices[index] for index in sorted(choices) if not choices[index].is_empty][:MAX_CHOICES]


def _sent_back(answer: Canonical) -> Iterable[Canonical]:
    """Yield the forms in which an answer is sent back: some applications keep only the calls of one that has both."""
    yield answer
    if answer.calls and answer.texts:
        yield Canonical(MODEL, calls=answer.calls)


def _add_pieces(choices: dict[int, Canonical], position: int, choice: Any, rules: MessageRules, read: set[int]) -> None:
    is_listed = isinstance(choice, dict) and rules.choices[0] != ()
    index = cast("dict[str, Any]", choice).get("index") if is_listed else None
    number = index if isinstance(index, int) else position
    if number not in choices and len(choices) >= MAX_CHOICES:
        return
    answer = choices.setdefault(number, Canonical(MODEL))
    for path in rules.answer:
        for piece in find(choice, path):
            if id(piece) not in read:
                read.add(id(piece))
                read_parts(answer, piece, rules)


def _system_digest(system: Iterable[Canonical], tools: Sequence[Any], key: DigestKey) -> str | None:
    joined = Canonical(SYSTEM, count=0)
    for item in system:
        joined.join(item)
    if tools:
        joined.others += [*tools]
    if joined.is_empty:
        return None
    return hashlib.blake2b(joined.content(), key=key.secret, digest_size=DIGEST_BYTES).hexdigest()


def _sizes(
    said: Sequence[Canonical],
    system: Sequence[Canonical],
    tools: Sequence[Any],
    answers: Sequence[Canonical],
    key: DigestKey,
) -> Iterable[MessageSize]:
    """Yield the sizes of a call's parts; what earlier calls sent or answered is one entry."""
    if system:
        yield _size(SYSTEM, system)
    if tools:
        yield MessageSize(TOOLS, len(tools), len(Canonical(SYSTEM, others=list(tools)).content()), 0)
    last = max((index for index, item in enumerate(said) if item.role == MODEL), default=-1)
    if last >= 0:
        yield _size(EARLIER, said[: last + 1])
    for item in (*said[last + 1 :], *answers):
        yield _size(item.role, [item])._replace(digest=_own_digest(item, key))


def _own_digest(item: Canonical, key: DigestKey) -> str:
    return hashlib.blake2b(item.content(), key=key.secret, digest_size=_OWN_BYTES).hexdigest()


def _size(role: str, items: Sequence[Canonical]) -> MessageSize:
    total = sum(item.count for item in items)
    return MessageSize(role, total, sum(item.size for item in items), sum(item.media for item in items))
