"""Which images of a class are worth a look, and how they are shown."""

import html
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hgad_jax.data.records import image_name
from hgad_jax.data.transforms import load_image
from hgad_jax.evaluation.decided import Decided
from hgad_jax.evaluation.f1_max import found_mask
from hgad_jax.evaluation.scored import Scored
from hgad_jax.inference.eval_set import EvalSet
from hgad_jax.inference.heatmap import overlay
from hgad_jax.inference.plain_names import plain
from hgad_jax.report.pictures import jpeg, outline
from hgad_jax.scoring.good import higher_than
from hgad_jax.scoring.threshold import Threshold


class Choice(NamedTuple):
    """A row of the gallery."""

    title: str
    indices: np.ndarray  # of the images


def choose(test: EvalSet, decided: Decided, class_id: int, count: int) -> tuple[Choice, ...]:
    """The highest good images, the lowest defective ones and typical defective ones, `count` of each.

    Rows without images are left out.
    """
    indices = np.array(test.of_class(class_id), int)
    ranked = indices[np.argsort(decided.level[indices], kind="stable")]
    bad = test.anomalous[ranked]
    good, defective = ranked[~bad], ranked[bad]
    low, rest = defective[:count], defective[count:]
    alarms = missed = None
    if decided.judged is not None:
        called = decided.judged.anomalous
        alarms, missed = called[good].sum(), (~called[defective]).sum()
        rest = rest[called[rest]]
    middle = max(len(rest) - count, 0) // 2
    rows = (
        Choice(_title("False alarms", "highest", "good", len(good), alarms), good[::-1][:count]),
        Choice(_title("Misses", "lowest", "defective", len(defective), missed), low),
        Choice("Typical hits: defective images with middling scores", rest[middle : middle + count]),
    )
    return tuple(row for row in rows if len(row.indices))


def _title(name: str, end: str, kind: str, images: int, count: int | None) -> str:
    """With a count where there is a threshold to count by."""
    if count is None:
        return f"Worst {name.lower()}: {kind} images with the {end} scores"
    return f"{name}: {count or 'none'} of {images} {kind} images; those with the {end} scores"


def figures(
    test: EvalSet,
    scored: Scored,
    indices: np.ndarray,
    scales: Sequence[Threshold],
    decided: Decided,
    tau: float | None = None,
) -> str:
    """HTML of images beside their heat maps.

    Args:
      test: all images.
      scored: their scores.
      indices: those to show.
      scales: thresholds of pixels of the class that an image was scored as.
      decided: what the thresholds made of the scores.
      tau: threshold of pixels with the highest F1, whose masks are drawn over the heat maps; None: none.
    """
    return "".join(_figure(test, scored, int(i), scales, decided, tau) for i in indices)


def _figure(test: EvalSet, scored: Scored, index: int, scales, decided: Decided, tau: float | None) -> str:
    record, used = test.records[index], int(scored.class_ids[index])
    pixels = load_image(record.path, test.mapped)
    values = scored.maps.read(index, index + 1)[0]
    heat, edge = overlay(pixels, values, scales[used]), outline(test.mask(index))
    found = "" if tau is None else outline(found_mask(values, tau), "found")
    name = f"{record.defect}/{os.path.basename(image_name(record.path))}"
    pictures = [
        f'<div class="pic"><img loading="lazy" decoding="async" alt="{html.escape(plain(alt), quote=True)}" '
        f'src="{jpeg(picture)}">{edges}</div>'
        for alt, picture, edges in (
            (f"image {name}", pixels, edge),
            (f"heat map of {name}", heat, edge + found),
        )
    ]
    caption = html.escape(plain(_caption(test, scored, index, name, decided)))
    return f'<figure><div class="pair">{"".join(pictures)}</div><figcaption>{caption}</figcaption></figure>'


def _caption(test: EvalSet, scored: Scored, index: int, name: str, decided: Decided) -> str:
    used, score = int(scored.class_ids[index]), float(scored.image[index])
    caption = f"{name} · score {score:.3g}"
    if decided.judged is not None:
        caption += f" ({decided.level[index]:.2f}), higher than {higher_than(decided.judged.p_value[index])}"
    if decided.judged is not None and decided.judged.unknown[index]:
        caption += " · of no known class"
    elif used != test.labels[index]:
        caption += f" · taken for {test.classes[used]}"
    if scored.piece_names:
        caption += f" · most in {scored.piece_names[int(scored.pieces[index].argmax())]}"
    return caption
