"""Client libraries imported after capture was switched on: watched, not imported, and left as they were."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest
from turnledger.instrument.seams import late

if TYPE_CHECKING:
    from pathlib import Path


def run(code: str, *path: Path) -> str:
    """Run code in a process of its own, with further folders to import from; return what it printed."""
    script = f"import sys; sys.path[:0] = {[str(folder) for folder in path]!r}\n" + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


RECORD = """
    import turnledger
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    before = list(sys.meta_path)
    spans = InMemorySpanExporter()
    turnledger.instrument(exporter=spans)
    assert not {"httpx", "httpx2", "httpcore", "duckdb", "polars"} & set(sys.modules), sorted(sys.modules)
    assert not {"urllib3", "requests", "aiohttp", "botocore"} & set(sys.modules), sorted(sys.modules)
"""
CALL = """
    def call(library):
        answer = library.MockTransport(lambda _: library.Response(200, json={"id": "chatcmpl-1", "object": "x"}))
        with library.Client(transport=answer) as client:
            client.post("https://api.openai.com/v1/chat/completions", json={"model": "m", "messages": []})
        assert turnledger.flush(10)
        found = [span.attributes["gen_ai.response.id"] for span in spans.get_finished_spans()]
        spans.clear()
        return found
"""


@pytest.mark.parametrize("name", ["httpx", "httpx2"])
def test_a_client_imported_after_instrument_is_captured(name: str):
    code = f"""{RECORD}{CALL}
    import {name} as library
    assert call(library) == ["chatcmpl-1"]
    assert library.__spec__.loader is library.__loader__
    assert type(library.__loader__).__name__ == "SourceFileLoader"
    wrapped = library.Client.__dict__["send"]
    turnledger.uninstrument()
    assert sys.meta_path == before
    original = library.Client.__dict__["send"]
    assert wrapped.__wrapped__ is original and not hasattr(original, "__wrapped__")
    assert call(library) == []
    spans = InMemorySpanExporter()
    turnledger.instrument(exporter=spans)
    assert call(library) == ["chatcmpl-1"]
    print("captured")
    """
    assert run(code) == "captured\n"


@pytest.mark.parametrize(
    ("name", "wrapped"),
    [("urllib3", "connectionpool.HTTPConnectionPool._make_request"), ("aiohttp", "ClientSession._request")],
)
@pytest.mark.parametrize("is_late", [True, False])
def test_other_clients_are_wrapped_whenever_they_are_imported(name: str, wrapped: str, is_late: bool):
    load = f"import {name} as library"
    code = f"""
    {"" if is_late else load}
    import turnledger
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    turnledger.instrument(exporter=InMemorySpanExporter())
    assert {is_late} != ({name!r} in sys.modules)
    {load}
    original = library.{wrapped}.__wrapped__
    turnledger.uninstrument()
    assert library.{wrapped} is original and not hasattr(original, "__wrapped__")
    from turnledger.instrument import health
    print(health.snapshot())
    """
    assert run(code) == "{}\n"


def test_an_old_release_is_said_not_captured(tmp_path: Path):
    folder = tmp_path / "urllib3"
    folder.mkdir()
    (folder / "__init__.py").write_text("from . import connectionpool, response\n__version__ = '1.26.20'\n")
    (folder / "connectionpool.py").write_text("class HTTPConnectionPool: pass\n")
    (folder / "response.py").write_text("class HTTPResponse: pass\n")
    (tmp_path / "aiohttp.py").write_text(
        "__version__ = '3.9.0'\nclass ClientSession:\n    async def _request(self, method, str_or_url): pass\n"
    )
    code = f"""
    import aiohttp
    {RECORD.replace('"aiohttp", ', "").strip()}
    import urllib3
    from turnledger.instrument import health
    assert not hasattr(aiohttp.ClientSession._request, "__wrapped__")
    print(sorted(health.snapshot()))
    """
    assert run(code, tmp_path) == "['aiohttp.install', 'seam.import']\n"


def test_a_client_imported_before_instrument_is_captured_at_once():
    code = f"""
    import httpx2
    {RECORD.replace('"httpx", "httpx2", "httpcore"', '"httpx"')}{CALL}
    assert call(httpx2) == ["chatcmpl-1"]
    import httpx
    assert call(httpx) == ["chatcmpl-1"]
    print("captured")
    """
    assert run(code) == "captured\n"


def test_uninstrument_before_the_import_leaves_it_alone():
    code = f"""{RECORD}
    turnledger.uninstrument()
    assert sys.meta_path == before
    import httpx
    assert not hasattr(httpx.Client.send, "__wrapped__")
    print("plain")
    """
    assert run(code) == "plain\n"


def test_a_client_imported_by_many_threads_is_wrapped_once():
    code = f"""{RECORD}{CALL}
    import importlib, threading
    from concurrent.futures import ThreadPoolExecutor
    barrier = threading.Barrier(8)
    def load(number):
        barrier.wait()
        if number % 2:
            turnledger.instrument(exporter=spans)
        return importlib.import_module("httpx2")
    with ThreadPoolExecutor(8) as pool:
        libraries = set(pool.map(load, range(8)))
    (library,) = libraries
    assert not hasattr(library.Client.send.__wrapped__, "__wrapped__")
    assert call(library) == ["chatcmpl-1"]
    print("once")
    """
    assert run(code) == "once\n"


def test_a_broken_import_fails_as_ever(tmp_path: Path):
    (tmp_path / "httpx.py").write_text("raise RuntimeError('broken on purpose')\n")
    code = f"""{RECORD}
    def attempt():
        try:
            import httpx
        except RuntimeError as error:
            return str(error), "httpx" in sys.modules
    first = attempt(), attempt()
    turnledger.uninstrument()
    assert first == (attempt(), attempt())
    print(first[0])
    """
    assert run(code, tmp_path) == "('broken on purpose', False)\n"


def test_a_module_that_is_not_what_it_seems_does_not_break_its_import(tmp_path: Path):
    (tmp_path / "httpx.py").write_text("Client = None\n")
    code = f"""{RECORD}
    import httpx
    from turnledger.instrument import health
    print(httpx.Client, health.snapshot())
    """
    assert run(code, tmp_path) == "None {'seam.import': 1}\n"


def test_the_hook_knows_only_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("late_one", "late_two"):
        (tmp_path / f"{name}.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    seen: list[str] = []
    hook = late.LateImports(["late_one", "late_missing"], lambda module: seen.append(module.__name__))
    before = list(sys.meta_path)
    hook.install()
    hook.install()
    assert sys.meta_path == [hook, *before]
    try:
        spec = importlib.util.find_spec("late_one")
        assert spec is not None
        assert spec.loader.get_filename("late_one") == str(tmp_path / "late_one.py")  # as the loader inside has it
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("late_missing")
        assert importlib.import_module("late_two").value == importlib.import_module("late_one").value == 1
        assert seen == ["late_one"]
    finally:
        hook.remove()
        for name in ("late_one", "late_two"):
            sys.modules.pop(name, None)
    assert sys.meta_path == before
