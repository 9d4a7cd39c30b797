"""The ids of session objects: read where the documents say, made where there is none, and nothing is kept alive."""

from __future__ import annotations

import gc
import re
import threading
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import turnledger
from turnledger.instrument import context, health, sessions
from turnledger.instrument.documents import parse_documents, session_paths
from turnledger.instrument.frontmatter import DocumentError
from turnledger.instrument.sessions import session_id

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Recorder


class _Plain:
    """Nothing that could be an id."""


@dataclass
class _Equal:
    """Equal to all of its kind, and without a hash."""

    text: str = "same"


class _Slots:
    __slots__ = ("text",)


class _NotYet:
    session_id: Any = None


class _Raising:
    @property
    def session_id(self) -> str:
        raise ValueError("not yet")


class _Watched(_Plain):
    def __init__(self) -> None:
        self.read: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.read.append(name)
        raise AttributeError(name)


@pytest.fixture(autouse=True)
def fresh() -> None:
    health.reset()


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        ("chat-1", "chat-1"),
        (7, "7"),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (SimpleNamespace(session_id="s1", id=3), "s1"),
        (SimpleNamespace(conversation_id="conv_1"), "conv_1"),
        (SimpleNamespace(options=SimpleNamespace(session_id=None, resume="s2")), "s2"),
        ({"session_id": "s3"}, "s3"),
        (SimpleNamespace(id=5), "5"),
        (None, None),
        ("", None),
        (True, None),
        (_NotYet(), None),
        (_Raising(), None),
        (SimpleNamespace(session_id=lambda: "s"), None),
        ([], None),
        ({}, None),
        (_Slots(), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_id_of_a_session(session: object, expected: str | None):
    assert session_id(session) == expected


def test_an_id_that_is_made_stays_with_its_object():
    one, other = _Plain(), _Plain()
    made = session_id(one)
    assert made
    assert made.startswith("turnledger-")
    assert session_id(one) == made != session_id(other)


def test_equal_objects_without_a_hash_are_two_sessions():
    one, other = _Equal(), _Equal()
    assert one == other
    assert session_id(one) == session_id(one) != session_id(other)


def test_a_made_id_goes_with_its_object():
    before = len(sessions._made)
    found = [_Plain() for _ in range(100)]
    assert len({session_id(item) for item in found}) == 100
    assert len(sessions._made) == before + 100
    found.clear()
    gc.collect()
    assert len(sessions._made) == before


def test_many_threads_give_an_object_one_id():
    session, found = _Plain(), []
    barrier = threading.Barrier(8)

    def look() -> None:
        barrier.wait(10)
        found.append(session_id(session))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_what_cannot_be_followed_has_no_id_and_is_counted():
    assert session_id(_Slots()) is None
    assert health.snapshot() == {"session.without_id": 1}


def test_only_the_attributes_of_the_documents_are_read():
    session = _Watched()
    assert session_id(session)
    assert set(session.read) == {path[0] for path in session_paths()}


def test_an_object_that_breaks_when_read_is_counted():
    class Broken:
        @property
        def session_id(self) -> str:
            raise KeyboardInterrupt

    class _Text(str):
        __slots__ = ()

        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert session_id(_Text("x")) is None
    assert health.snapshot() == {"session.id": 1}
    with pytest.raises(KeyboardInterrupt):  # that is the user's, not an error
        session_id(Broken())


# --- in contexts


def here() -> tuple[str | None, str | None]:
    said = context.current()
    return (said.id, said.session) if said else (None, None)


def test_a_session_belongs_to_its_conversation():
    with turnledger.conversation("c1", session="s1"):
        assert here() == ("c1", "s1")
        with turnledger.conversation(tags={"a": 1}):
            assert here() == ("c1", "s1")
        with turnledger.conversation("c2"):
            assert here() == ("c2", None)
        with turnledger.conversation(session="s2"):
            assert here() == ("c1", "s2")
        assert here() == ("c1", "s1")
    assert here() == (None, None)


def test_an_id_that_comes_later_counts_from_then_on():
    session = _NotYet()
    with turnledger.conversation(session=session):
        assert here() == (None, None)
        session.session_id = "s1"
        assert here() == (None, "s1")
        with turnledger.conversation(user="u1"):
            assert here() == (None, "s1")
        with turnledger.conversation(session="s2"):
            assert here() == (None, "s2")
        with turnledger.conversation("c2"):
            assert here() == ("c2", None)


class _Bot:
    def __init__(self) -> None:
        self.session = SimpleNamespace(session_id="s1")

    @turnledger.observe(session="self.session")
    def answer(self) -> Any:
        return here()


def look(chat: object = None) -> tuple[str | None, str | None]:
    return here()


def test_observe_takes_an_argument_a_value_or_a_callable(recorder: Recorder):
    session = SimpleNamespace(session_id="s1")
    assert turnledger.observe(session="chat")(look)(session) == (None, "s1")
    assert turnledger.observe(session=session)(look)() == (None, "s1")
    assert turnledger.observe(session=lambda chats: chats[0])(look)([session]) == (None, "s1")
    assert turnledger.observe(session="support-1")(look)() == (None, "support-1")
    assert turnledger.observe(session=lambda: 1 / 0)(look)() == (None, None)
    assert _Bot().answer() == (None, "s1")
    assert health.snapshot() == {"observe.resolve": 1}


# --- in documents


def document(sdk: str) -> str:
    return f'+++\nid = "acme"\nname = "Acme"\nhosts = []\n[sdk.acme-sdk]\n{sdk}\n+++\n'


def test_a_document_says_where_the_id_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "acme.md").write_text(document('session_id = "talk.key"'))
    monkeypatch.setenv("TURNLEDGER_DOCUMENTS", str(tmp_path))
    assert ("talk", "key") in session_paths()
    assert session_id(SimpleNamespace(talk=SimpleNamespace(key="k1"))) == "k1"


@pytest.mark.parametrize(
    ("sdk", "message"),
    [
        ('session_id = "a[].b"', "acme.md: sdk.acme-sdk.session_id: expected names of attributes such as 'session_id'"),
        ("session_id = 1", "acme.md: sdk.acme-sdk.session_id: expected a list of texts"),
        ('sesion_id = "a"', "acme.md: sdk.acme-sdk.sesion_id: expected one of the known keys: checked, conversation"),
    ],
)
def test_a_mistake_there_is_told(sdk: str, message: str):
    with pytest.raises(DocumentError, match=re.escape(message)):
        parse_documents({"acme.md": document(sdk)})
