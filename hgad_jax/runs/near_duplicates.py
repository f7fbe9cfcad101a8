"""Groups of near-duplicates of a run: found at its first start, kept in its folder, the same ever after."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hgad_jax.data import Dataset, named_groups
from hgad_jax.data import groups as found_groups
from hgad_jax.data.features import FeatureCache
from hgad_jax.data.geometry import transform_of
from hgad_jax.data.records import image_name
from hgad_jax.data.split import FEWEST
from hgad_jax.errors import UserError
from hgad_jax.files import read_text, write_atomically
from hgad_jax.runs import group_sheet, processes

FILE = "groups.json"
SHEET = "groups.html"
_READ = 64  # images at a time


def groups(
    config: Any,
    dataset: Dataset,
    cache: FeatureCache,
    contents: Mapping[str, str],
    directory: Path,
    log: Callable[[str], None],
) -> np.ndarray | None:
    """Which good images of a run are near-duplicates.

    The first process decides, by what an earlier start has found with the same images; other hosts may round
    otherwise. It writes the groups and a page with pictures of the largest.

    Args:
      config: of the run.
      dataset: with the classes that images are held out of.
      cache: features of `dataset.train`.
      contents: hashes of the images, see `images.digests`.
      directory: of the run.
      log: gets a line for each class with groups.

    Returns:
      int32 `[N]` numbers, no two classes with the same; None with `calibration.groups` "none", or if no
      images are held out.

    Raises:
      UserError: groups that the user gives do not fit the images, or the kept ones are damaged.
    """
    if config.calibration.groups == named_groups.NONE or not config.calibration.fraction:
        return None
    ids = np.zeros(len(dataset.train), np.int32)

    def decide() -> int:
        classes = [record.class_name for record in dataset.train]
        known = hashlib.sha256(json.dumps([config.calibration.groups, contents, classes]).encode())
        path = directory / FILE
        kept = load(path, known.hexdigest())
        if kept is None or len(kept) != len(ids):
            kept = find(config, dataset, cache, log)
            _save(path, known.hexdigest(), kept, dataset)
            group_sheet.write(directory / SHEET, kept, dataset.train, transform_of(config.data))
        ids[:] = kept
        return 0

    processes.first_decides(decide)
    ids = np.asarray(processes.from_first(ids))
    for line in described(ids, dataset):
        log(line)
    return ids


def find(
    config: Any, dataset: Dataset, cache: FeatureCache, log: Callable[[str], None] = lambda line: None
) -> np.ndarray:
    """The groups as the config says, found now; nothing is read of a run's folder, nor written there.

    Returns:
      int32 `[N]`, as `groups`.
    """
    names = named_groups.given(config.calibration.groups, dataset.train, config.data.root)
    ids = np.arange(len(dataset.train))
    for class_name in dataset.classes if config.calibration.groups != named_groups.NONE else ():
        members = np.flatnonzero([record.class_name == class_name for record in dataset.train])
        if names is not None:
            own = found_groups.numbered(np.array([names[i] for i in members], object).astype(str))
        else:
            own = found_groups.find(_descriptors(cache, members, transform_of(config.data).num_tiles))
            if own is not None and own.max() + 1 < FEWEST:
                log(
                    f"Warning: {class_name}: the {len(own)} good images form {own.max() + 1} groups of "
                    f"near-duplicates, too few to hold whole ones out (at least {FEWEST}): held-out images "
                    "resemble those that are trained on, and thresholds may be too low for new ones."
                )
                own = None
        if own is not None:
            first = np.unique(own, return_index=True)[1]
            ids[members] = members[first][own]
    return ids.astype(np.int32)


def described(ids: np.ndarray, dataset: Dataset) -> list[str]:
    """A line for each class that has groups of more than one image."""
    lines = []
    labels = np.array([record.class_name for record in dataset.train])
    for class_name in dataset.classes:
        _, sizes = np.unique(ids[labels == class_name], return_counts=True)
        if len(sizes) and sizes.max() > 1:
            lines.append(
                f"{class_name}: {sizes.sum()} good images in {len(sizes)} groups of near-duplicates, the "
                f"largest of {sizes.max()}; whole groups are held out (see {SHEET} in the run's folder)"
            )
    return lines


def load(path: Path, known: str | None = None) -> np.ndarray | None:
    """Read the groups of a run.

    Args:
      path: of its `groups.json`.
      known: hash of the images that they have to be of; None: of whichever.

    Returns:
      int32 `[N]`; None where there are none, or of other images.

    Raises:
      UserError: the file is damaged.
    """
    try:
        content = json.loads(read_text(path))
        ids = np.array(content["ids"], np.int32)
        if ids.ndim != 1:
            raise ValueError(f"numbers of shape {ids.shape}")
        return ids if known in (None, content["known"]) else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"'{path}' cannot be read as the run's groups of near-duplicates ({error}). Put it back, or take "
            "it away: then they are found anew."
        ) from error


def _save(path: Path, known: str, ids: np.ndarray, dataset: Dataset) -> None:
    members: dict[int, list[str]] = {}
    for number, record in zip(ids.tolist(), dataset.train, strict=True):
        members.setdefault(number, []).append(image_name(record.path))
    shown = [names for names in members.values() if len(names) > 1]
    write_atomically(path, json.dumps({"known": known, "groups": shown, "ids": ids.tolist()}, indent=1))


def _descriptors(cache: FeatureCache, images: np.ndarray, num_tiles: int) -> np.ndarray:
    """float16 `[N, D]` of the coarsest level; of tiles their mean."""
    level = min(cache.levels, key=lambda level: level.shape[1] * level.shape[2])
    parts = []
    for start in range(0, len(images), _READ):
        examples = images[start : start + _READ, None] * num_tiles + np.arange(num_tiles)
        found = found_groups.coarse(level[examples.ravel()])
        found = found.reshape(*examples.shape, -1).astype(np.float32).mean(1)
        parts.append(found.astype(np.float16))
    return np.concatenate(parts)
