"""Files that are whole or not there, locks, what a disk refuses, and where the user's own folders are.

Every module that keeps something on a disk does it with these, so that two processes on one folder, a kill
and a full disk end alike everywhere.
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from hgad_jax.errors import UserError

MANIFEST = "manifest.json"  # of an exported model: its files, in a folder that is no run
_CACHE = "HGAD_JAX_CACHE"  # in the environment
_REASONS = {  # what was found, and what helps
    errno.ENOSPC: ("the disk is full", "Make room there"),
    errno.EDQUOT: ("the quota is used up", "Make room there"),
    errno.EFBIG: ("no file may be so large", "Raise the limit (ulimit -f)"),
    errno.EACCES: ("it may not be written", "Change its permissions"),
    errno.EPERM: ("it may not be written", "Change its permissions"),
    errno.EROFS: ("its file system is read-only", "Mount it to be written"),
    errno.ENOTDIR: ("a part of the path is a file", "Move that file away"),
    errno.EEXIST: ("a file is in its place", "Move that file away"),
    errno.EISDIR: ("a folder is in its place", "Move that folder away"),
    errno.ELOOP: ("its links lead round in a circle", "Mend them"),
    errno.EMFILE: ("too many files are open", "Raise the limit (ulimit -n)"),
    errno.ENFILE: ("too many files are open on this machine", "End other programs"),
    errno.ENAMETOOLONG: ("the name is too long", "Shorten it"),
    errno.EIO: ("the disk fails", "Look at the system's log"),
    errno.ESTALE: ("the network's file system has lost it", "Mount it again"),
    errno.ENOLCK: ("its file system has no locks", "Mount it with locks"),
}
# What is no OSError itself may have come of one of these; the others come of ordinary questions, too.
_BURIED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)


def expanded(path: str | os.PathLike) -> Path:
    """A path as the user means it: `~` is the home folder, and it is absolute.

    Raises:
      UserError: it begins with `~` and a name that is no user's.
    """
    text = os.path.expanduser(path)
    if text.startswith("~"):
        raise UserError(f"{text}: there is no such user. A folder of that name is given as ./{text}")
    return Path(os.path.abspath(text))


def cache_root() -> Path:
    """The folder of what can be made again: `$HGAD_JAX_CACHE`, else `default_cache_root`."""
    given = os.environ.get(_CACHE)
    return expanded(given) if given else default_cache_root()


def default_cache_root() -> Path:
    """`hgad_jax` in the user's caches: `$XDG_CACHE_HOME` or `~/.cache`, on a Mac `~/Library/Caches`."""
    usual = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    return expanded(os.environ.get("XDG_CACHE_HOME", "").strip() or usual) / "hgad_jax"


def read_text(path: str | os.PathLike) -> str:
    """A text file, be it saved again on Windows: no byte order mark, and lines end as on Linux."""
    return Path(path).read_text(encoding="utf-8-sig")


def write_atomically(path: str | os.PathLike, content: str | bytes, *, parents: bool = False) -> None:
    """Writes a file so that it is there whole or not at all.

    Args:
      path: of the file.
      content: of which, if it is text, names that are not UTF-8 are escaped.
      parents: make the folders that it lies in.
    """
    if parents:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    with writing(path) as file:
        file.write(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)


@contextlib.contextmanager
def writing(path: str | os.PathLike, *, sync: bool = True) -> Iterator[BinaryIO]:
    """A file to write that gets its name when the block ends well, and is gone if it does not.

    Two that write the same file at a time both succeed, and the later one's is kept.

    Args:
      path: in a folder that exists.
      sync: whether to bring it to the disk before, so that not even a power cut leaves a part of it; without,
        it is faster where files are many and can be made again.
    """
    file = _unfinished(Path(path))
    with file:
        try:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
            os.replace(file.name, path)  # while it is locked, or it could be taken for a leftover
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file.name)
            raise


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Removes what killed processes left of files they were `writing` in a folder, and no living one's."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        left = [entry.path for entry in entries if re.fullmatch(r"\..+\.[0-9a-f]{32}\.tmp", entry.name)]
        for path in left:
            # Left alone: a living writer's, another user's, and all where there are no locks.
            with contextlib.suppress(OSError), open(path, "r+b") as file:
                if _lock_descriptor(file.fileno(), blocking=False):
                    os.unlink(path)


@contextlib.contextmanager
def writing_folder(path: str | os.PathLike, *, replace: bool = False) -> Iterator[Path]:
    """A new folder to fill that gets its name when the block ends well, and is gone if it does not.

    What killed processes left of such a folder is removed.

    Args:
      path: in a folder that exists.
      replace: a folder that has the name by then; else that is an OSError.
    """
    path = Path(path)
    _remove_leftover_folders(path)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    unfinished.mkdir()
    descriptor = os.open(unfinished, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # no locks: nothing will be taken for a leftover
            _lock_descriptor(descriptor, blocking=False)
        yield unfinished
        if replace and path.is_dir():
            before = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
            path.rename(before)
            unfinished.rename(path)
            shutil.rmtree(before, ignore_errors=True)
        else:
            unfinished.rename(path)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    finally:
        os.close(descriptor)


def _remove_leftover_folders(path: Path) -> None:
    """Of those that were to become `path`, the ones that no living process fills."""
    pattern = rf"\.{re.escape(path.name)}\.[0-9a-f]{{32}}\.tmp"
    with contextlib.suppress(OSError):
        for left in [p for p in path.parent.iterdir() if p.is_dir() and re.fullmatch(pattern, p.name)]:
            with contextlib.suppress(OSError):
                descriptor = os.open(left, os.O_RDONLY)
                try:
                    if _lock_descriptor(descriptor, blocking=False):
                        shutil.rmtree(left, ignore_errors=True)
                finally:
                    os.close(descriptor)


def _unfinished(path: Path) -> BinaryIO:
    """A new file beside the one to be written, locked as long as it is open."""
    while True:
        file = open(path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp"), "xb")  # noqa: SIM115
        with contextlib.suppress(OSError):  # no locks: nothing will be taken for a leftover
            mine = _lock_descriptor(file.fileno(), blocking=False)
            if not mine or not os.fstat(file.fileno()).st_nlink:  # taken for a leftover before it was locked
                file.close()
                continue
        return file


@contextlib.contextmanager
def locked(
    path: str | os.PathLike, *, wait: bool = True, waiting: Callable[[], None] = lambda: None
) -> Iterator[bool]:
    """Holds a lock; the system takes it back from a process that dies, however it dies.

    Args:
      path: of the file that is locked, made if need be; it stays. Threads, too, keep each other out.
      wait: for another process that holds it.
      waiting: called before that.

    Yields:
      Whether it is held: always, if we wait.

    Raises:
      OSError: it cannot be made, or, with the number ENOLCK, the file system has no locks.
    """
    with open(path, "ab") as file:
        held = _lock(file, path, blocking=False)
        if not held and wait:
            waiting()
            held = _lock(file, path, blocking=True)
        yield held


def _lock_descriptor(descriptor: int, *, blocking: bool) -> bool:
    import filelock  # here, since where a model is only loaded nothing is locked

    return filelock.lock_descriptor(descriptor, blocking=blocking)


def _lock(file: BinaryIO, path: str | os.PathLike, *, blocking: bool) -> bool:
    try:
        return _lock_descriptor(file.fileno(), blocking=blocking)
    except OSError as error:
        raise OSError(errno.ENOLCK, error.strerror, os.fspath(path)) from error


@contextlib.contextmanager
def disk_errors(what: str, *, otherwise: str = "", after: str = "") -> Iterator[None]:
    """Turns what a disk refuses into a `UserError`; whatever else is raised passes.

    Args:
      what: cannot be done, such as "runs/a cannot be written".
      otherwise: what the user can do instead of mending the disk, such as "choose another --out".
      after: further sentences: what is kept, how to go on.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        number, stated = _refusal(error)
        if number not in _REASONS:
            raise
        found, remedy = _REASONS[number]
        raise UserError(
            f"{what}: {found} ({stated}). {remedy}{f', or {otherwise}' if otherwise else ''}."
            f"{f' {after}' if after else ''}"
        ) from error


def _refusal(error: BaseException) -> tuple[int | None, str | None]:
    """The system's number of an error and its text, of an exception or of what caused it."""
    if isinstance(error, OSError):
        without_number = re.fullmatch(r"\d+ requested and \d+ written", str(error))  # NumPy's
        return (errno.ENOSPC, str(error)) if without_number else (error.errno, error.strerror)
    cause: BaseException | None = error
    while cause is not None:
        stated = re.search(r"\bOS error (\d+)\b", str(cause))  # tensorstore has it in its text only
        number = getattr(cause, "errno", None) or (int(stated.group(1)) if stated else None)
        if number in _BURIED:
            return number, os.strerror(number)
        cause = cause.__cause__ or cause.__context__
    return None, ""


def sha256_of_file(path: str | Path) -> str:
    """Compute the SHA-256 of a file's bytes, as 64 hexadecimal digits.

    Raises:
      UserError: the file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read the weights file {path}: {error.strerror or error}") from error


# A pickle can set attributes of whatever it is given. Of these types it cannot: tuples and empty slots.
