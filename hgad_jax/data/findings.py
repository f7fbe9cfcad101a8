"""What is wrong with images by what decoding all of them showed."""

import collections
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from hgad_jax.data.geometry import Transform, cut_fraction
from hgad_jax.data.names import masked_stem, stem
from hgad_jax.data.problems import NOTE, WARNING, Problem, listed
from hgad_jax.data.records import Record, image_name
from hgad_jax.data.split import FEWEST, too_few
from hgad_jax.data.transforms import CUT_WARNING

_WHOLE_IMAGE = 0.95  # share of an image that hardly any defect takes
_SHRUNK = 4  # factor by which an image may be made smaller without a word


class Screening(NamedTuple):
    """What decoding showed of the images of a dataset, by their index in `train + test`.

    Attributes:
        errors: index → message.
        duplicates: groups of two indices or more whose files have the same content.
        colours: indices of images with one or two colours → how many.
        defective: indices of images with a mask → the share of the image that it marks.
        sizes: (height, width) → the number of images, and the index of one.
        highest: indices of images of 16 bits → their highest value.
        clipped: indices of images with values outside of the range that is set.
        transparent: indices of images that are transparent everywhere, or whose mask is.
    """

    errors: dict[int, str]
    duplicates: list[list[int]]
    colours: dict[int, int]
    defective: dict[int, float]
    sizes: dict[tuple[int, int], tuple[int, int]]
    highest: dict[int, int]
    clipped: list[int]
    transparent: list[int]


def problems_of(records: Sequence[Record], screening: Screening) -> list[Problem]:
    """All that is wrong with images and masks: errors, warnings and notes."""
    errors = screening.errors.items()
    problems = [Problem(message, (image_name(records[index].path),), "") for index, message in errors]
    checks = (_masks_among, _copies, _masks, _transparent, _missing_kinds)
    return problems + [problem for check in checks for problem in check(records, screening)]


def masks_by_content(records: Sequence[Record], screening: Screening) -> list[int]:
    """Indices of images that are masks: of two colours, and called so or as an image in the same folder."""
    if not screening.colours:
        return []
    clear = {_place(record) for index, record in enumerate(records) if index not in screening.colours}
    places = ((index, _place(records[index])) for index in sorted(screening.colours))
    return [i for i, place in places if place and (masked_stem(place[1]) or place in clear)]


def too_few_different(records: Sequence[Record], screening: Screening) -> list[Problem]:
    """Classes that have good training images enough by their number, but too few that are not copies."""
    unusable = {*screening.errors, *masks_by_content(records, screening)}
    usable = [record.split == "train" and index not in unusable for index, record in enumerate(records)]
    counts = collections.Counter(r.class_name for r, use in zip(records, usable, strict=True) if use)
    different = counts.copy()
    for group in screening.duplicates:
        copies = collections.Counter(records[index].class_name for index in group if usable[index])
        different.subtract({name: count - 1 for name, count in copies.items()})
    return too_few({name: n for name, n in different.items() if counts[name] >= FEWEST}, different=True)


def cut_away(records: Sequence[Record], screening: Screening, transform: Transform) -> list[Problem]:
    """Images of which a crop cuts away so much that defects may be lost."""
    cuts = [(cut_fraction(transform, size), n, i) for size, (n, i) in screening.sizes.items()]
    large = [cut for cut in cuts if cut[0] > CUT_WARNING]
    if not large:
        return []
    share, _, index = max(large)
    summary = (
        f"{transform.resize} cuts more than a tenth away from {sum(n for _, n, _ in large)} of "
        f"{len(records)} images, {share:.0%} from '{image_name(records[index].path)}': defects there will "
        "not be seen. --config.data.resize=squash or letterbox keeps all of an image."
    )
    return [Problem(summary, (), "", WARNING)]


def made_smaller(records: Sequence[Record], screening: Screening, transform: Transform) -> list[Problem]:
    """Images that are made so much smaller that small defects may be lost."""
    shrunk = [(min(size) / transform.working_size, n, i) for size, (n, i) in screening.sizes.items()]
    large = [entry for entry in shrunk if entry[0] > _SHRUNK]
    if not large:
        return []
    factor, _, index = max(large)
    height, width = next(size for size, (_, i) in screening.sizes.items() if i == index)
    summary = (
        f"{sum(n for _, n, _ in large)} of {len(records)} images are made smaller by more than {_SHRUNK}: of "
        f"'{image_name(records[index].path)}', {width}×{height} pixels, the model sees "
        f"{transform.working_size}×{transform.working_size}, so that {factor:.0f}×{factor:.0f} pixels become "
        "one. If defects are that small: --config.data.image_size=512, or --config.data.tiles=2 or more."
    )
    return [Problem(summary, (), "", NOTE)]


def _place(record: Record) -> tuple[str, str] | None:
    """Folder and name without suffix; None of what is stored elsewhere than in files."""
    return (os.path.dirname(record.path), stem(record.path)) if isinstance(record.path, str) else None


def _names(records: Sequence[Record], indices: Iterable[int]) -> tuple[str, ...]:
    return tuple(image_name(records[index].path) for index in indices)


def _masks_among(records: Sequence[Record], screening: Screening) -> Iterator[Problem]:
    masks = masks_by_content(records, screening)
    if masks:
        summary = (
            f"{len(masks)} images are masks: of two values, beside an image of the same name or called so"
        )
        remedy = (
            "Move them to ground_truth/<defect>, or to a folder of their own for --config.data.mask_dir; an "
            "image with a mask shows a defect."
        )
        yield Problem(summary, _names(records, masks), remedy)
    others = sorted(set(screening.colours) - set(masks))
    if others:
        summary = f"{len(others)} images have no more than two colours"
        remedy = "Look at them: are they masks, or was the lens covered?"
        yield Problem(summary, _names(records, others), remedy, WARNING)


def _copies(records: Sequence[Record], screening: Screening) -> Iterator[Problem]:
    leaks, others = [], []
    for group in screening.duplicates:
        (leaks if len({records[i].split for i in group}) > 1 else others).append(group)
    if leaks:
        summary = (
            f"{len(leaks)} images are in train and in test, so that test scores look better than they are"
        )
        yield Problem(summary, _groups(records, leaks), "Take one of each away.", WARNING)
    if others:
        summary = f"{len(others)} images are there more than once"
        yield Problem(summary, _groups(records, others), "Take the copies away.", WARNING)


def _groups(records: Sequence[Record], groups: Iterable[Sequence[int]]) -> tuple[str, ...]:
    return tuple("' = '".join(_names(records, group)) for group in groups)


def _masks(records: Sequence[Record], screening: Screening) -> Iterator[Problem]:
    blank = [index for index, share in screening.defective.items() if share == 0]
    if blank:
        summary = f"{len(blank)} defective images have a mask without any defect"
        yield Problem(summary, _names(records, blank), "Look at these masks.", WARNING)
    inverted = set(_of_inverted_classes(records, screening))
    inverted |= {index for index, share in screening.defective.items() if share > _WHOLE_IMAGE}
    if inverted:
        summary = f"{len(inverted)} masks mark most of their image"
        remedy = "Are they inverted? Black is sound, all else defective. Invert them, or look at them."
        masks = (records[index].mask for index in sorted(inverted))
        names = tuple(image_name(mask) for mask in masks if mask is not None)
        yield Problem(summary, names, remedy, WARNING)


def _of_inverted_classes(records: Sequence[Record], screening: Screening) -> Iterator[int]:
    """Indices of what marks more than half, in classes where most masks do."""
    classes = collections.defaultdict(dict)
    for index, share in screening.defective.items():
        classes[records[index].class_name][index] = share
    for shares in classes.values():
        if np.median(list(shares.values())) > 0.5:
            yield from (index for index, share in shares.items() if share > 0.5)


def _transparent(records: Sequence[Record], screening: Screening) -> Iterator[Problem]:
    if screening.transparent:
        summary = (
            f"{len(screening.transparent)} images, or their masks, are transparent everywhere (alpha is 0) "
            "and are used as if they were not"
        )
        yield Problem(summary, _names(records, screening.transparent), "Save them without alpha.", WARNING)


def _missing_kinds(records: Sequence[Record], screening: Screening) -> Iterator[Problem]:
    """Classes that can be tested by half only."""
    tests = collections.defaultdict(set)
    for record in records:
        if record.split == "test":
            tests[record.class_name].add(record.anomalous)
    for anomalous, found, missing, place in (
        (False, "defective", "good", "test/good (--config.data.normal_test_dir)"),
        (True, "good", "defective", "test/<defect> (--config.data.abnormal_dir)"),
    ):
        names = [name for name, kinds in tests.items() if anomalous not in kinds]
        if names:
            summary = (
                f"Among the test images of {listed(names)} some are {found} and none {missing}: image "
                f"metrics such as AUROC need both and will be left out. Put {missing} images into {place}."
            )
            yield Problem(summary, (), "", NOTE)
