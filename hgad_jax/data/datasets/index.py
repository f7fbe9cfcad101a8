"""The list of what a prepared dataset holds, beside its files: enough to make records of, nothing decoded."""

import hashlib
import json
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

from hgad_jax.data.datasets.place import Source, Stored
from hgad_jax.data.records import Record
from hgad_jax.errors import UserError
from hgad_jax.files import read_text, write_atomically

UNFINISHED = "incomplete."  # how TFDS names the folder of a dataset that is being prepared
FORMAT_VERSION = 1
_FILE = "records.json"


class Entry(NamedTuple):
    """One example, in the order of the stored ones."""

    name: str
    class_name: str
    defect: str
    masked: bool


class Index(NamedTuple):
    """What was prepared.

    Attributes:
        dataset: its name.
        fingerprint: SHA-256 of the dataset's name and version, and of all names, labels and bytes stored.
        source: what it was prepared from, as `source_key` gives it.
        differences: what differed from the published dataset; empty if nothing did.
        splits: of each split its examples in order.
    """

    dataset: str
    fingerprint: str
    source: str
    differences: list[str]
    splits: dict[str, list[Entry]]

    def records(self, folder: str) -> list[Record]:
        """Make records of the examples, split by split."""
        return [
            self._record(Source(folder, split, self.fingerprint), number, entry)
            for split, entries in self.splits.items()
            for number, entry in enumerate(entries)
        ]

    def _record(self, source: Source, number: int, entry: Entry) -> Record:
        name = f"{self.dataset}/{entry.name}"
        image = Stored(source, number, "image", name)
        mask = Stored(source, number, "mask", f"mask of {name}") if entry.masked else None
        return Record(image, entry.class_name, source.split, entry.defect, mask)


class Fingerprint:
    """Hashes what is stored while it is being stored."""

    def __init__(self, dataset: str, version: str):
        self._digest = hashlib.sha256(f"{dataset}\0{version}\0".encode())

    def update(self, *parts: str | bytes) -> None:
        """Add the parts of an example; where one ends matters."""
        for part in parts:
            data = part.encode() if isinstance(part, str) else part
            self._digest.update(len(data).to_bytes(8, "little") + data)

    def __str__(self) -> str:
        return self._digest.hexdigest()


def write(folder: str, index: Index) -> None:
    """Write an index into the folder of a dataset that is being prepared."""
    contents: dict[str, Any] = {"format": FORMAT_VERSION, **index._asdict()}
    write_atomically(os.path.join(folder, _FILE), json.dumps(contents, ensure_ascii=False))


def read(folder: str) -> Index | None:
    """Read the index of a prepared dataset; None where none was prepared.

    Raises:
        UserError: it is damaged, or of another version of this program.
    """
    path = os.path.join(folder, _FILE)
    if not os.path.isdir(folder):
        return None
    try:
        contents = json.loads(read_text(path))
        if contents.pop("format") != FORMAT_VERSION:
            raise ValueError("another version of hgad_jax wrote it")
        splits = {name: [Entry(*entry) for entry in entries] for name, entries in contents["splits"].items()}
        return Index(**(contents | {"splits": splits}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"The prepared dataset '{folder}' cannot be used ({_FILE}: {error}). Delete that folder and "
            "start again: it is prepared anew from what was downloaded."
        ) from error


def source_key(root: str, suffixes: Iterable[str]) -> str:
    """Hash the names and sizes of the files of some kinds below a folder.

    It tells whether the files are still those that a dataset was prepared from, without reading them.
    Prepared datasets may lie there too: whole ones have no such files, `UNFINISHED` ones are passed over.
    """
    digest, seen, wanted = hashlib.sha256(), set(), tuple(suffixes)
    for folder, below, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link may lead round in a circle
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith((".", UNFINISHED)))
        for name in sorted(names):
            if name.lower().endswith(wanted) and not name.startswith("."):
                path = os.path.join(folder, name)
                size = os.path.getsize(path) if os.path.exists(path) else -1
                digest.update(os.fsencode(os.path.relpath(path, root)) + f"\0{size}\n".encode())
    return digest.hexdigest()
