"""What training, evaluation and prediction build from a config in the same way."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from hgad_jax import backbones, detectors
from hgad_jax.backbones.levels import Levels, feature_levels
from hgad_jax.data import Dataset, contents, load_dataset
from hgad_jax.data.features import FeatureCache, open_or_build
from hgad_jax.data.geometry import Transform, transform_of
from hgad_jax.data.records import Record, image_name
from hgad_jax.data.screen import screened
from hgad_jax.data.tiles import tile_boxes, tile_window
from hgad_jax.data.transforms import ImageLike, image_size
from hgad_jax.detectors import Detector
from hgad_jax.errors import UserError
from hgad_jax.runs import early, processes, workdir
from hgad_jax.runs.extraction import features_of, images_to_extract
from hgad_jax.runs.mesh import per_image
from hgad_jax.scoring.calibration import Calibration, abstract_calibration
from hgad_jax.scoring.evidence import OF_MAP, pieces_of
from hgad_jax.scoring.maps import inside
from hgad_jax.scoring.scores import Scores, Tiling, combine, piece_scores

PROBLEMS = "problems.txt"  # in the folder of a run: all that was found to be wrong with the images


class Model(NamedTuple):
    """The parts of a run that follow from its config and the number of its classes."""

    levels: Levels
    detector: Detector
    num_classes: int


def build_model(config: Any, num_classes: int) -> Model:
    """Loads the backbone and makes the detector.

    Raises:
      UserError: an unknown backbone or tap, more classes than a level has channels for, or evidence of levels
        that are not there.
    """
    levels = feature_levels(
        config.backbone.name,
        taps=config.backbone.taps,
        scales=config.backbone.scales,
        image_size=config.data.image_size,
        source=config.backbone.source,
        dtype=config.backbone.dtype,
        mean=config.backbone.mean,
        std=config.backbone.std,
        equalize=config.backbone.equalize,
        neighbours=tuple(config.backbone.neighbours),
        detail=config.data.detail,
        detailed=bank_taps(config),
    )
    detector = detectors.create(config.detector, num_classes)
    if config.bank.size:
        detector = detectors.with_bank(detector, config.bank, num_classes, levels.detailed)
    height, width, narrowest = min(levels.sizes[levels.coarse], key=lambda size: size[-1])
    if narrowest < detector.least_channels:  # each class has its place in the latent space
        raise UserError(
            f"{num_classes} classes, but the level of {height}×{width} positions of {config.backbone.name} "
            f"has only {narrowest} channels: classes cannot be told apart there. Choose "
            "config.backbone.taps with more channels."
        )
    model = Model(levels, detector, num_classes)
    if config.scoring.image_score != OF_MAP:
        pieces_of(config.scoring, len(map_sizes(model)))  # refused before anything is computed
    return model


def bank_taps(config: Any) -> tuple[str, ...]:
    """The taps of the bank beside the detector; none without one."""
    own = backbones.choose(config.backbone.name).entry.taps
    # Of a vision transformer there is one layer, and no finest one to leave out.
    return (tuple(config.bank.taps) or own[1:] or own) if config.bank.size else ()


def abstract_model(model: Model) -> dict[str, Any]:
    """Shapes of the model that a checkpoint holds, to restore it into."""
    params, constants = model.detector.abstract(model.levels.sizes)
    return {"params": params, "constants": constants}


def abstract_model_calibration(
    config: Any, model: Model, num_images: int, *, named: bool = True
) -> Calibration:
    """Shapes of its calibration on so many held-out images."""
    sizes = map_sizes(model)
    return abstract_calibration(
        sizes,
        model.num_classes,
        num_images=num_images,
        classes=config.scoring.classes,
        pieces=len(pieces_of(config.scoring, len(sizes))),
        named=named,
    )


def map_sizes(model: Model) -> tuple[tuple[int, int, int], ...]:
    """(h, w, C) of a detector's maps, which are those of the levels or combine them (C is then of no use)."""
    params, constants = model.detector.abstract(model.levels.sizes)
    features = tuple(jax.ShapeDtypeStruct((1, *size), np.float32) for size in model.levels.sizes)
    class_ids = jax.ShapeDtypeStruct((1,), np.int32)
    evidence = jax.eval_shape(model.detector.evidence, params, constants, features, class_ids)
    channels = sum(size[-1] for size in model.levels.sizes)
    return tuple((*maps.shape[1:], channels) for maps in evidence.log_likelihood)


def cached_features(
    config: Any, levels: Levels, records: Sequence[Record], directory: str, log
) -> FeatureCache:
    """The features of the records (of their tiles, if there are any), from the cache or computed now.

    All processes of a run have to call it: what one of them lacks, they compute together.
    """
    transform, several = transform_of(config.data), jax.process_count() > 1
    return open_or_build(
        directory,
        key={
            "images": contents.key(records, directory, num_workers=config.data.workers),
            "transform": transform.key(),
            "weights": levels.weights_hash,
            "taps": list(config.backbone.taps),
            "scales": list(config.backbone.scales),
        },
        num_examples=len(records) * transform.num_tiles,
        batches=lambda: images_to_extract(records, transform, num_workers=config.data.workers),
        extract=lambda images: features_of(levels, images, together=several),
        dtype=config.cache.dtype,
        paths=[image_name(record.path) for record in records for _ in range(transform.num_tiles)],
        log=log,
        any_process=processes.any_of if several else None,
    )


def sizes_needed(transform: Transform, images: Sequence[ImageLike]) -> list[tuple[int, int]]:
    """Sizes of images as far as `visible_boxes` depends on them: only for a letterbox are files opened."""
    if transform.resize == "letterbox":
        return [image_size(image) for image in images]
    return [(transform.working_size, transform.working_size)] * len(images)


def cache_directory(config: Any, directory: Path) -> str:
    """Where a run keeps what is computed from the images alone."""
    return config.cache.dir or str(directory / "cache")


def load_usable(
    config: Any, directory: Path, log: Callable[[str], None], *, to_train: bool = False
) -> Dataset:
    """The dataset of a run, every image decoded once; those that cannot be used are refused or left out.

    Args:
      config: of the run; to train, the white level of 16-bit images is put there, if it is lacking.
      directory: of the run; gets a list of all that is wrong with the images, if anything is.
      log: gets a line on what is left out, and warnings.
      to_train: refuse what cannot be trained on, before images are decoded as far as their list tells it.

    Raises:
      UserError: whatever is wrong with the images, unless `config.data.on_error` is "skip"; to train, if a
        run that is there has another white level.
    """
    dataset = load_dataset(config.data)
    if to_train:
        early.refuse(config, dataset.classes, (*dataset.train, *dataset.test))
    usable, white = screened(
        dataset,
        transform=transform_of(config.data),
        on_error=config.data.on_error,
        num_workers=config.data.workers,
        directory=cache_directory(config, directory),
        report_file=directory / PROBLEMS if processes.is_first() else "",
        classes_given=to_train and config.data.classes == "given",
        find_white=to_train,
        log=log,
    )
    if to_train:
        config.data.white_level = config.data.white_level or _white_level_of_run(directory, white)
        early.refuse(config, usable.classes, (*usable.train, *usable.test), log)  # of what is left
    return usable


def _white_level_of_run(directory: Path, found: int) -> int:
    """The white level to train with: that of the images, which must be that of a run that is there."""
    if not (directory / workdir.CONFIG_FILE).exists():
        return found
    before = workdir.load_config(directory).data.white_level
    if found not in (0, before):
        level = f"whose white level is {before}" if before else "whose images to train on had 8 bits"
        to_go_on = f" To go on with it: --config.data.white_level={before}" if before else ""
        raise UserError(
            f"{directory} holds a run {level}; that of the images which are there now is {found}. Put the "
            f"images back if they were changed, or start a new run in another --workdir.{to_go_on}"
        )
    return before  # without images of 16 bits to train on, nothing depends on it


def evidence_function(model: Model):
    """Over all devices `(params, constants, features, class_ids or None, mix_classes=False) → Evidence`."""
    return per_image(model.detector.evidence, replicated=2)


def score_function(config: Any) -> Callable:
    """Jitted `(log_likelihood, negative_entropy, constants, boxes) → Scores`, of tiles put together."""
    tiling, banks = _tiling(config), len(bank_taps(config))

    @jax.jit
    def scores(log_likelihood, negative_entropy, constants, boxes) -> Scores:
        terms = (log_likelihood, negative_entropy)
        return combine(*terms, constants, boxes, tiling=tiling, scoring=config.scoring, banks=banks)

    return scores


def piece_score_function(config: Any) -> Callable:
    """Jitted `(log_likelihood, constants, boxes) → [B, P]`, image scores of pieces before `scores`."""
    tiling = _tiling(config)

    @jax.jit
    def scores(log_likelihood, constants, boxes) -> jax.Array:
        return piece_scores(log_likelihood, constants, inside(boxes, tiling.side), tiling, config.scoring)

    return scores


def _tiling(config: Any) -> Tiling:
    transform = transform_of(config.data)
    return Tiling(
        transform.working_size,
        tuple((box.top, box.left) for box in tile_boxes(transform)),
        tile_window(transform),
    )
