"""Every image and mask of a dataset fully decoded once, before anyone trains for hours on it."""

import collections
import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from PIL import Image

from hgad_jax.data import depth, leaks, white_level
from hgad_jax.data.decode import Decoded, decode, name_of
from hgad_jax.data.findings import Screening, cut_away, masks_by_content, problems_of, too_few_different
from hgad_jax.data.geometry import Transform
from hgad_jax.data.masks import few_colours
from hgad_jax.data.pipeline import threaded
from hgad_jax.data.problems import ERROR, NOTE, SHOWN, Problem, listed, raise_all, report
from hgad_jax.data.records import Dataset, ImageFile, Record, fingerprint, image_name, read_image_file
from hgad_jax.data.transforms import ground_truth
from hgad_jax.errors import UserError
from hgad_jax.files import expanded, read_text, write_atomically
from hgad_jax.progress_bar import progress_bar

_VERSION = 3  # of the kept results: raised when more is found than before
_SAMPLE = 64  # pixels along a side, in which nearly every image has more than two colours


class Facts(NamedTuple):
    """What decoding a record showed.

    Attributes:
        digest: SHA-256 of the encoded image; "" if it cannot be read.
        size: height and width of the upright image; (0, 0) if it cannot be decoded.
        mode: how it is stored, in Pillow's terms; "" if it cannot be decoded.
        error: why the image or its mask cannot be used; "" if they can.
        colours: of the image: 1, 2, or 3 for more.
        defective: share of the image that its mask marks; -1 without a mask.
        highest: value of an image of 16 bits; -1 for others.
        clipped: whether values lie outside of the range that is set.
        transparent: whether the image or its mask is transparent everywhere.
        thumbnail: of `leaks.thumbnail`, if it is asked for.
    """

    digest: str
    size: tuple[int, int]
    mode: str
    error: str = ""
    colours: int = 3
    defective: float = -1.0
    highest: int = -1
    clipped: bool = False
    transparent: bool = False
    thumbnail: bytes = b""


def inspect(record: Record, transform: Transform, *, thumbnail: bool = False) -> Facts:
    """Decode an image and its mask, as training will; what is wrong with them is in the result."""
    facts = Facts("", (0, 0), "")
    try:
        facts = facts._replace(digest=hashlib.sha256(read_image_file(record.path)).hexdigest())
        image = decode(record.path, max_pixels=transform.max_pixels)
        facts = facts._replace(size=image.size, mode=image.mode, transparent=image.transparent)
        facts = facts._replace(colours=_colours(image), **_depth(image, transform, record.path))
        if thumbnail:
            facts = facts._replace(thumbnail=leaks.thumbnail(image))
        if record.mask is not None:
            truth = ground_truth(record.mask, image.size, record.path, max_pixels=transform.max_pixels)
            transparent = image.transparent or truth.transparent
            facts = facts._replace(defective=float(truth.defective.mean()), transparent=transparent)
    except UserError as error:
        return facts._replace(error=str(error), colours=3, defective=-1.0)
    return facts


def _colours(image: Decoded) -> int:
    """How many colours an image has, 3 for more."""
    if isinstance(image.pixels, np.ndarray):
        down, across = (max(1, side // _SAMPLE) for side in image.size)
        sample = image.pixels[::down, ::across]
    else:
        sample = np.asarray(image.pixels.resize((_SAMPLE, _SAMPLE), Image.Resampling.NEAREST))
    sample = sample.reshape(-1, sample.shape[2] if sample.ndim == 3 else 1)
    if any(len(np.unique(part, axis=0)) > 2 for part in (sample[:: max(1, len(sample) // 256)], sample)):
        return 3  # of all pixels there are no fewer
    return few_colours(image.pixels)


def _depth(image: Decoded, transform: Transform, path: ImageFile) -> dict[str, Any]:
    """The facts of an image of more than 8 bits: what is white is known only when all images were seen."""
    if not isinstance(image.pixels, np.ndarray):
        return {}
    if image.pixels.dtype == np.uint16:
        return {"highest": int(image.pixels.max())}
    return {"clipped": white_level.to_eight_bits(image.pixels, transform, name_of(path))[1] > 0}


def inspect_all(
    records: Sequence[Record],
    transform: Transform,
    *,
    num_workers: int,
    progress: bool = True,
    thumbnails: bool = False,
) -> Iterator[Facts]:
    """Yield the facts of each record in order, decoded by threads; memory does not grow with their number."""
    more = {"thumbnail": True} if thumbnails else {}
    facts = threaded(
        lambda i: inspect(records[i], transform, **more), range(len(records)), num_workers=num_workers
    )
    with contextlib.closing(facts):
        bar = {"desc": "checking images", "unit": "image", "disable": None if progress else True}
        yield from progress_bar(facts, total=len(records), **bar)


def summarise(facts: Iterator[Facts]) -> Screening:
    """Collect what is wrong."""
    by_digest: dict[str, list[int]] = collections.defaultdict(list)
    result = Screening({}, [], {}, {}, {}, {}, [], [])
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
        if fact.highest >= 0:
            result.highest[index] = fact.highest
        if fact.clipped:
            result.clipped.append(index)
        if fact.transparent:
            result.transparent.append(index)
    result.duplicates.extend(group for group in by_digest.values() if len(group) > 1)
    return result


class Screened(NamedTuple):
    """A dataset without the images that cannot be used, and what is white in those of 16 bits.

    Attributes:
        dataset: what is left.
        white_level: 0 if it is unknown, and there are none.
    """

    dataset: Dataset
    white_level: int


def screened(
    dataset: Dataset,
    *,
    transform: Transform,
    on_error: str,
    num_workers: int,
    directory: str,
    report_file: str | os.PathLike = "",
    classes_given: bool = False,
    find_white: bool = False,
    log: Callable[[str], None] = logging.info,
) -> Screened:
    """Decode every image and mask once and refuse, or leave out, those that cannot be used.

    What was found is kept, so that the next start with the same files need not decode them again but for
    those that could not be used: a disk that is back or a permission changes nothing that a file is known by.

    Args:
        dataset: listed, not decoded.
        transform: of the run; what it cuts away and clips is told.
        on_error: "raise" or "skip".
        num_workers: threads.
        directory: where the result is kept.
        report_file: gets every problem with all its names; taken away if there is none. "" for no file.
        classes_given: whether the dataset's classes will be trained on, each of which then needs different
            images to train and to calibrate on.
        find_white: whether to find the white level in the images to train on, if the transform has none, and
            to tell of it.
        log: gets a line on what was left out, and warnings.

    Raises:
        UserError: images cannot be used and `on_error` is "raise", or no class is left.
    """
    records = [*dataset.train, *dataset.test]
    found = _kept(records, transform, directory, num_workers)
    white, screening, of_depth = depth.judge(records, found, transform.white_level, find=find_white)
    problems = problems_of(records, screening) + of_depth + cut_away(records, screening, transform)
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
    return Screened(_without(dataset, left_out, log) if left_out else dataset, white)


def _reported(problems: Sequence[Problem], path: str | os.PathLike) -> str:
    """Write the problems to a file, if there are more than notes, and return a sentence that names it."""
    if not path:
        return ""
    serious = any(problem.level != NOTE for problem in problems)
    try:
        if serious:
            write_atomically(path, report(problems), parents=True)
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


def _kept(records: Sequence[Record], transform: Transform, directory: str, num_workers: int) -> Screening:
    """The screening from an earlier start, or done now and kept."""
    masks = [record._replace(path=record.mask) for record in records if record.mask is not None]
    depends = [
        _VERSION,
        fingerprint(records),
        fingerprint(masks),
        transform.max_pixels,
        transform.value_range,
    ]
    digest = hashlib.sha256(json.dumps(depends).encode()).hexdigest()
    path = os.path.join(expanded(directory), f"screened-{digest[:16]}.json")
    damaged = (OSError, ValueError, TypeError, KeyError, IndexError)
    with contextlib.suppress(*damaged):
        screening = _from_json(json.loads(read_text(path)))
        errors = {index: inspect(records[index], transform).error for index in screening.errors}
        if all(errors.values()):
            return screening._replace(errors=errors)
    screening = summarise(inspect_all(records, transform, num_workers=num_workers))
    try:
        write_atomically(path, json.dumps(_to_json(screening)), parents=True)
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
        {int(index): int(value) for index, value in content["highest"]},
        content["clipped"],
        content["transparent"],
    )
