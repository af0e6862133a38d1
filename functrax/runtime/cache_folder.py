"""A folder of cached programs: one file each, written at once, checked when read, bounded in size.

Any number of processes may read, write and clear a folder at the same time, none waits for another,
and one that is killed leaves nothing worse than a temporary file.

*Trust.* An entry is machine code that runs in the process that loads it: whoever can write to the
folder can run code as its readers. So functrax makes folders that only their owner can enter, and
uses none that everybody can write to, nor one that it finds by default and another user owns. A
folder that the user names (``compilation_cache_dir``) may belong to a colleague: naming it says
that its writers are trusted. The checksum finds damage, not malice.
"""

import contextlib
import functools
import importlib
import os
import stat
import struct
import sys
import time
from typing import Any, NamedTuple

from functrax import errors

CALL = "compilation cache"  # in the place of the user's function, in messages
VERSION = 1  # of the form of entries
ENTRY, TEMPORARY = ".program", ".tmp"
LEDGER = "size"

_MAGIC = b"functrax"
_HEADER = struct.Struct("<8sIdQ32s")  # magic, version, seconds to compile, length, checksum
_PAGE = 4096  # what the smallest file takes on most disks
_ROOM = 0.9  # the share of the limit that eviction leaves in use, so that it runs seldom
_HOUR = 3600.0  # how fine ages are, and after which a temporary file was left by a dead process


class Entry(NamedTuple):
    """A program as it is stored.

    Attributes:
        payload: the program as XLA wrote it.
        seconds: what it took to compile.
    """

    payload: bytes
    seconds: float


class StoredFile(NamedTuple):
    """A file of the folder: an entry or a temporary one."""

    path: str
    used: float
    size: int


class CacheFolder:
    """The entries in one folder.

    Attributes:
        path: the folder.
    """

    __slots__ = ("path",)

    def __init__(self, path: str, named: bool) -> None:
        """Make the folder if need be.

        Args:
            path: the folder.
            named: whether the user named it, and so trusts those who write to it.

        Raises:
            OSError: it cannot be made.
            FileError: others could plant programs in it.
        """
        self.path = os.path.abspath(path)
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        if not os.path.isdir(self.path):
            _make_private(self.path)
        danger = _danger(self.path, named)
        if danger:
            raise errors.FileError(
                CALL,
                "a folder that nobody else can plant programs in",
                f"{self.path!r}, {danger}",
                fix="Correct that, or name another with config.update('compilation_cache_dir').",
            )

    def entry_path(self, key: str) -> str:
        """Return the file of a program."""
        return os.path.join(self.path, key + ENTRY)

    def read(self, key: str) -> Entry | None:
        """Return a program, or None if it is not here.

        Raises:
            OSError: it cannot be read.
            FileError: it is damaged.
        """
        path = self.entry_path(key)
        try:
            with open(path, "rb", opener=_at_once) as file:
                data = file.read()
                used = os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            return None
        entry = _unpack(key, data)
        if time.time() - used > _HOUR:  # eviction removes what was not used for longest
            with contextlib.suppress(OSError):
                os.utime(path)
        return entry

    def write(self, key: str, entry: Entry, limit: int) -> None:
        """Store a program, which other processes see whole or not at all.

        Args:
            key: its name.
            entry: the program.
            limit: the bytes that the folder may take; negative for no limit.

        Raises:
            OSError: it cannot be written; the folder is as before.
        """
        data = _pack(key, entry)
        if 0 <= limit < len(data):
            return
        self._make_room(len(data), limit)
        self._write_whole(self.entry_path(key), data)

    def remove(self, key: str) -> None:
        """Delete a program, if it is there and can be deleted."""
        with contextlib.suppress(OSError):
            os.unlink(self.entry_path(key))

    def files(self) -> list[StoredFile]:
        """Return the entries and temporary files."""
        found: list[StoredFile] = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self.path) as listing:
            for item in listing:
                if item.name.endswith((ENTRY, TEMPORARY)):
                    with contextlib.suppress(FileNotFoundError):  # another process removed it
                        status = item.stat(follow_symlinks=False)
                        found.append(StoredFile(item.path, status.st_mtime, status.st_size))
        return found

    def clear(self) -> None:
        """Delete every entry; files that are not the cache's own stay."""
        paths = [file.path for file in self.files()]
        for path in (*paths, os.path.join(self.path, LEDGER)):
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _write_whole(self, path: str, data: bytes) -> None:
        temporary = f"{path}.{os.urandom(8).hex()}{TEMPORARY}"
        try:
            with open(temporary, "xb") as file:
                file.write(data)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def _make_room(self, size: int, limit: int) -> None:
        """Count a coming entry, and delete others if the folder would exceed the limit.

        The ledger is a file with one byte for each page that was written to the folder since its
        files were last listed. So a write appends to it, which is atomic, and need not list them.
        """
        ledger = os.path.join(self.path, LEDGER)
        known = os.path.exists(ledger)
        with open(ledger, "ab", opener=_at_once) as file:
            file.write(bytes(_pages(size)))
            total = file.tell() * _PAGE
        if not known or 0 <= limit < total:
            self._recount(limit, size)

    def _recount(self, limit: int, coming: int) -> None:
        """List the files, delete those used longest ago, and start the ledger anew."""
        files = sorted(self.files(), key=lambda file: file.used)
        total = _PAGE * (_pages(coming) + sum(_pages(file.size) for file in files))
        goal = int(limit * _ROOM) if 0 <= limit < total else total
        dead = time.time() - _HOUR
        for file in files:
            is_temporary = file.path.endswith(TEMPORARY)
            if file.used < dead if is_temporary else total > goal:
                total -= _PAGE * _pages(file.size)
                with contextlib.suppress(OSError):
                    os.unlink(file.path)
        self._write_whole(os.path.join(self.path, LEDGER), bytes(total // _PAGE))


def _make_private(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):  # another process may have made it just now
            raise


def _at_once(path: str, flags: int) -> int:
    """Open a file without waiting for another process, should it be a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _pages(size: int) -> int:
    return -(-size // _PAGE)


def default_path() -> str:
    """Return the folder for the user's programs, by the conventions of the platform.

    Raises:
        RuntimeError: the user has no home.
    """
    home = os.path.expanduser("~")
    if home == "~":
        raise RuntimeError("the user has no home folder")
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the specification says to ignore relative ones
        if sys.platform == "darwin":
            base = os.path.join(home, "Library", "Caches")
        elif sys.platform == "win32":
            base = os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
        else:
            base = os.path.join(home, ".cache")
    return os.path.join(base, "functrax", "programs")


def _danger(path: str, named: bool) -> str | None:
    """Say why others could plant programs in a folder, or None."""
    if not hasattr(os, "getuid"):  # Windows keeps other users out of a user's folders by default
        return None
    status = os.stat(path)
    if status.st_mode & stat.S_IWOTH:
        return "which everybody can write to"
    public = os.stat(os.path.dirname(path)).st_mode & stat.S_IWOTH
    if status.st_uid not in (0, os.getuid()) and (public or not named):
        return f"which belongs to user {status.st_uid}"
    return None


# The form of an entry


def sha256(*parts: bytes) -> bytes:
    """Return the hash of the parts, each told apart from the next."""
    digest = _hasher()()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


@functools.cache
def _hasher() -> Any:
    """Return Python's own SHA-256: hashlib would load OpenSSL first, for 5 to 20 ms."""
    for name in ("_sha2", "_sha256", "hashlib"):  # of Python 3.12 and later, 3.11, and others
        with contextlib.suppress(ImportError):
            return importlib.import_module(name).sha256
    raise errors.InternalError(CALL, "a Python with SHA-256")


def _checksum(key: str, entry: Entry) -> bytes:
    return sha256(key.encode(), struct.pack("<d", entry.seconds), entry.payload)


def _pack(key: str, entry: Entry) -> bytes:
    length = len(entry.payload)
    header = _HEADER.pack(_MAGIC, VERSION, entry.seconds, length, _checksum(key, entry))
    return header + entry.payload


def _unpack(key: str, data: bytes) -> Entry:
    wrong = "an empty file"
    if data:
        wrong = f"{len(data)} bytes"
    if len(data) >= _HEADER.size:
        magic, version, seconds, length, checksum = _HEADER.unpack_from(data)
        entry = Entry(data[_HEADER.size :], seconds)
        if magic != _MAGIC:
            wrong = "another kind of file"
        elif version != VERSION:
            wrong = f"version {version}"
        elif length != len(entry.payload):
            wrong = f"{len(entry.payload)} of {length} bytes"
        elif checksum != _checksum(key, entry):
            wrong = "bytes that changed"
        else:
            return entry
    raise errors.FileError(CALL, f"an undamaged entry {key[:12]}", wrong)
