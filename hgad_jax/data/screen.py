"""Every image and mask of a dataset fully decoded once, before anyone trains for hours on it."""

import collections
import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from absl import logging
from tqdm import tqdm

from hgad_jax.data.findings import Screening, cut_away, masks_by_content, problems_of, too_few_different
from hgad_jax.data.geometry import Transform
from hgad_jax.data.masks import few_colours, mask_files
from hgad_jax.data.pipeline import threaded
from hgad_jax.data.problems import ERROR, NOTE, SHOWN, Problem, listed, raise_all, report, write_whole
from hgad_jax.data.records import Dataset, ImageFile, Record, fingerprint, image_name, read_image_file
from hgad_jax.data.transforms import image_size, load_image, load_whole_mask, open_image
from hgad_jax.errors import UserError

_VERSION = 2  # of the kept results: raised when more is found than before
_TINY = Transform(size=64, interpolation="nearest")  # all that training does, but quickly
_FORMATS = {  # Pillow's names by suffix
    ".png": ("PNG",),
    ".jpg": ("JPEG", "MPO"),
    ".jpeg": ("JPEG", "MPO"),
    ".jpe": ("JPEG", "MPO"),
    ".jfif": ("JPEG", "MPO"),
    ".webp": ("WEBP",),
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
        colours: of the image: 1, 2, or 3 for more.
        defective: share of the image that its mask marks; -1 without a mask.
    """

    digest: str
    size: tuple[int, int]
    mode: str
    error: str = ""
    colours: int = 3
    defective: float = -1.0


def inspect(record: Record) -> Facts:
    """Decode an image and its mask; what is wrong with them is in the result."""
    digest, size, mode, colours, defective = "", (0, 0), "", 3, -1.0
    try:
        digest = hashlib.sha256(read_image_file(record.path)).hexdigest()
        with open_image(record.path) as opened:
            mode, found = opened.mode, opened.format
        colours = _colours(record.path)
        _refuse_suffix(found, record.path)
        size = image_size(record.path)
        if record.mask is not None:
            defective = float(load_whole_mask(record.mask, image=record.path).mean())
            for path in mask_files(record.mask):
                with open_image(path) as opened:
                    _refuse_suffix(opened.format, path)
    except UserError as error:
        return Facts(digest, size, mode, str(error))
    return Facts(digest, size, mode, "", colours, defective)


def _colours(image: ImageFile) -> int:
    """How many colours an image has, 3 for more; decoded as training does, so that it refuses the same."""
    sample = load_image(image, _TINY).reshape(-1, 3)
    if len(np.unique(sample[:: len(sample) // 256], axis=0)) > 2 or len(np.unique(sample, axis=0)) > 2:
        return 3  # of all pixels there are no fewer
    with open_image(image) as opened:
        return few_colours(opened)


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
    result = Screening({}, [], {}, {}, {})
    for index, fact in enumerate(facts):
        if fact.error:
            result.errors[index] = fact.error
            continue
        by_digest[fact.digest].append(index)
        count, first = result.sizes.get(fact.size, (0, index))
        result.sizes[fact.size] = (count + 1, first)
        if fact.colours < 3:
            result.colours[index] = fact.colours
        if fact.defective >= 0:
            result.defective[index] = fact.defective
    result.duplicates.extend(group for group in by_digest.values() if len(group) > 1)
    return result


def screened(
    dataset: Dataset,
    *,
    transform: Transform,
    on_error: str,
    num_workers: int,
    directory: str,
    report_file: str | os.PathLike = "",
    classes_given: bool = False,
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
        report_file: gets every problem with all its names; taken away if there is none. "" for no file.
        classes_given: whether the dataset's classes will be trained on, each of which then needs different
            images to train and to calibrate on.
        log: gets a line on what was left out, and warnings.

    Returns:
        The dataset without the images that cannot be used.

    Raises:
        UserError: images cannot be used and `on_error` is "raise", or no class is left.
    """
    records = [*dataset.train, *dataset.test]
    screening = _kept(records, directory, num_workers)
    problems = problems_of(records, screening) + cut_away(records, screening, transform)
    few = too_few_different(records, screening) if classes_given else []
    where = _reported([*problems, *few], report_file)
    for problem in problems:
        if problem.level != ERROR:
            more = where if len(problem.names) > SHOWN else ""
            log(f"{problem.level.capitalize()}: {problem.text()}{more}")
    if on_error == "raise":
        raise_all(problems, hint=f"--config.data.on_error=skip leaves such images out.{where}")
    raise_all(few, hint=where.strip())
    left_out = {*screening.errors, *masks_by_content(records, screening)}
    if left_out:
        names = [image_name(records[index].path) for index in sorted(left_out)]
        log(f"Left out {len(names)} of {len(records)} images that cannot be used: {listed(names)}.{where}")
    return _without(dataset, left_out, log) if left_out else dataset


def _reported(problems: Sequence[Problem], path: str | os.PathLike) -> str:
    """Write the problems to a file, if there are more than notes, and return a sentence that names it."""
    if not path:
        return ""
    serious = any(problem.level != NOTE for problem in problems)
    try:
        if serious:
            write_whole(path, report(problems))
        elif os.path.exists(path):
            os.remove(path)
    except OSError as error:
        logging.warning("'%s', with all that was found about the images, cannot be written: %s", path, error)
        return ""
    return f" All that was found is in {path}." if serious else ""


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
        write_whole(path, json.dumps(_to_json(screening)))
    except OSError as error:  # full or read-only: the next start decodes the images again, no more
        logging.warning("What was found about the images cannot be kept: %s", error)
    return screening


def _to_json(screening: Screening) -> dict:
    # JSON has no keys but text.
    found = {
        key: list(value.items()) for key, value in screening._asdict().items() if isinstance(value, dict)
    }
    return {
        **screening._asdict(),
        **found,
        "sizes": [[*size, *entry] for size, entry in screening.sizes.items()],
    }


def _from_json(content: dict) -> Screening:
    return Screening(
        {int(index): str(message) for index, message in content["errors"]},
        content["duplicates"],
        {int(index): int(colours) for index, colours in content["colours"]},
        {int(index): float(share) for index, share in content["defective"]},
        {(h, w): (count, first) for h, w, count, first in content["sizes"]},
    )
