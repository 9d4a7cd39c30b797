"""Measure what capture costs and how fast stores are costed, and print it: ``make bench``.

Medians, with and without capture in turn within one run: compare ratios of one run, never times of two machines.
Nothing reaches a network. The figures also go to ``bench.json``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Run as a script from anywhere: the modules beside it, and those the tests share.
sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))

import figures

_LIBRARIES = (
    "turnledger",
    "httpx",
    "httpx2",
    "urllib3",
    "aiohttp",
    "openai",
    "anthropic",
    "opentelemetry-sdk",
    "orjson",
    "pyarrow",
    "duckdb",
)


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "versions": {name: version(name) for name in _LIBRARIES},
    }


CAPTURE = ("imports", "memory", "callers", "exporting", "importing", "conversing")


def measure(effort: figures.Effort, only: str | None = None) -> dict[str, Any]:
    """Measure everything, or ``capture`` or ``costing`` alone; says on standard error what is being measured."""
    found: dict[str, Any] = {"machine": machine(), "effort": vars(effort)}
    for name in {"capture": CAPTURE, "costing": ("costing",)}.get(only or "", (*CAPTURE, "costing")):
        sys.stderr.write(f"measuring {name} ...\n")
        found[name] = getattr(figures, name)(effort)
    return found


def table(found: dict[str, Any]) -> str:
    """Return the figures as text."""
    about = found["machine"]
    lines = [f"Python {about['python']}, {about['system']}, {about['cores']} cores, load {about['load'][0]}", ""]
    if "callers" in found:
        lines += [*_callers(found["callers"]), ""]
    for group in CAPTURE:
        if group != "callers" and group in found:
            lines += [f"{group} {name}".ljust(40) + f"{figure:>12,}" for name, figure in found[group].items()]
    for calls, figures_of in found.get("costing", {}).items():
        lines += ["", f"{int(calls):,} made calls"]
        lines += [f"costing {name}".ljust(40) + f"{figure:>12,}" for name, figure in figures_of.items()]
    return "\n".join(lines)


def _callers(callers: dict[str, Any]) -> list[str]:
    columns = ("plain_us", "captured_us", "added_us", "added_cpu_us", "ratio", "background_cpu_us")
    head = "per call or chunk, µs".ljust(28) + "".join(column.removesuffix("_us").rjust(16) for column in columns)
    return [
        head,
        *(
            name.ljust(28) + "".join(f"{figure[column]:.3f}".rjust(16) for column in columns)
            for name, figure in callers.items()
        ),
    ]


def main(arguments: list[str] | None = None) -> None:
    """Run the measurements as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few iterations, and costs of 0.1 million calls only")
    parser.add_argument("--huge", action="store_true", help="costs of 10 million calls too: it takes long")
    parser.add_argument("--only", choices=("costing", "capture"), help="measure this alone")
    parser.add_argument("--output", type=Path, default=Path("bench.json"), help="where the figures go")
    asked = parser.parse_args(arguments)
    effort = figures.QUICK if asked.quick else figures.Effort()
    if asked.huge:
        effort = dataclasses.replace(effort, stores=(*effort.stores, 10_000_000))
    found = measure(effort, asked.only)
    asked.output.write_text(json.dumps(found, indent=2) + "\n")
    sys.stdout.write(table(found) + "\n")


if __name__ == "__main__":
    main()
