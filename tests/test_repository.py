"""The rules of this repository, read from its files: who imports whom, what code may name, what is documented."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import turnledger
from turnledger.instrument.documents import load_documents

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
FOLDERS = ("provider_docs", "instrument", "exporters", "analysis")
"""Ground up: a folder imports from itself and from those before it."""
LIBRARIES = {
    "": set(),
    "provider_docs": set(),
    "instrument": {"opentelemetry", "orjson"},
    "exporters": {"opentelemetry", "orjson", "pyarrow"},
    "analysis": {
        *(
            "duckdb",
            "fsspec",
            "genai_prices",
            "httpx2",
            "ijson",
            "opentelemetry",
            "orjson",
            "polars",
            "pyarrow",
            "rich",
            "typer",
        ),
    },
}
DEMO_LIBRARIES = {"anthropic", "google", "httpx", "httpx2", "openai"}
"""The demo is an application: it talks to providers through their SDKs, where these are installed."""
MAX_LINES = 320

MODULES = [ROOT / "__init__.py", *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))]
MODELS = sorted((ROOT / "analysis").rglob("*.sql"))


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    """Return the dotted name below the package: ``instrument.seams``, and "" for the root."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path): path for path in MODULES}


def imported(path: Path, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[int, str]]:
    """Yield (level, dotted name) of what a statement imports; a relative one is named from the package's root."""
    if isinstance(node, ast.Import):
        yield from ((0, alias.name) for alias in node.names)
        return
    package = list(path.relative_to(ROOT).parts[:-1])
    base = package[: len(package) - node.level + 1] if node.level else []
    stem = [*base, *(node.module or "").split(".")] if node.module else base
    for alias in node.names:
        deeper = ".".join([*stem, alias.name])
        yield node.level, deeper if node.level and deeper in NAMES else ".".join(stem)


def imports(path: Path, *, at_import_time: bool = False) -> Iterator[tuple[int, str]]:
    """Yield what a module imports: everywhere, or only the statements that run when it is imported."""

    def walk(node: ast.AST) -> Iterator[tuple[int, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                yield from imported(path, child)
            later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            typing = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            if not (at_import_time and (later or typing)):
                yield from walk(child)

    yield from walk(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", MODULES[1:], ids=short)
def test_imports_point_down(path: Path):
    folder = path.relative_to(ROOT).parts[0]
    below = FOLDERS[: FOLDERS.index(folder) + 1]
    for level, name in imports(path):
        assert level or name.partition(".")[0] != "turnledger", f"inside the package imports are relative: {name}"
        assert not level or name.partition(".")[0] in below, f"{folder} must not import {name}"


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_every_folder_has_its_libraries(path: Path):
    parts = path.relative_to(ROOT).parts
    allowed = LIBRARIES[parts[0] if len(parts) > 1 else ""] | (DEMO_LIBRARIES if "demo" in parts else set())
    used = {name.partition(".")[0] for level, name in imports(path) if not level}
    assert used - sys.stdlib_module_names <= allowed


def test_no_import_cycles():
    graph = {name: set[str]() for name in NAMES}
    for name, path in NAMES.items():
        graph[name] = {found for level, found in imports(path, at_import_time=True) if level and found != name}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, naming the cycle
    assert set(NAMES) <= set(order)


def loaded_after(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after running ``code``."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_import_is_light():
    loaded = loaded_after("import turnledger; turnledger.__version__, turnledger.__all__")
    heavy = {"anthropic", "duckdb", "httpx", "httpx2", "openai", "opentelemetry", "orjson", "polars", "pyarrow"}
    assert not loaded & heavy
    assert not {name for name in loaded if name.startswith("turnledger.")}


def test_capture_needs_no_analysis(tmp_path: Path):
    loaded = loaded_after(
        f"import turnledger; turnledger.instrument(store={str(tmp_path)!r}); turnledger.observe; "
        "turnledger.conversation; turnledger.flush(); turnledger.uninstrument()"
    )
    assert "pyarrow" in loaded
    assert not loaded & {"duckdb", "genai_prices", "ijson", "polars", "rich", "typer", "turnledger.analysis"}


HOST_WORDS = {
    *(
        "access",
        "apis",
        "cloud",
        "compute",
        "docker",
        "endpoint",
        "endpoints",
        "github",
        "host",
        "internal",
        "language",
        "local",
        "localhost",
        "models",
        "open",
    ),
    *("agent", "managed", "openapi", "platform", "private", "region", "runtime", "serverless", "services"),
    *("stream", "work"),
}
"""Parts of host names that name nobody."""
ORDINARY = {"azure", "compatible", "cortex", "face", "gateway", "inference", "proxy", "router", "together", "writer"}
"""Words that code says without meaning a provider; as a text in quotes they would mean one."""
MODEL_NAMES = (
    r"gpt-?\d|o[1-5]-(mini|pro|preview)|claude|sonnet|haiku|gemma|llama|qwen|grok|mixtral|codex|text-embedding"
)


def provider_words() -> set[str]:
    """Return every word by which a provider is known: of ids, names, price books and hosts."""
    words: set[str] = set()
    for document in load_documents().documents.values():
        hosts = (host.rpartition(".")[0] for host in document.hosts)
        for text in (document.id, document.name, document.otel_name, document.price_provider, *hosts):
            words.update(word.lower() for word in re.split(r"[^A-Za-z]+", text) if len(word) > 3)
    return words - HOST_WORDS


CODE = [path for path in [*MODULES, *MODELS] if "demo" not in path.parts]


@pytest.mark.parametrize("path", CODE, ids=short)
def test_code_names_no_provider_and_no_model(path: Path):
    words = provider_words()
    named = rf"(?<![a-z])({'|'.join(words - ORDINARY)}|{MODEL_NAMES})(?![a-z])"
    quoted = rf"""["']({"|".join(words & ORDINARY)})["']"""
    pattern = re.compile(f"{named}|{quoted}", re.IGNORECASE)
    found = [(number, line) for number, line in enumerate(path.read_text().splitlines(), 1) if pattern.search(line)]
    assert not found, "facts about providers live in provider_docs"


def test_provider_words():
    assert {"openai", "anthropic", "gemini", "google", "openrouter", "deepseek", "googleapis"} <= provider_words()


_BINARY = (".gz", ".png", ".parquet", ".spool")


def text_files() -> list[Path]:
    """Return what is kept in the repository: the files of its folders, without git's help (a tarball has none)."""
    folders = [ROOT / name for name in (*FOLDERS, "tests", "notebooks", ".ci")]
    inside = (path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts)
    top = (path for path in ROOT.iterdir() if path.suffix != ".parquet")
    return [path for path in [*top, *inside] if path.is_file() and path.suffix not in _BINARY]


def test_no_machine_paths_and_no_registries():
    # Written so that they do not match themselves.
    machine = r"(?<![\w.~-])/(work|farm|root|home|Users|opt|tmp/bash_jobs)/\w"
    registry = r"pypi[.]org|pythonhosted[.]org|npmjs[.](org|com)|deb[.]debian[.]org|--(extra-)?index[-]url|find[-]links"
    pattern = re.compile(f"{machine}|{registry}")
    files = text_files()
    assert ROOT / "Makefile" in files
    assert ROOT / ".ci" / "run" in files
    found = [
        f"{short(path)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found


@pytest.mark.parametrize("path", [*MODULES, *MODELS], ids=short)
def test_files_are_short(path: Path):
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_LINES, "what second idea is in there?"


@pytest.mark.parametrize("path", [*MODULES, *sorted((ROOT / "tests").rglob("*.py"))], ids=short)
def test_modules_have_docstrings(path: Path):
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", MODELS, ids=short)
def test_sql_models_say_what_they_are(path: Path):
    first = path.read_text().splitlines()[0]
    assert re.match(rf"-- {path.stem}: .{{20,}}", first), "the first line is a comment: name, grain, units"


@pytest.mark.parametrize("name", turnledger.__all__)
def test_public_names(name: str):
    value = getattr(turnledger, name)
    home = sys.modules[turnledger.__name__ + ".instrument.runtime"].instrument if name == "instrument" else value
    assert (home.__doc__ or "").strip()
    assert name in dir(turnledger)


def test_every_public_name_has_its_home():
    assert list(turnledger._HOMES) == turnledger.__all__


def test_instrument_is_a_function_and_a_package():
    modules = loaded_after(
        "import turnledger, turnledger.instrument.health\n"
        "assert callable(turnledger.instrument) and turnledger.instrument.health.snapshot() == {}"
    )
    assert "turnledger.instrument.runtime" not in modules


def test_unknown_public_name():
    with pytest.raises(AttributeError, match="has no attribute 'ledgers'"):
        _ = turnledger.ledgers


def test_make_targets_are_documented():
    targets = re.findall(r"^([a-z]+):.*## \S", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"demo", "test", "lint", "typecheck", "scorecard", "bench", "clean"} <= set(targets)
    said = (ROOT / "CONTRIBUTING.md").read_text() + (ROOT / "README.md").read_text()
    assert [target for target in targets if f"make {target}" not in said] == []
