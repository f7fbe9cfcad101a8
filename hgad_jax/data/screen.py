"""Every image and mask of a dataset fully decoded once, before anyone trains for hours on it."""

import collections
import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from absl import logging
from tqdm import tqdm

from hgad_jax.data.geometry import Transform, cut_fraction
from hgad_jax.data.pipeline import threaded
from hgad_jax.data.problems import Problem, listed, raise_all
from hgad_jax.data.records import Dataset, ImageFile, Record, fingerprint, image_name, read_image_file
from hgad_jax.data.transforms import CUT_WARNING, image_size, load_whole_mask, open_image, refuse_32_bit
from hgad_jax.errors import UserError

_VERSION = 1  # of the kept results: raised when more is found than before
_FORMATS = {  # Pillow's names by suffix
    ".png": ("PNG",),
    ".jpg": ("JPEG", "MPO"),
    ".jpeg": ("JPEG", "MPO"),
    ".bmp": ("BMP", "DIB"),
    ".tif": ("TIFF",),
    ".tiff": ("TIFF",),
}


class Facts(NamedTuple):
    """What decoding a record showed.

    Attributes:
        digest: SHA-256 of the encoded image; "" if it cannot be read.
        size: height and width of the upright image; (0, 0) if it cannot be decoded.
        mode: Pillow's.
        error: why the image or its mask cannot be used; "" if they can.
        blank_mask: whether the mask of a defective image shows no defect.
    """

    digest: str
    size: tuple[int, int]
    mode: str
    error: str = ""
    blank_mask: bool = False


class Screening(NamedTuple):
    """What is wrong with the images of a dataset, by their index in `train + test`.

    Attributes:
        errors: index → message.
        duplicates: groups of two indices or more whose files have the same content.
        blank: indices of defective images whose mask shows no defect.
        sizes: (height, width) → the number of images, and the index of one.
    """

    errors: dict[int, str]
    duplicates: list[list[int]]
    blank: list[int]
    sizes: dict[tuple[int, int], tuple[int, int]]


def inspect(record: Record) -> Facts:
    """Decode an image and its mask; what is wrong with them is in the result."""
    digest, size, mode, blank = "", (0, 0), "", False
    try:
        digest = hashlib.sha256(read_image_file(record.path)).hexdigest()
        with open_image(record.path) as opened:
            opened.load()
            mode = opened.mode
            refuse_32_bit(opened, record.path)
            _refuse_suffix(opened.format, record.path)
        size = image_size(record.path)
        if record.mask is not None:
            blank = not load_whole_mask(record.mask, image=record.path).any()
            with open_image(record.mask) as opened:
                _refuse_suffix(opened.format, record.mask)
    except UserError as error:
        return Facts(digest, size, mode, str(error))
    return Facts(digest, size, mode, blank_mask=blank)


def _refuse_suffix(found: str | None, image: ImageFile) -> None:
    """Raise a `UserError` if a file is not of the format that its name says."""
    suffix = os.path.splitext(image)[1].lower() if isinstance(image, str) else ""
    if found not in _FORMATS.get(suffix, (found,)):
        raise UserError(
            f"'{image}' is a {found} file by its content but not by its name: the suffix {suffix} is wrong. "
            "Rename it, or save it again."
        )


def inspect_all(records: Sequence[Record], *, num_workers: int, progress: bool = True) -> Iterator[Facts]:
    """Yield the facts of each record in order, decoded by threads; memory does not grow with their number."""
    facts = threaded(lambda i: inspect(records[i]), range(len(records)), num_workers=num_workers)
    with contextlib.closing(facts):
        bar = {"desc": "checking images", "unit": "image", "dynamic_ncols": True}
        yield from tqdm(facts, total=len(records), disable=None if progress else True, **bar)


def summarise(facts: Iterator[Facts]) -> Screening:
    """Collect what is wrong."""
    by_digest: dict[str, list[int]] = collections.defaultdict(list)
    result = Screening({}, [], [], {})
    for index, fact in enumerate(facts):
        if fact.error:
            result.errors[index] = fact.error
            continue
        by_digest[fact.digest].append(index)
        count, first = result.sizes.get(fact.size, (0, index))
        result.sizes[fact.size] = (count + 1, first)
        if fact.blank_mask:
            result.blank.append(index)
    result.duplicates.extend(group for group in by_digest.values() if len(group) > 1)
    return result


def problems_of(records: Sequence[Record], screening: Screening) -> list[Problem]:
    """All that is wrong as problems; duplicates and blank masks are warnings."""
    problems = [
        Problem(message, (image_name(records[index].path),), "")
        for index, message in screening.errors.items()
    ]
    leaks, others = [], []
    for group in screening.duplicates:
        (leaks if len({records[i].split for i in group}) > 1 else others).append(group)
    if leaks:
        summary = (
            f"{len(leaks)} images are in train and in test, so that test scores look better than they are"
        )
        problems.append(Problem(summary, _groups(records, leaks), "Take one of each away.", warning=True))
    if others:
        summary = f"{len(others)} images are there more than once"
        problems.append(Problem(summary, _groups(records, others), "Take the copies away.", warning=True))
    if screening.blank:
        summary = f"{len(screening.blank)} defective images have a mask without any defect"
        names = tuple(image_name(records[i].path) for i in screening.blank)
        problems.append(Problem(summary, names, "Look at these masks.", warning=True))
    return problems


def _groups(records: Sequence[Record], groups: list[list[int]]) -> tuple[str, ...]:
    return tuple("' = '".join(image_name(records[i].path) for i in group) for group in groups)


def screened(
    dataset: Dataset,
    *,
    transform: Transform,
    on_error: str,
    num_workers: int,
    directory: str,
    log: Callable[[str], None] = logging.info,
) -> Dataset:
    """Decode every image and mask once and refuse, or leave out, those that cannot be used.

    What was found is kept, so that the next start with the same files need not decode them again but for
    those that could not be used: a disk that is back or a permission changes nothing that a file is known by.

    Args:
        dataset: listed, not decoded.
        transform: of the run; what it cuts away is told.
        on_error: "raise" or "skip".
        num_workers: threads.
        directory: where the result is kept.
        log: gets a line on what was left out, and warnings.

    Returns:
        The dataset without the images that cannot be used.

    Raises:
        UserError: images cannot be used and `on_error` is "raise", or no class is left.
    """
    records = [*dataset.train, *dataset.test]
    screening = _kept(records, directory, num_workers)
    problems = problems_of(records, screening)
    for problem in problems:
        if problem.warning:
            log(f"Warning: {problem.text()}")
    _tell_of_cuts(records, screening, transform, log)
    if on_error == "raise":
        raise_all(problems, hint="--config.data.on_error=skip leaves such images out.")
    if not screening.errors:
        return dataset
    names = [image_name(records[i].path) for i in screening.errors]
    log(f"Left out {len(names)} of {len(records)} images that cannot be used: {listed(names)}.")
    return _without(dataset, set(screening.errors), log)


def _without(dataset: Dataset, left_out: set[int], log: Callable[[str], None]) -> Dataset:
    count = len(dataset.train)
    train = tuple(r for i, r in enumerate(dataset.train) if i not in left_out)
    test = tuple(r for i, r in enumerate(dataset.test) if i + count not in left_out)
    trainable = {record.class_name for record in train}
    classes = tuple(name for name in dataset.classes if name in trainable)
    gone = [name for name in dataset.classes if name not in trainable]
    if gone:
        log(f"Left out {len(gone)} classes without any good training image: {listed(gone)}.")
    if not classes:
        raise UserError(f"{dataset.name}: none of the good training images can be used. Mend the images.")
    return Dataset(dataset.name, classes, train, tuple(r for r in test if r.class_name in trainable))


def _tell_of_cuts(records, screening: Screening, transform: Transform, log) -> None:
    cuts = [(cut_fraction(transform, size), n, i) for size, (n, i) in screening.sizes.items()]
    large = [cut for cut in cuts if cut[0] > CUT_WARNING]
    if large:
        share, _, index = max(large)
        count = sum(n for _, n, _ in large)
        log(
            f"Warning: {transform.resize} cuts more than a tenth away from {count} of {len(records)} images, "
            f"{share:.0%} from '{image_name(records[index].path)}': defects there will not be seen. "
            "--config.data.resize=squash or letterbox keeps all of an image."
        )


def _kept(records: Sequence[Record], directory: str, num_workers: int) -> Screening:
    """The screening from an earlier start, or done now and kept."""
    masks = [record._replace(path=record.mask) for record in records if record.mask is not None]
    digest = hashlib.sha256(f"{_VERSION}\n{fingerprint(records)}\n{fingerprint(masks)}".encode()).hexdigest()
    path = os.path.join(os.path.expanduser(directory), f"screened-{digest[:16]}.json")
    damaged = (OSError, ValueError, TypeError, KeyError, IndexError)
    with contextlib.suppress(*damaged), open(path, encoding="utf-8") as file:
        screening = _from_json(json.load(file))
        errors = {index: inspect(records[index]).error for index in screening.errors}
        if all(errors.values()):
            return screening._replace(errors=errors)
    screening = summarise(inspect_all(records, num_workers=num_workers))
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = f"{path}.{uuid.uuid4().hex}"  # another process may be at the same
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(_to_json(screening), file)
        os.replace(temporary, path)
    except OSError as error:  # full or read-only: the next start decodes the images again, no more
        logging.warning("What was found about the images cannot be kept: %s", error)
    return screening


def _to_json(screening: Screening) -> dict:
    sizes = [[*size, *entry] for size, entry in screening.sizes.items()]
    return {**screening._asdict(), "errors": list(screening.errors.items()), "sizes": sizes}


def _from_json(content: dict) -> Screening:
    errors = {int(index): str(message) for index, message in content["errors"]}
    sizes = {(h, w): (count, first) for h, w, count, first in content["sizes"]}
    return Screening(errors, content["duplicates"], content["blank"], sizes)
