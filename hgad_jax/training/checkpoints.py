"""Checkpoints: the one file that knows orbax.

A checkpoint holds everything that prediction needs and everything that going on needs: parameters,
optimiser state, constants, calibration, and as JSON the config, class names, level shapes and versions.

Orbax notices a file that is cut short, but not a flipped bit in an array's data (measured), so that a
SHA-256 of every item is kept in the JSON and compared.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from hgad_jax.errors import UserError

FORMAT = 1  # raised when older code could not read what this one writes
_ITEMS = ("params", "opt_state", "constants", "calibration")


def versions() -> dict[str, str]:
    """Versions of the packages that a checkpoint's content depends on."""
    names = ("hgad_jax", "jax", "flax", "optax", "orbax-checkpoint", "numpy")
    return {name: importlib.metadata.version(name) for name in names}


def tree_digest(tree: Any) -> str:
    """SHA-256 of a pytree's array bytes, in the order of its leaves."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _json_digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def open_manager(workdir: Path, *, keep: int = 2, read_only: bool = False) -> Iterator[ocp.CheckpointManager]:
    """Manager of `workdir/checkpoints`, closed at the end; a write in progress is waited for."""
    # absl's logger repeats every step of orbax's; warnings and errors still come through.
    logging.getLogger("absl").setLevel(max(logging.WARNING, logging.getLogger("absl").level))
    options = ocp.CheckpointManagerOptions(
        max_to_keep=None if read_only else keep, read_only=read_only, create=not read_only
    )
    manager = ocp.CheckpointManager((workdir / "checkpoints").absolute(), options=options)
    try:
        yield manager
        manager.wait_until_finished()
    finally:
        manager.close()


def save(manager: ocp.CheckpointManager, step: int, items: dict[str, Any], metadata: dict[str, Any]) -> None:
    """Saves a checkpoint; it appears under its final name only when it is whole.

    Args:
      manager: of the workdir.
      step: steps done.
      items: pytrees of arrays by the names `params`, `opt_state`, `constants`, `calibration`.
      metadata: JSON.
    """
    digests = {name: tree_digest(items[name]) for name in _ITEMS}
    content = {"format": FORMAT, "step": step, "versions": versions(), "sha256": digests, **metadata}
    metadata = {"content": content, "sha256": _json_digest(content)}
    trees = {name: ocp.args.StandardSave(items[name]) for name in _ITEMS}
    manager.save(step, args=ocp.args.Composite(metadata=ocp.args.JsonSave(metadata), **trees))


def latest_step(manager: ocp.CheckpointManager) -> int | None:
    """Step of the newest whole checkpoint, None without one."""
    return manager.latest_step()


def read_metadata(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    """The JSON of a checkpoint.

    Raises:
      UserError: it cannot be read, or a newer version of hgad_jax wrote it.
    """
    with _explained(manager, step):
        args = ocp.args.Composite(metadata=ocp.args.JsonRestore())
        stored = manager.restore(step, args=args)["metadata"]
        metadata = stored["content"]
        if _json_digest(metadata) != stored["sha256"]:
            raise ValueError("the SHA-256 of its metadata is not the one stored")
    if metadata["format"] > FORMAT:
        raise UserError(
            f"{manager.directory}/{step}: checkpoint format {metadata['format']}, this hgad_jax reads up to "
            f"{FORMAT}. It was written by hgad_jax {metadata['versions']['hgad_jax']}: install that version."
        )
    return metadata


def restore(manager: ocp.CheckpointManager, step: int, abstract: dict[str, Any]) -> dict[str, Any]:
    """Restores the items named in `abstract`, a dict of pytrees of `jax.ShapeDtypeStruct`.

    Shardings given in `abstract` decide where the arrays go, whatever devices wrote them; without one, an
    array goes to the first local device.

    Raises:
      UserError: an item is missing, damaged, or of another shape.
    """
    digests = read_metadata(manager, step)["sha256"]
    with _explained(manager, step):
        placed = jax.tree.map(_with_sharding, abstract)
        args = {name: ocp.args.StandardRestore(tree) for name, tree in placed.items()}
        restored = manager.restore(step, args=ocp.args.Composite(**args))
        for name, tree in abstract.items():
            _check_shapes(name, tree, restored[name])
            if tree_digest(restored[name]) != digests[name]:
                raise ValueError(f"the SHA-256 of its {name} is not the one stored")
        return {name: restored[name] for name in abstract}


def _with_sharding(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    sharding = leaf.sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _check_shapes(name, expected, found):
    def check(path, e, f):
        if e.shape != f.shape or e.dtype != f.dtype:
            where = name + jax.tree_util.keystr(path)
            raise ValueError(f"{where} is {f.dtype}{f.shape}, the config asks for {e.dtype}{e.shape}")

    jax.tree_util.tree_map_with_path(check, expected, found)


@contextlib.contextmanager
def _explained(manager, step):
    """Turns whatever orbax, tensorstore and JSON raise on a damaged checkpoint into one message."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # orbax logs the stack trace of what is explained below
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # damage shows itself in too many types to list
        older = [s for s in manager.all_steps() if s < step]
        remedy = f"go on from step {max(older)}" if older else "train anew"
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{manager.directory}/{step}: this checkpoint cannot be read ({reason}). It is cut short, "
            f"damaged or of another model. Move the folder away to {remedy}."
        ) from error
    finally:
        logger.setLevel(level)
