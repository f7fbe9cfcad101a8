"""Calibration of a model on held-out good images: constants, scores of these images, class temperature."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from hgad_jax.data.geometry import Box, transform_of
from hgad_jax.detectors import Evidence
from hgad_jax.progress_bar import progress_bar
from hgad_jax.runs.model import Model, evidence_function, piece_score_function, score_function
from hgad_jax.runs.training_set import TrainingSet
from hgad_jax.scoring.calibration import PIXEL_LEVELS, Calibration, GoodScores, modes, sort_scores
from hgad_jax.scoring.classes import fit_temperature
from hgad_jax.scoring.constants import (
    fit_constants,
    fit_image_constants,
    leave_one_out,
    leave_one_score_out,
    of_classes,
)
from hgad_jax.scoring.evidence import OF_MAP
from hgad_jax.types import Array, Config

_PART = 32  # maps scored at a time
_ROUND = 8  # maps that evidence is computed on are filled up to a multiple of this


class _Good(NamedTuple):
    """The held-out good images."""

    batches: Callable[[], Iterable]  # features per level [B, h, w, C] and class ids [B], tile by tile
    labels: np.ndarray  # [N] of images
    boxes: np.ndarray  # [N, 4]
    groups: np.ndarray  # [N]
    tiles: int  # of an image


def make_calibrate(config: Config, model: Model) -> Callable[..., Calibration]:
    """Builds `calibrate(params, constants, batches, labels, boxes, groups)`; it compiles once.

    `batches()` yields features per level `[B, h, w, C]` and class ids `[B]` of the held-out good images, tile
    by tile if there are tiles, and `labels` is `[N·tiles]`, those ids; `boxes` is `[N, 4]`, where each image
    lies in its working square; `groups` is `[N]`, near-duplicates having the same number.
    """
    evidence = evidence_function(model)
    scores, pieces = score_function(config), piece_score_function(config)
    tiles = transform_of(config.data).num_tiles

    def calibrate(
        params: Any,
        constants: Any,
        batches: Callable,
        labels: np.ndarray,
        boxes: np.ndarray,
        groups: np.ndarray,
    ) -> Calibration:
        def look(features, ids, mix_classes=False):
            return evidence(params, constants, features, ids, mix_classes=mix_classes)

        good = _Good(batches, labels[::tiles], boxes, groups, tiles)
        given = _collect(look, good, good.labels)
        class_log_prob = given.class_log_prob.reshape(-1, tiles, given.class_log_prob.shape[-1]).sum(1)
        inferred_ids = class_log_prob.argmax(-1).astype(np.int32)
        same = np.array_equal(inferred_ids, good.labels)
        found = {"given": given, "inferred": given if same else _collect(look, good, inferred_ids)}
        if "mixture" in modes(config.scoring.classes):
            found["mixture"] = _collect(look, good, inferred_ids, True)
        terms = (given.log_likelihood, given.negative_entropy)
        fitted = fit_constants(*terms, labels, model.num_classes)
        without_each = leave_one_out(*terms, labels, tiles=tiles)
        if config.scoring.image_score != OF_MAP:
            own = _piece_scores(pieces, given, without_each, good)
            fitted = fitted._replace(image=fit_image_constants(own, good.labels, model.num_classes))
            without_each = without_each._replace(image=leave_one_score_out(own, good.labels))
        return Calibration(
            fitted,
            {mode: _good_scores(scores, e, fitted, without_each, good) for mode, e in found.items()},
            np.float32(fit_temperature(class_log_prob, good.labels)),
        )

    return calibrate


def calibrated(
    calibrate: Callable[..., Calibration], params: Any, constants: Any, data: TrainingSet
) -> Calibration:
    """The calibration of a state on the held-out images; `calibrate` as `make_calibrate` makes it."""
    batches, labels = functools.partial(data.batches, data.held_out), data.labels[data.held_out]
    return calibrate(params, constants, batches, labels, data.boxes, data.groups)


def _collect(look: Callable, good: _Good, class_ids: Array, mix_classes: bool = False) -> Evidence:
    """Evidence on all maps, images being of these classes `[N]`; on the host."""
    parts, start = [], 0
    of_tiles = class_ids.repeat(good.tiles)
    bar = progress_bar(total=len(of_tiles), desc="calibrating", unit="image")
    for features, labels in good.batches():
        count = len(labels)
        # Filled up with the last map, so that few programs do for all batches.
        rows = np.minimum(np.arange(-(-count // _ROUND) * _ROUND), count - 1)
        features = tuple(np.asarray(level)[rows] for level in features)
        found = jax.device_get(look(features, of_tiles[start : start + count][rows], mix_classes))
        parts.append(jax.tree.map(lambda array, count=count: array[:count], found))
        start += count
        bar.update(count)
    bar.close()
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def _good_scores(scores: Callable, evidence: Evidence, fitted, without_each, good: _Good) -> GoodScores:
    """Scores of the images that the constants were fitted to, each without its own part in them."""
    class_ids = evidence.class_ids[:: good.tiles]
    own = class_ids == good.labels

    def choose(without, of_scored_class):
        chosen = np.where(own.reshape(-1, *(1,) * (without.ndim - 1)), without, of_scored_class)
        return chosen.repeat(good.tiles, axis=0)

    constants = jax.tree.map(choose, without_each, of_classes(fitted, class_ids))
    terms = (evidence.log_likelihood, evidence.negative_entropy, constants)
    parts = []
    for images, count, part in _blocks(terms, good):
        found = jax.device_get(scores(*part, good.boxes[images]))
        seen = [found.maps[i][Box(*good.boxes[images[i]]).slices] for i in range(count)]
        pixels = np.stack([np.quantile(pixels, PIXEL_LEVELS) for pixels in seen]).astype(np.float32)
        parts.append((found.image[:count], found.strangeness[:count], pixels))
    image, strangeness, pixels = (np.concatenate(column) for column in zip(*parts, strict=True))
    number, group = np.arange(len(image), dtype=np.int32), good.groups.astype(np.int32)
    return sort_scores(GoodScores(image, class_ids, strangeness, pixels, number, group))


def _piece_scores(pieces: Callable, evidence: Evidence, without_each, good: _Good) -> np.ndarray:
    """Scores of pieces of evidence `[N, P]`, of images of their own class, each without its own part."""
    constants = jax.tree.map(lambda array: array.repeat(good.tiles, axis=0), without_each)
    blocks = _blocks((evidence.log_likelihood, constants), good)
    found = [np.asarray(pieces(*part, good.boxes[images]))[:count] for images, count, part in blocks]
    return np.concatenate(found)


def _blocks(terms: Any, good: _Good) -> Iterator[tuple[np.ndarray, int, Any]]:
    """Yields numbers of images, filled up with the last one, how many count, their maps `[tiles·N, ...]`."""
    maps = jax.tree.map(lambda array: array.reshape(-1, good.tiles, *array.shape[1:]), terms)
    number = len(good.labels)
    step = min(number, max(1, _PART // good.tiles))
    for start in range(0, number, step):
        images = np.minimum(np.arange(start, start + step), number - 1)
        part = jax.tree.map(lambda array, i=images: array[i].reshape(-1, *array.shape[2:]), maps)
        yield images, min(step, number - start), part
