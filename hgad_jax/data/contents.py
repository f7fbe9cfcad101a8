"""What image files hold, whatever they are called and wherever they lie: the SHA-256 of their bytes.

It tells the images of a run from others that have taken their names. A file is read once: what it holds is
noted with all that the system says of it, its last change of any kind among it, which nobody can set back.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from absl import logging
from tqdm import tqdm

from hgad_jax.data.pipeline import threaded
from hgad_jax.data.records import MaskFile, Record, Stored, fingerprint, identity, read_image_file
from hgad_jax.files import expanded, read_text, remove_leftovers, write_atomically

_TABLE = "contents.jsonl"


def contents(images: Sequence[MaskFile], directory: str | os.PathLike, *, num_workers: int) -> list[str]:
    """Hash what image files hold.

    Args:
        images: files, or places in prepared datasets.
        directory: where it is noted, so that the next one who asks need not read them; made if need be.
        num_workers: threads that read.

    Returns:
        The SHA-256 of each in hexadecimal.

    Raises:
        UserError: a file cannot be read.
    """
    path = expanded(directory) / _TABLE
    known = _noted(path)
    identities = [os.fsdecode(identity(image)) for image in images]
    unknown = [index for index, name in enumerate(identities) if name not in known]
    if unknown:
        read = threaded(lambda index: _content(images[index]), unknown, num_workers=num_workers)
        bar = {
            "desc": "reading images",
            "unit": "image",
            "dynamic_ncols": True,
            "disable": None,
            "delay": 2.0,
        }
        with contextlib.closing(read):
            for index, content in zip(unknown, tqdm(read, total=len(unknown), **bar), strict=True):
                known[identities[index]] = content
        _note(path, known, identities)
    return [known[name] for name in identities]


def key(records: Sequence[Record], directory: str | os.PathLike, *, num_workers: int) -> str:
    """Hash what the images of records hold, in their order, as a part of a cache key.

    Args:
        records: of images.
        directory: as of `contents`.
        num_workers: likewise.
    """
    if all(isinstance(record.path, Stored) for record in records):
        return fingerprint(records)  # hashed when they were prepared
    return digest(contents([record.path for record in records], directory, num_workers=num_workers))


def of_labelled(
    records: Sequence[Record], directory: str | os.PathLike, *, num_workers: int
) -> dict[str, dict[str, str | None]]:
    """Hash what test images and their masks hold, in any order and by any names: figures are of these.

    Args:
        records: of images.
        directory: as of `contents`.
        num_workers: likewise.

    Returns:
        "images" (whether an image is good counts, too) and "masks", each class → hash; None without masks.
    """
    masked = [record for record in records if record.mask is not None]
    files = [*(record.path for record in records), *(record.mask for record in masked)]
    found = contents(files, directory, num_workers=num_workers)
    image = dict(zip(records, found[: len(records)], strict=True))
    mask = dict(zip(masked, found[len(records) :], strict=True))
    classes = sorted({record.class_name for record in records})

    def hashed(of: dict[Record, str], name: str) -> str | None:
        lines = sorted(f"{image[r]} {r.anomalous} {of[r]}" for r in of if r.class_name == name)
        return digest(lines) if lines else None

    return {
        part: {name: hashed(of, name) for name in classes}
        for part, of in (("images", image), ("masks", mask))
    }


def digest(lines: Iterable[str]) -> str:
    """One hash of several lines, in their order."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _content(image: MaskFile) -> str:
    return hashlib.sha256(read_image_file(image)).hexdigest()


def _noted(path: Path) -> dict[str, str]:
    """Identity → content; nothing where nothing was noted, or not by us: the files are then read again."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return dict(json.loads(line) for line in read_text(path).splitlines())
    return {}


def _note(path: Path, known: dict[str, str], current: Sequence[str]) -> None:
    """Keeps what is known; of files that have changed, what they were before is forgotten.

    Of several runs that do it at a time the last one's is kept: the others' files are read once more.
    """
    now, paths = set(current), {name.partition("\0")[0] for name in current if os.path.isabs(name)}
    kept = [item for item in known.items() if item[0] in now or item[0].partition("\0")[0] not in paths]
    remove_leftovers(path.parent)
    try:
        write_atomically(path, "".join(f"{json.dumps(item)}\n" for item in kept), parents=True)
    except OSError as error:  # full or read-only: the next start reads the images again, no more
        logging.warning("What the images hold cannot be noted: %s", error)
