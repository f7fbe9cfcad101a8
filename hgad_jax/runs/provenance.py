"""Which run a checkpoint is of: noted when it is saved, compared before anything goes on from it."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from hgad_jax.config.completed import completed
from hgad_jax.errors import UserError
from hgad_jax.runs import workdir

_OF_THE_MODEL = (
    *("config.backbone.", "config.bank.", "config.detector."),
    *(f"config.data.{key}" for key in ("image_size", "detail", "resize", "white_level", "value_range")),
)

_GO_ON = "to go on from it, or choose another --workdir to start a new run"


def describe(
    config: Any,
    *,
    weights: str,
    contents: dict[str, str],
    step: int,
    classes: Sequence[str],
    train: np.ndarray,
    held_out: np.ndarray,
    split: str = "",
) -> dict[str, Any]:
    """What a checkpoint's metadata says of its run.

    Args:
      config: of the run.
      weights: hash of the backbone's.
      contents: hash of the images of each class, see `images.digests`.
      step: steps done; order of the images and schedules are functions of it and of the seed.
      classes: names, in the order of their ids.
      train: class ids of the images trained on.
      held_out: class ids of those kept for calibration.
      split: digest of which those are.
    """

    def counts(labels):
        return dict(zip(classes, np.bincount(labels, minlength=len(classes)).tolist(), strict=True))

    epoch, images = divmod(step * config.train.batch_size, len(train))
    return {
        "config": workdir.config_as_json(config),
        "weights": weights,
        "classes": list(classes),
        "seed": config.seed,
        "position": {"step": step, "epoch": epoch, "images_into_epoch": images},
        "images": {"train": counts(train), "held_out": counts(held_out)},
        "split": split,
        "contents": contents,
    }


def check_same_run(
    place: str,
    stored: dict[str, Any],
    config: Any,
    *,
    weights: str,
    contents: dict[str, str],
    changes: Callable[[dict[str, str]], Iterable[str]],
) -> None:
    """Refuses to go on from a checkpoint of another config or other images.

    Args:
      place: of the checkpoint, for the message.
      stored: its metadata.
      config: of the run now.
      weights: hash of the backbone's.
      contents: of the images now, as `describe` takes it.
      changes: from those that are stored to lines that say which images are others.

    Raises:
      UserError: with every difference.
    """
    found = workdir.differences(completed(stored["config"]), workdir.config_as_json(config))
    differences = [d for d in found if d[0] not in workdir.ANYWHERE] + _other_weights(stored, weights)
    then = stored.get("contents", contents)  # checkpoints of before this was noted lack it
    _refuse(place, differences, _GO_ON, changes(then) if then != contents else ())


def check_same_split(place: str, stored: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuses to go on from a checkpoint of other classes, or with other images held out.

    Args:
      place: of the checkpoint, for the message.
      stored: its metadata.
      now: what `describe` says today.

    Raises:
      UserError: with every difference.
    """
    keys = ("classes", "images", *(["split"] if stored.get("split") else []))  # older ones lack the last
    found = (workdir.differences({key: stored[key]}, {key: now[key]}, prefix="data") for key in keys)
    _refuse(place, itertools.chain(*found), _GO_ON)


def check_same_model(place: str, stored: dict[str, Any], config: Any) -> None:
    """Refuses a checkpoint whose backbone, detector or image size are not those of its folder's config.

    Raises:
      UserError: with every difference.
    """
    found = workdir.differences(completed(stored["config"]), workdir.config_as_json(config))
    of_model = [d for d in found if d[0].startswith(_OF_THE_MODEL) and d[0] not in workdir.ANYWHERE]
    _refuse(place, of_model, "to use it: its folder's config.json was edited, or it was copied there")


def check_same_weights(place: str, stored: dict[str, Any], weights: str) -> None:
    """Refuses a checkpoint that was trained on features of other weights of the backbone.

    Raises:
      UserError: they are others.
    """
    _refuse(
        place, _other_weights(stored, weights), "to use it: the weights have changed since it was trained"
    )


def _other_weights(stored: dict[str, Any], weights: str) -> list[tuple[str, Any, Any]]:
    found = stored.get("weights", weights)  # checkpoints of before this was noted lack it
    return [] if found == weights else [("SHA-256 of the backbone's weights", found, weights)]


def _refuse(
    place: str, differences: Iterable[tuple[str, Any, Any]], remedy: str, changes: Iterable[str] = ()
) -> None:
    lines = [f"{key}: {found} there, {given} here" for key, found, given in differences] + list(changes)
    if lines:
        raise UserError(
            f"{place}: this checkpoint is of another run; nothing was changed.\n"
            + "\n".join(f"  {line}" for line in lines)
            + f"\nPut back what it was made with {remedy}."
        )
