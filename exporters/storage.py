"""Where the files of a store stand: in a folder of this machine, or under a prefix of an object store.

Names are relative to the store and written with ``/``. Whatever the place, a file is there completely or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from typing import IO, TYPE_CHECKING, Final, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700
_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_BINARY: Final = getattr(os, "O_BINARY", 0)


class UnavailableError(OSError):
    """The place of a store cannot be asked, or refuses to answer: nothing is known of the files then."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.errno = errno.EIO  # what is wrong is no file's content


class Found(NamedTuple):
    """A file of a store: its name, its size in bytes, when it was last changed (Unix seconds).

    ``refused`` says why it is not to be opened: it is a link, or something other than a file.
    """

    name: str
    size: int
    modified: float
    refused: str | None = None


class Storage(Protocol):
    """What a store needs of the place where its files stand."""

    @property
    def location(self) -> str:
        """Where it is, as people write it."""
        ...

    @property
    def address(self) -> str:
        """What a store is found by again: the location, and options that an address has beside it."""
        ...

    def is_there(self) -> bool:
        """Tell whether there is a store at all."""
        ...

    def walk(self, folder: str) -> Iterator[Found]:
        """Yield the files below a folder, none that is still being written; a folder that is not there has none."""
        ...

    def litter(self) -> Iterator[Found]:
        """Yield what writers have not finished: they are still at it, or have died."""
        ...

    def exists(self, name: str) -> bool:
        """Tell whether there is a file of this name."""
        ...

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading; raises FileNotFoundError where there is none."""
        ...

    def publish(self, name: str, write: Callable[[IO[bytes]], object], *, anew: bool = False) -> None:
        """Write a file that appears complete and durable, or not at all.

        Args:
            name: its name; a file of that name is replaced.
            write: writes the content.
            anew: raise FileExistsError rather than replace a file.

        Raises:
            OSError: if it cannot be written; nothing is left behind then.
        """
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def path(self, name: str) -> str:
        """Return what a reader of Parquet opens the file by."""
        ...


class FolderStorage:
    """A folder. Files are the owner's only, and no link is ever followed out of it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def location(self) -> str:
        """Return the folder's path."""
        return str(self.root)

    @property
    def address(self) -> str:
        """Return the folder's path."""
        return str(self.root)

    def is_there(self) -> bool:
        """Tell whether the folder is there."""
        return self.root.is_dir()

    def walk(self, folder: str) -> Iterator[Found]:
        """Yield the files below a folder in order of their names; hidden ones are being written."""
        try:
            entries = sorted(os.scandir(self.root / folder), key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            name = f"{folder}/{entry.name}"
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self.walk(name)
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # removed since the folder was listed
                continue
            yield Found(name, status.st_size, status.st_mtime, _refusal(status.st_mode))

    def litter(self) -> Iterator[Found]:
        """Yield the hidden files that ``publish`` makes and has not finished."""
        for path in sorted(self.root.rglob(".*.tmp")):
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat()
                yield Found(path.relative_to(self.root).as_posix(), status.st_size, status.st_mtime)

    def exists(self, name: str) -> bool:
        """Tell whether there is a file of this name."""
        return (self.root / name).exists()

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading; a link is refused (OSError)."""
        return os.fdopen(os.open(self.root / name, os.O_RDONLY | _NOFOLLOW | _BINARY), "rb")

    def publish(self, name: str, write: Callable[[IO[bytes]], object], *, anew: bool = False) -> None:
        """Write under a hidden name, see it onto the disk, and give it its own name."""
        path = self.root / name
        make_folder(path.parent, below=self.root)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            with _created(temporary) as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            if anew:
                os.link(temporary, path)
            else:
                temporary.replace(path)
            sync_folder(path.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self.root / name).unlink(missing_ok=True)

    def path(self, name: str) -> str:
        """Return the file's path."""
        return str(self.root / name)


def _refusal(mode: int) -> str | None:
    if stat.S_ISREG(mode):
        return None
    return "it is a link, and links are not followed" if stat.S_ISLNK(mode) else "it is not a file"


def _created(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", os.fdopen(create_file(path), "wb"))


def create_file(path: Path, flags: int = 0) -> int:
    """Return the descriptor of a new file of the owner's; raises FileExistsError where there is one."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _BINARY | flags, FILE_MODE)


def make_folder(folder: Path, *, below: Path) -> None:
    """Make a folder and those above it; none from ``below`` downwards may be a link, but ``below`` itself.

    Raises:
        OSError: if it cannot be made, or one of them is a link.
    """
    if folder != below:
        make_folder(folder.parent, below=below)
        if folder.is_symlink():
            raise OSError(errno.ELOOP, "a link where a folder of the store should be; it is not followed", str(folder))
    if not folder.is_dir():
        folder.mkdir(mode=FOLDER_MODE, parents=folder == below, exist_ok=True)


def make_private(folder: Path) -> None:
    """Make a folder in a place that others can write to too, and see that it is the user's alone.

    Raises:
        OSError: if it cannot be made, or somebody else may have a hand in it.
    """
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    status = folder.lstat()
    mine = not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & 0o077)
    if not (stat.S_ISDIR(status.st_mode) and mine):
        raise PermissionError(errno.EPERM, "not a folder that only this user can write to", str(folder))


def sync_folder(folder: Path) -> None:
    """See a folder's entries onto the disk, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system without it
            raise
    finally:
        os.close(descriptor)
