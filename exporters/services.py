"""The services that a store can be in: what its address may say of each, and Arrow's own client of it.

An address holds no credentials: the clients find those in the environment, as the programs of each service do.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qsl

from pyarrow import fs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SCHEMES: Final[Mapping[str, tuple[str, ...]]] = {
    "s3": ("region", "endpoint_override", "scheme", "role_arn", "tls_ca_file_path", "force_virtual_addressing"),
    "gs": ("endpoint_override", "scheme", "project_id", "target_service_account", "anonymous"),
    "az": (
        *("account_name", "blob_storage_authority", "blob_storage_scheme"),
        *("dfs_storage_authority", "dfs_storage_scheme"),
    ),
}
"""The options that an address may say, by its scheme; each goes to Arrow's client of that service under this name."""

_VARIABLES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "s3": {
        "endpoint_override": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    },
    "az": {"account_name": ("AZURE_STORAGE_ACCOUNT",)},
}
"""Variables that other programs of these services read, and Arrow's clients do not by themselves."""

_FLAGS: Final = ("force_virtual_addressing", "anonymous")
_ADDRESS: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(/?)(.*)", re.DOTALL)
_OPTION: Final = re.compile(r"[a-z_]{1,40}")
_ELSEWHERE: Final = "they are taken from the environment (see the README on object stores)"

# A service that does not answer is given up, not waited for: this process may be about to end.
_CONNECT_S: Final = 3.0
_REQUEST_S: Final = 5.0
_ATTEMPTS: Final = 3


class Address(NamedTuple):
    """What an address says: ``s3``, ``gs`` or ``az``, bucket and prefix, and options."""

    scheme: str
    root: str
    options: Mapping[str, str]


def address_of(said: str) -> Address | None:
    """Return what an address says, None if it is the path of a folder.

    Raises:
        ValueError: if it is an address, but not of a store.
    """
    found = _ADDRESS.fullmatch(said)
    if found is None or (not found[2] and found[1] not in SCHEMES):  # a Path makes one slash of two
        return None
    scheme = found[1].lower()
    if scheme not in SCHEMES:
        known = ", ".join(f"{scheme}://bucket/prefix" for scheme in SCHEMES)
        raise ValueError(f"{scheme}:// is not where a store can be: name a folder, or one of {known}")
    place, _, query = found[3].partition("?")
    parts = [part for part in place.split("/") if part]
    if not parts:
        raise ValueError(f"{scheme}:// needs a bucket and a prefix: {scheme}://bucket/prefix")
    if "@" in parts[0]:
        raise ValueError(f"no credentials belong into the address of a store: {_ELSEWHERE}")
    return Address(scheme, "/".join(parts), _options(scheme, query))


def _options(scheme: str, query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in SCHEMES[scheme]:
            said = f" {name!r}" if _OPTION.fullmatch(name) else ""  # else it may be anything, a key too
            raise ValueError(
                f"unknown option{said} in the address of a store: {scheme}:// takes {', '.join(SCHEMES[scheme])}; "
                f"credentials are none of them, {_ELSEWHERE}"
            )
        if name == "endpoint_override" and "@" in value:
            raise ValueError(f"no credentials belong into the address of a store: {_ELSEWHERE}")
        options[name] = value
    return options


def settings(scheme: str, options: Mapping[str, str]) -> dict[str, Any]:
    """Return the options, and what the environment says of those that are not said."""
    found: dict[str, Any] = {}
    for name, variables in _VARIABLES.get(scheme, {}).items():
        said = next((value for variable in variables if (value := os.environ.get(variable))), None)
        if said is not None:
            found[name] = said
    for name, value in options.items():
        found[name] = value.lower() in ("1", "true", "yes") if name in _FLAGS else value
    return found


def client(scheme: str, options: Mapping[str, str]) -> fs.FileSystem:
    """Return a client of a service. It may look for credentials, but connects to nothing else yet.

    Raises:
        OSError, pyarrow.ArrowException: if it cannot be made.
        ImportError: if this pyarrow has none.
    """
    return _CLIENTS[scheme](settings(scheme, options))


def _s3(found: dict[str, Any]) -> fs.FileSystem:
    return fs.S3FileSystem(
        connect_timeout=_CONNECT_S,
        request_timeout=_REQUEST_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        allow_delayed_open=True,  # pyright: ignore[reportCallIssue]  one request for a small object
        **found,
    )


def _gs(found: dict[str, Any]) -> fs.FileSystem:
    return fs.GcsFileSystem(retry_time_limit=timedelta(seconds=_REQUEST_S), **found)


def _az(found: dict[str, Any]) -> fs.FileSystem:
    if "account_name" not in found:
        raise OSError("no storage account is named: set AZURE_STORAGE_ACCOUNT, or ?account_name= in the address")
    for name in ("authority", "scheme"):  # an emulator serves both interfaces at one address
        if f"blob_storage_{name}" in found:
            found.setdefault(f"dfs_storage_{name}", found[f"blob_storage_{name}"])
    return fs.AzureFileSystem(account_key=os.environ.get("AZURE_STORAGE_KEY"), **found)


_CLIENTS: Final[Mapping[str, Callable[[dict[str, Any]], fs.FileSystem]]] = {"s3": _s3, "gs": _gs, "az": _az}
