"""Checkpoints: the one file that knows orbax.

A checkpoint holds everything that prediction needs and everything that going on needs: parameters,
optimiser state, constants, calibration, and as JSON the config, class names, level shapes and versions.

Orbax does not notice a flipped bit in an array's data, and a file that is cut short makes its other readers
print stack traces (both measured). So each checkpoint is sealed with the size and SHA-256 of its files before
it gets its final name, and the seal is compared before orbax reads any of them.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from hgad_jax.errors import UserError

FORMAT = 1  # raised when older code could not read what this one writes, or the other way round
_ITEMS = ("params", "opt_state", "constants", "calibration")
_SEAL = "sha256.json"
_UNFINISHED = "*.orbax-checkpoint-tmp*"  # orbax's name of a checkpoint that is being written
# What orbax keeps for itself there and writes again after the seal; nothing of it is read here.
_NOT_SEALED = (_SEAL, "_CHECKPOINT_METADATA", "commit_success.txt")


def versions() -> dict[str, str]:
    """Versions of the packages that a checkpoint's content depends on."""
    names = ("hgad_jax", "jax", "flax", "optax", "orbax-checkpoint", "numpy")
    return {name: importlib.metadata.version(name) for name in names}


@contextlib.contextmanager
def open_manager(workdir: Path, *, keep: int = 2, read_only: bool = False) -> Iterator[ocp.CheckpointManager]:
    """Manager of `workdir/checkpoints`, closed at the end; a write in progress is waited for."""
    folder = (workdir / "checkpoints").absolute()
    sealing = ocp.options.AsyncOptions(post_finalization_callback=functools.partial(_seal, folder))
    with _quiet():
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if read_only else keep,
            read_only=read_only,
            create=not read_only,
            async_options=sealing,
        )
        manager = ocp.CheckpointManager(folder, options=options)
    # absl's logger repeats every step of orbax's; warnings and errors still come through.
    logging.getLogger("absl").setLevel(max(logging.WARNING, logging.getLogger("absl").level))
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
    arrays = {name: _describe(items[name]) for name in _ITEMS}
    metadata = {"format": FORMAT, "step": step, "versions": versions(), "arrays": arrays, **metadata}
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
        _check_seal(Path(manager.directory) / str(step))
        args = ocp.args.Composite(metadata=ocp.args.JsonRestore())
        metadata = manager.restore(step, args=args)["metadata"]
    if metadata["format"] != FORMAT:
        raise UserError(
            f"{manager.directory}/{step}: checkpoint format {metadata['format']}, this hgad_jax reads "
            f"{FORMAT}. It was written by hgad_jax {metadata['versions']['hgad_jax']}: install that version, "
            "or train anew."
        )
    return metadata


def restore(manager: ocp.CheckpointManager, step: int, abstract: dict[str, Any]) -> dict[str, Any]:
    """Restores the items named in `abstract`, a dict of pytrees of `jax.ShapeDtypeStruct`.

    Shardings given in `abstract` decide where the arrays go, whatever devices wrote them; without one, an
    array goes to the first local device.

    Raises:
      UserError: an item is missing, damaged, or of another shape.
    """
    stored = read_metadata(manager, step)["arrays"]
    with _explained(manager, step):
        for name, tree in abstract.items():
            _check_arrays(name, stored[name], _describe(tree))  # orbax itself would cast to another dtype
        placed = jax.tree.map(_with_sharding, abstract)
        args = {name: ocp.args.StandardRestore(tree) for name, tree in placed.items()}
        restored = manager.restore(step, args=ocp.args.Composite(**args))
        return {name: restored[name] for name in abstract}


def _with_sharding(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    sharding = leaf.sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _describe(tree: Any) -> dict[str, str]:
    """Dtype and shape of every array by its place in the tree."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def _check_arrays(item: str, stored: dict[str, str], expected: dict[str, str]) -> None:
    for place in sorted(stored.keys() | expected.keys()):
        found, wanted = stored.get(place, "absent"), expected.get(place, "none")
        if found != wanted:
            raise ValueError(f"{item}{place} is {found}, the config asks for {wanted}")


def _seal(folder: Path) -> None:
    """Notes size and SHA-256 of all files of the checkpoint that is about to get its final name."""
    for unfinished in folder.glob(_UNFINISHED):
        files = {str(path.relative_to(unfinished)): _fingerprint(path) for path in _files(unfinished)}
        (unfinished / _SEAL).write_text(json.dumps(files, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _check_seal(checkpoint: Path) -> None:
    """Raises ValueError or OSError that name a file which is not as it was when it was sealed."""
    sealed = json.loads((checkpoint / _SEAL).read_text(encoding="utf-8"))
    for name, (size, digest) in sealed.items():
        found_size, found_digest = _fingerprint(checkpoint / name)
        if found_size != size:
            raise ValueError(f"{name} has {found_size} bytes, expected {size}")
        if found_digest != digest:
            raise ValueError(f"{name} is damaged: its SHA-256 is not the one noted when it was written")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in _NOT_SEALED)


def _fingerprint(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _explained(manager, step):
    """Turns whatever a damaged checkpoint raises into one message."""
    try:
        with _quiet():
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


@contextlib.contextmanager
def _quiet():
    """Keeps off the terminal what orbax logs and what is said better elsewhere."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
