"""What a watcher has done, so that a kill loses nothing and repeats nothing.

Two files. The results, a line of JSON for each image, are the user's: they may be read while they grow, and
moved away. The ledger beside them has a key for each line ever written; it alone says what is done. Lines of
results are written first, all of a batch at once, then their keys. A kill in between leaves lines without
keys: at the next start they are found at the end of the results and entered. A kill in the middle of a line
leaves a part of it, which is cut off, and its image is scored again.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hgad_jax.errors import UserError

SUFFIX = ".done"  # of the ledger, behind the name of the results
_KEY = 32  # hexadecimal digits
MOST = 64  # lines that are written at a time
_STEP = 1 << 16  # bytes that are read at a time from the end of the results


class Seen(NamedTuple):
    """A file as it was when it was looked at; another content has another size or time."""

    file: str  # relative to the folder that is watched, "/" between its parts
    bytes: int
    modified: int  # nanoseconds since 1970

    def key(self) -> str:
        """It stands for the file in the ledger."""
        said = f"{self.file}\0{self.bytes}\0{self.modified}"
        return hashlib.sha256(said.encode("utf-8", "surrogateescape")).hexdigest()[:_KEY]


class Ledger:
    """Appends to both files; whoever holds it is the only one who does.

    Args:
      results: a file in a folder that exists; made if need be.

    Raises:
      UserError: one of the files is none of ours.
      OSError: what the disk refuses.
    """

    def __init__(self, results: Path):
        self._results, self._path = results, results.with_name(results.name + SUFFIX)
        if not self._path.exists():
            if results.exists() and results.stat().st_size:
                raise UserError(
                    f"{results} is there, without {self._path.name} beside it: hgad-jax watch would not know "
                    "what is done. Put that file back, move this one away, or choose another --out."
                )
            self._path.touch()
        self._done = set(_keys(self._path))
        _cut_to_lines(results)
        missing = [key for key in map(_key_of, _last_lines(results)) if key not in self._done]
        self._enter(reversed(missing))

    def __len__(self) -> int:
        return len(self._done)

    def has(self, seen: Seen) -> bool:
        """Whether it has its line."""
        return seen.key() in self._done

    def append(self, lines: Iterable[tuple[Seen, Mapping[str, Any]]]) -> None:
        """Writes a line of results for each file, then their keys; when it returns both are on the disk.

        Raises:
          OSError: the disk is full, for one; nothing of these lines is left in the results then.
        """
        lines = list(lines)
        assert len(lines) <= MOST
        text = "".join(
            json.dumps({**seen._asdict(), **said}, ensure_ascii=True, allow_nan=False) + "\n"
            for seen, said in lines
        )
        _append(self._results, text.encode("ascii"))
        self._enter([seen.key() for seen, _ in lines])

    def skip(self, files: Iterable[Seen]) -> None:
        """Enters files without results: they count as done."""
        self._enter([seen.key() for seen in files])

    def _enter(self, keys: Iterable[str]) -> None:
        keys = list(keys)
        if keys:
            _append(self._path, "".join(f"{key}\n" for key in keys).encode("ascii"))
            self._done.update(keys)


def _append(path: Path, content: bytes) -> None:
    """All of it, or nothing."""
    with path.open("ab", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        try:
            left = memoryview(content)
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except BaseException:
            file.truncate(before)
            raise


def _keys(path: Path) -> list[str]:
    _cut_to_lines(path)
    keys = path.read_text(encoding="ascii", errors="replace").split("\n")[:-1]
    if any(len(key) != _KEY for key in keys):
        raise UserError(
            f"{path} is no ledger of hgad-jax watch: it has lines that are no keys. Put it back, or choose "
            "another --out."
        )
    return keys


def _cut_to_lines(path: Path) -> None:
    """Takes away the part of a line that a kill left at the end."""
    if path.exists():
        with path.open("r+b") as file:
            size = end = file.seek(0, os.SEEK_END)
            while end > 0:
                start = max(0, end - _STEP)
                file.seek(start)
                newline = file.read(end - start).rfind(b"\n")
                if newline >= 0:
                    end = start + newline + 1
                    break
                end = start
            if end != size:
                file.truncate(end)


def _last_lines(path: Path, most: int = MOST) -> list[bytes]:
    """The last lines of a file, the last one first."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        start, text = file.seek(0, os.SEEK_END), b""
        while start > 0 and text.count(b"\n") <= most:
            length = min(_STEP, start)
            start -= length
            file.seek(start)
            text = file.read(length) + text
    lines = text.split(b"\n")[:-1]
    return lines[::-1][:most]


def _key_of(line: bytes) -> str:
    try:
        said = json.loads(line)
        return Seen(said["file"], said["bytes"], said["modified"]).key()
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"The results have a line that hgad-jax watch did not write: {line[:90]!r}. Choose another --out."
        ) from error
