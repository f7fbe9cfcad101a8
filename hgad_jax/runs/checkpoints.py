"""Checkpoints: the one file that knows orbax.

A checkpoint holds everything that prediction needs and everything that going on needs: parameters,
optimiser state, constants, calibration, and as JSON the config, class names, level shapes and versions.

Orbax does not notice a flipped bit in an array's data, and a file that is cut short makes its other readers
print stack traces (both measured). So each checkpoint is sealed with the size and SHA-256 of its files before
it gets its final name, and the seal is compared before orbax reads any of them.
"""

import contextlib
import functools
import importlib.metadata
import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp

from hgad_jax.detectors import former
from hgad_jax.errors import UserError
from hgad_jax.runs import newest, processes
from hgad_jax.runs.mesh import data_mesh
from hgad_jax.runs.seal import check_seal, seal

T = TypeVar("T")
FORMAT = 2  # raised when older code could not read what this one writes
READABLE = (1, 2)  # in format 1, HGAD's parameters have other names: see `detectors.former`
_TRIES = 20  # one checkpoint at a time is deleted
_UNFINISHED = "*.orbax-checkpoint-tmp*"  # orbax's name of a checkpoint that is being written


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
            cleanup_tmp_directories=not read_only,  # what a killed run left half-written
            async_options=sealing,
        )
        manager = _listed(lambda: ocp.CheckpointManager(folder, options=options))
    # absl's logger repeats every step of orbax's; warnings and errors still come through.
    logging.getLogger("absl").setLevel(max(logging.WARNING, logging.getLogger("absl").level))
    try:
        yield manager
        manager.wait_until_finished()
    finally:
        manager.close()


def _listed(ask: Callable[[], T]) -> T:
    """What orbax makes of a folder of which training may delete a checkpoint between listing and looking."""
    for _ in range(_TRIES):
        with contextlib.suppress(FileNotFoundError):
            return ask()
    return ask()


def save(manager: ocp.CheckpointManager, step: int, items: dict[str, Any], metadata: dict[str, Any]) -> None:
    """Saves a checkpoint; it appears under its final name only when it is whole.

    Args:
      manager: of the workdir.
      step: steps done.
      items: pytrees of arrays by the names `params`, `opt_state`, `constants` and, where good images are held
        out, `calibration`.
      metadata: JSON.
    """
    if processes.first_decides(lambda: step in manager.all_steps()):  # of the same run, so it is the same
        return
    arrays = {name: _describe(tree) for name, tree in items.items()}
    metadata = {"format": FORMAT, "step": step, "versions": versions(), "arrays": arrays, **metadata}
    trees = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
    manager.save(step, args=ocp.args.Composite(metadata=ocp.args.JsonSave(metadata), **trees), force=True)


def latest_step(manager: ocp.CheckpointManager) -> int | None:
    """Step of the newest whole checkpoint, None without one; see `newest.newest_whole`."""
    manager.wait_until_finished()  # what is being written is not whole yet
    step = newest.newest_whole(Path(manager.directory))
    if jax.process_count() > 1:
        manager.reload()  # now that all see the same
    return step


def read_newest(manager: ocp.CheckpointManager, read: Callable[[int], T]) -> T | None:
    """What is read of the newest whole checkpoint; see `newest.read_newest`."""
    return newest.read_newest(Path(manager.directory), read)


def newest_metadata(manager: ocp.CheckpointManager) -> dict[str, Any] | None:
    """The JSON of the newest whole checkpoint, its `step` in it; None without one."""
    step = latest_step(manager)
    return None if step is None else read_metadata(manager, step)


def set_aside(manager: ocp.CheckpointManager, whole: int | None) -> None:
    """Moves checkpoints past the newest whole one, which are damaged, to `damaged/` in the workdir.

    Left in place they would be in the way when training comes to their step again.
    """
    folder = Path(manager.directory)

    def damaged() -> list[int]:
        return [step for step in newest.steps(folder) if whole is not None and step > whole]

    if not processes.first_decides(lambda: len(damaged())):
        return
    processes.barrier("damaged checkpoints were seen by all")
    if processes.is_first():
        for step in damaged():
            (folder.parent / "damaged").mkdir(exist_ok=True)
            (folder / str(step)).rename(_free_name(folder.parent / "damaged" / str(step)))
    processes.barrier("damaged checkpoints were moved")
    newest.wait_until(lambda: not damaged(), f"that damaged checkpoints in {folder} are gone")
    manager.reload()


def _free_name(path: Path) -> Path:
    names = itertools.chain([path], (path.with_name(f"{path.name}-{n}") for n in itertools.count(2)))
    return next(name for name in names if not name.exists())


def read_metadata(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    """The JSON of a checkpoint.

    Raises:
      UserError: it cannot be read, or a newer version of hgad_jax wrote it.
    """
    with _explained(manager, step):
        check_seal(Path(manager.directory) / str(step))
        args = ocp.args.Composite(metadata=ocp.args.JsonRestore())
        metadata = manager.restore(step, args=args)["metadata"]
    if metadata["format"] not in READABLE:
        raise UserError(
            f"{manager.directory}/{step}: checkpoint format {metadata['format']}, this hgad_jax reads "
            f"{' and '.join(map(str, READABLE))}. It was written by hgad_jax "
            f"{metadata['versions']['hgad_jax']}: install that version, or train anew."
        )
    return metadata


def restore(manager: ocp.CheckpointManager, step: int, abstract: dict[str, Any]) -> dict[str, Any]:
    """Restores the items named in `abstract`, a dict of pytrees of `jax.ShapeDtypeStruct`.

    Shardings given in `abstract` decide where the arrays go, whatever devices wrote them; without one, an
    array goes to the first device or, with several processes, to all devices.

    Raises:
      UserError: an item is missing, damaged, or of another shape.
    """
    stored = read_metadata(manager, step)["arrays"]
    renamed = former.has_former_names(stored["params"])
    if renamed:
        abstract = former.to_former(abstract)
    with _explained(manager, step):
        for name, tree in abstract.items():
            _check_arrays(name, stored[name], _describe(tree))  # orbax itself would cast to another dtype
        placed = jax.tree.map(_with_sharding, abstract)
        args = {name: ocp.args.StandardRestore(tree) for name, tree in placed.items()}
        restored = manager.restore(step, args=ocp.args.Composite(**args))
        found = {name: restored[name] for name in abstract}
        return former.from_former(found) if renamed else found


def _with_sharding(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    mesh = data_mesh(jax.devices() if jax.process_count() > 1 else jax.devices()[:1])
    sharding = leaf.sharding or jax.NamedSharding(mesh, jax.P())
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
    """Seals the checkpoint about to get its final name; orbax calls this in the first process only."""
    for unfinished in folder.glob(_UNFINISHED):
        seal(unfinished)


@contextlib.contextmanager
def _explained(manager, step):
    """Turns whatever a damaged checkpoint raises into one message."""
    try:
        with _quiet():
            yield
    except UserError:
        raise
    except Exception as error:  # damage shows itself in too many types to list
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise newest.cannot_be_read(Path(manager.directory), step, reason) from error


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
