"""Scores of a test set; what is larger than a number per image goes to disk as it comes."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from hgad_jax.data.records import image_name
from hgad_jax.detectors import Evidence
from hgad_jax.disk import DiskArray
from hgad_jax.errors import UserError
from hgad_jax.inference.eval_set import EvalSet
from hgad_jax.inference.evidence_batches import evidence_batches
from hgad_jax.inference.finite import refuse_not_finite
from hgad_jax.inference.scorer import Scorer
from hgad_jax.scoring import paper
from hgad_jax.scoring.maps import upsample_and_sum
from hgad_jax.scoring.published import PublishedScore, used_terms


class Scored(NamedTuple):
    """Scores of `N` images."""

    image: np.ndarray  # [N]
    class_ids: np.ndarray  # [N], the class each was scored as
    maps: DiskArray  # [N, S, S] float32
    strangeness: np.ndarray | None  # [N], to tell images of no known class; the published protocol has none
    likelihood: DiskArray  # [N, tiles, h, w] float32: mean over levels at the finest one's positions
    pieces: np.ndarray  # [N, P], scores of pieces of evidence; P is 0 where there are none
    piece_names: tuple[str, ...]


def score_calibrated(
    scorer: Scorer, test: EvalSet, class_ids: np.ndarray | None, files: ExitStack, directory: Path
) -> Scored:
    """Scores each image by itself.

    Args:
      scorer: the model.
      test: the images.
      class_ids: the class of each, or None to find it out.
      files: closes the files, and with that deletes them.
      directory: where they are.
    """
    size, spooled = test.size, None
    image, strangeness = np.zeros((2, len(test)), np.float32)
    used = np.zeros(len(test), np.int32)
    pieces = np.zeros((len(test), len(scorer.evidence_names)), np.float32)
    for rows, evidence, boxes in _evidence(scorer, test, class_ids):
        scores = jax.device_get(scorer.calibrated(evidence, boxes))
        mean = _mean_likelihood(evidence, test, scorer)
        if spooled is None:
            maps = files.enter_context(DiskArray(directory, (size, size), np.float32))
            likelihood = files.enter_context(DiskArray(directory, mean.shape[1:], np.float32))
            spooled = maps, likelihood
        maps, likelihood = spooled
        count = rows.stop - rows.start
        found = (scores.image[:count], scores.strangeness[:count], scores.maps[:count])
        refuse_not_finite(_names(test, rows), *found)
        image[rows], strangeness[rows] = scores.image[:count], scores.strangeness[:count]
        pieces[rows] = scores.pieces[:count]
        used[rows] = np.asarray(evidence.class_ids)[:: test.transform.num_tiles][:count]
        maps.write(rows.start, scores.maps[:count])
        likelihood.write(rows.start, mean[:count])
    assert spooled is not None  # there are images
    maps, likelihood = spooled
    return Scored(image, used, maps, strangeness, likelihood, pieces, scorer.evidence_names)


def score_paper(
    scorer: Scorer, test: EvalSet, class_ids: np.ndarray | None, files: ExitStack, directory: Path
) -> Scored:
    """Scores by the published protocol of the detector, class given (see `scoring.published`).

    Where it normalises by maxima over each class's test set, two more passes follow the model's, over what
    it found: one for the maximum of the summed levels, one for the maps. Arguments as of `score_calibrated`.

    Raises:
      UserError: the transform cuts tiles or leaves borders, which the published protocol does not know; or
        `scoring.terms` are not of this detector's score, or the entropy alone of a single class.
    """
    wanted = used_terms(scorer.published, scorer.config.scoring.terms)
    if wanted == (1,) and len(test.classes) == 1:
        raise UserError(
            "The entropy of the class is zero everywhere with a single class, so that there is no map of it "
            "alone. Expected the terms 'both' or 'likelihood'."
        )
    if test.transform.tiles > 1 or test.transform.resize == "letterbox":
        raise UserError(
            "The published protocol knows neither tiles nor letterboxes, and this run was trained with them: "
            "evaluate it with --protocol=calibrated."
        )
    size, published = test.size, scorer.published
    spooled = None
    own = np.zeros(len(test), np.float32)  # log-probability of each image's class
    with ExitStack() as passing:
        for rows, evidence, _ in _evidence(scorer, test, class_ids):
            ids = test.labels[rows]
            own[rows] = np.asarray(evidence.class_log_prob)[np.arange(len(ids)), ids]
            found = jax.device_get((evidence.log_likelihood, evidence.negative_entropy))
            found = [term[: len(term) - scorer.levels.detailed] for term in found]  # no paper has a bank
            mean = _mean_likelihood(evidence, test, scorer)
            if spooled is None:
                terms = [
                    [passing.enter_context(DiskArray(directory, m.shape[1:], np.float32)) for m in term]
                    for term in found
                ]
                highest = np.full((2, len(found[0]), len(test.classes)), -np.inf)
                maps = files.enter_context(DiskArray(directory, (size, size), np.float32))
                likelihood = files.enter_context(DiskArray(directory, mean.shape[1:], np.float32))
                spooled = maps, likelihood, terms, highest
            maps, likelihood, terms, highest = spooled
            likelihood.write(rows.start, mean[: rows.stop - rows.start])
            for t, term in enumerate(found):
                for level, values in enumerate(term):
                    values = values[: rows.stop - rows.start]
                    terms[t][level].write(rows.start, values)
                    np.maximum.at(highest[t, level], ids, values.max((1, 2)))
        assert spooled is not None  # there are images
        maps, likelihood, terms, highest = spooled
        image = np.zeros(len(test), np.float32)
        for k in np.unique(test.labels):
            blocks = list(test.blocks(scorer.config.scoring.batch_size, k))
            of_class = (published, wanted, terms, highest[:, :, k], blocks, size)
            for (start, stop), values in _paper_maps(*of_class):
                maps.write(start, values)
                image[start:stop] = published.image(values, own[start:stop])
                refuse_not_finite(_names(test, slice(start, stop)), image[start:stop], values)
    return Scored(image, test.labels, maps, None, likelihood, np.zeros((len(test), 0), np.float32), ())


def _paper_maps(
    published: PublishedScore,
    wanted: tuple[int, ...],
    terms,
    highest: np.ndarray,
    blocks: list[tuple[int, int]],
    size: int,
):
    """Yields the maps of one class block by block."""

    def levels(t, start, stop):
        return [level.read(start, stop) for level in terms[t]]

    def normal(t, block):
        return paper.normal_map(levels(t, *block), highest[t], size)

    if published.over_test_set is None:
        for block in blocks:
            yield block, published.maps(levels(0, *block), levels(1, *block), size)
        return
    # A term that is the same everywhere would make the product so.
    used = (0,) if wanted == (0, 1) and _all_zero(terms[1], blocks) else wanted
    tops = {t: max(float(normal(t, block).max()) for block in blocks) for t in used}
    for block in blocks:
        maps = [published.over_test_set(normal(t, block), tops[t]) for t in used]
        yield block, np.prod(maps, axis=0)


def _all_zero(levels: list[DiskArray], blocks: list[tuple[int, int]]) -> bool:
    return all(not level.read(*block).any() for block in blocks for level in levels)


def _evidence(
    scorer: Scorer, test: EvalSet, class_ids: np.ndarray | None
) -> Iterator[tuple[slice, Evidence, np.ndarray]]:
    """Yields which images a batch holds, the evidence on them and their boxes; past those is padding."""
    for place, rows, evidence in evidence_batches(scorer, test.records, class_ids):
        yield place, evidence, np.array([test.box(i) for i in rows], np.int32)


def _names(test: EvalSet, rows: slice) -> list[str]:
    return [image_name(record.path) for record in test.records[rows]]


def _mean_likelihood(evidence: Evidence, test: EvalSet, scorer: Scorer) -> np.ndarray:
    """Of the levels of the detector itself, not of a bank beside it."""
    levels = evidence.log_likelihood[: len(evidence.log_likelihood) - scorer.levels.detailed]
    side = levels[0].shape[1]
    mean = np.asarray(upsample_and_sum(levels, side)) / len(levels)
    return mean.reshape(-1, test.transform.num_tiles, side, side)
