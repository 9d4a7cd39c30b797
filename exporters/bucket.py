"""A store in an object store: below a prefix of a bucket, by Arrow's own clients."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import tempfile
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import urlencode

import pyarrow as pa
from pyarrow import fs

from .services import address_of, client, settings
from .storage import Found, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

T = TypeVar("T")

LIMIT_S: Final = 30.0
"""How long the service is waited for at most, beside the time that the bytes themselves take."""

_BYTES_PER_S: Final = 100_000
"""The slowest connection over which a file is sent."""

_ONE_REQUEST: Final = 8 << 20
"""Up to this size the client sends an object with one request: it is there completely or not at all."""

_PLACES: Final = ("endpoint_override", "blob_storage_authority", "account_name")
_REQUEST_ID: Final = re.compile(r" \(Request ID: [^)]*\)")


def bucket_at(said: str) -> BucketStorage | None:
    """Return the place that an address names, None if it is the path of a folder. Nothing is connected to yet.

    Raises:
        ValueError: if it is an address, but not of a store.
    """
    address = address_of(said)
    return None if address is None else BucketStorage(*address)


def in_time(call: Callable[[], T], limit_s: float) -> T:
    """Return what a call returns, or stop waiting for it: it goes on by itself then.

    Raises:
        TimeoutError: if it takes longer.
    """
    result: Future[T] = Future()
    try:
        threading.Thread(target=_run, args=(call, result), name="turnledger-io", daemon=True).start()
    except RuntimeError:  # the interpreter is shutting down
        return call()
    try:
        return result.result(limit_s)
    except TimeoutError as error:
        raise TimeoutError(str(error) or f"no answer within {limit_s:g} s") from None


def _run(call: Callable[[], T], result: Future[T]) -> None:
    try:
        result.set_result(call())
    except BaseException as error:  # noqa: BLE001  it is raised where it is waited for
        result.set_exception(error)


@dataclass
class BucketStorage:
    """A prefix of a bucket.

    An object of no bytes counts as not there: some services show one while another is written, and none of a store's
    files is empty.

    Attributes:
        scheme: ``s3``, ``gs`` or ``az``.
        root: bucket and prefix.
        options: what the address says beside them.
    """

    scheme: str
    root: str
    options: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        self._client: tuple[int, fs.FileSystem] | None = None

    @property
    def location(self) -> str:
        """Return bucket and prefix, without options."""
        return f"{self.scheme}://{self.root}"

    @property
    def address(self) -> str:
        """Return what names it anywhere: bucket, prefix and options."""
        return f"{self.location}?{urlencode(self.options)}" if self.options else self.location

    @property
    def identity(self) -> str:
        """Return what two places never share: bucket and prefix, and the service where it is named."""
        found = settings(self.scheme, self.options)
        return f"{self.location}?{urlencode({name: found[name] for name in _PLACES if name in found})}"

    def is_there(self) -> bool:
        """Tell whether there is anything below the prefix; raises OSError where the service says of no such bucket."""
        return bool(self._list(self.root)) or any(self._objects(self.root))  # not every service lists folders

    def walk(self, folder: str) -> Iterator[Found]:
        """Yield the objects below a folder in order of their names; hidden ones are being written."""
        return (found for found in self._objects(f"{self.root}/{folder}") if "/." not in found.name)

    def litter(self) -> Iterator[Found]:
        """Yield the hidden objects that ``publish`` makes and has not finished."""
        objects = self._objects(self.root)
        return (found for found in objects if "/." in found.name and found.name.endswith(".tmp"))

    def _objects(self, folder: str) -> Iterator[Found]:
        for info in sorted(self._list(folder, recursive=True), key=lambda info: info.path):
            if _is_object(info):
                yield Found(info.path[len(self.root) + 1 :], info.size or 0, (info.mtime_ns or 0) / 1e9)

    def _list(self, folder: str, *, recursive: bool = False) -> list[fs.FileInfo]:
        # Where a missing folder is allowed, a missing bucket is too; where it is not, not all services name the reason.
        selector = fs.FileSelector(folder, allow_not_found=self.scheme != "s3", recursive=recursive)
        with self._told(), contextlib.suppress(FileNotFoundError):
            return in_time(lambda: self._files().get_file_info(selector), LIMIT_S)
        return []

    def exists(self, name: str) -> bool:
        """Tell whether there is an object of this name."""
        with self._told():
            return _is_object(self._info(name))

    def open(self, name: str) -> IO[bytes]:
        """Open an object for reading; only the ranges that are read are fetched."""
        return cast("IO[bytes]", self.open_native(name))

    def open_native(self, name: str) -> Any:
        """Open an object as Arrow does, which can read it at several places at once."""
        with self._told(name):
            file = in_time(lambda: self._files().open_input_file(f"{self.root}/{name}"), LIMIT_S)
            if not file.size():
                raise FileNotFoundError
            return file

    def publish(self, name: str, write: Callable[[IO[bytes]], object], *, anew: bool = False) -> None:
        """Write an object: here on this machine first, then in one go.

        A large one goes to a hidden name, and is copied within the service when all of it has arrived: what breaks off
        in the middle is never seen. ``anew`` looks first and writes then: of two writers at the same moment the later
        one wins, as these clients have no way to write only where there is nothing.
        """
        with tempfile.SpooledTemporaryFile(_ONE_REQUEST) as file:
            write(cast("IO[bytes]", file))
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            if anew and self.exists(name):
                raise FileExistsError(errno.EEXIST, "there is such an object already", self.path(name))
            with self._told():
                if size <= _ONE_REQUEST:
                    self._send(name, file.read())
                else:
                    self._send_large(name, file.read())

    def _send_large(self, name: str, data: bytes) -> None:
        folder, _, last = name.rpartition("/")
        hidden = f"{folder}/.{last}.{secrets.token_hex(4)}.tmp"
        try:
            self._send(hidden, data)
            if self._info(hidden).size != len(data):
                raise OSError(errno.EIO, "not all of it has arrived")
            in_time(lambda: self._files().copy_file(f"{self.root}/{hidden}", f"{self.root}/{name}"), LIMIT_S)
        finally:
            with contextlib.suppress(OSError, pa.ArrowException):
                self._delete(hidden)

    def _send(self, name: str, data: bytes) -> None:
        def send() -> None:
            # What fails here may yet show as an object of less than all bytes, for these streams finish when closed:
            # of none where all goes with one request, so it counts as not there; else under the hidden name.
            with self._files().open_output_stream(f"{self.root}/{name}") as sent:
                sent.write(data)

        in_time(send, LIMIT_S + len(data) / _BYTES_PER_S)

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        with self._told(), contextlib.suppress(FileNotFoundError):
            self._delete(name)

    def _delete(self, name: str) -> None:
        in_time(lambda: self._files().delete_file(f"{self.root}/{name}"), LIMIT_S)

    def path(self, name: str) -> str:
        """Return the object's address, without options."""
        return f"{self.location}/{name}"

    def _info(self, name: str) -> fs.FileInfo:
        return in_time(lambda: self._files().get_file_info(f"{self.root}/{name}"), LIMIT_S)

    def _files(self) -> fs.FileSystem:
        """Return this process's client: a forked child must not use its parent's connections."""
        made = self._client
        if made is None or made[0] != os.getpid():
            made = self._client = os.getpid(), client(self.scheme, self.options)
        return made[1]

    @contextlib.contextmanager
    def _told(self, name: str | None = None) -> Generator[None]:
        """Say of what goes wrong where it did, in one line."""
        try:
            yield
        except FileNotFoundError:
            if name is None:
                raise UnavailableError(f"{self.location}: there is no such bucket") from None
            raise FileNotFoundError(errno.ENOENT, "no such object", self.path(name)) from None
        except (OSError, pa.ArrowException, ImportError) as error:
            said = _REQUEST_ID.sub("", " ".join(str(error).split()))
            raise UnavailableError(f"{self.location}: {said}") from None


def _is_object(info: fs.FileInfo) -> bool:
    return info.type == fs.FileType.File and bool(info.size)
