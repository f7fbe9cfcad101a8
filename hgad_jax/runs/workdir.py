"""The folder of a run: its config, and whether a run may go on in it."""

import contextlib
import errno
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_collections
from absl import logging

from hgad_jax import files
from hgad_jax.config.completed import completed
from hgad_jax.config.validate import validate_keys
from hgad_jax.errors import UserError
from hgad_jax.runs import processes
from hgad_jax.types import Config

CONFIG_FILE = "config.json"
# Where things are and how fast they are read, not what the model is.
_PLACES = ("root", "prepared_dir", "normal_dir", "abnormal_dir", "mask_dir", "normal_test_dir")
ANYWHERE = (
    *(f"config.data.{key}" for key in (*_PLACES, "workers", "max_pixels")),
    *("config.cache.dir", "config.backbone.source"),
)
_LOCK = ".lock"
# What orbax takes for something else in a path, or cannot take at all; it would notice when all is trained.
_NOT_READ = {r"\\": "a backslash", r"\*\*": "**", "[\udc80-\udcff]": "a name that is not UTF-8"}
_NOT_WRITTEN = {r"\[[^/]+\]": "[...]"}


def local_path(directory: str | Path, *, to_train: bool = False) -> Path:
    """The folder of a run as an absolute path, `~` being the home folder.

    Args:
      directory: as the user gives it.
      to_train: whether checkpoints will be written there, and not only read.

    Raises:
      UserError: it is an address such as gs://BUCKET/RUN, which as a path would be a folder named "gs:", or
        its path is one that orbax does not find again.
    """
    scheme, separator, rest = str(directory).partition("://")
    if separator:
        raise UserError(
            f"--workdir={directory}: a run needs a folder of a file system. Mount the bucket, with Cloud "
            f"Storage FUSE for example, and give the folder: --workdir=/mnt/{scheme}/{rest} (docs/tpu.md)."
        )
    path = files.expanded(directory)
    if to_train:
        _refuse_artefact(path)
    for pattern, found in (_NOT_READ | _NOT_WRITTEN if to_train else _NOT_READ).items():
        if re.search(pattern, str(path)):
            raise UserError(
                f"--workdir={path}: there is {found} in its path, with which checkpoints cannot be kept. "
                "Choose another folder, or a symbolic link to it."
            )
    return path


def config_as_json(config: Config) -> dict[str, Any]:
    """The config as it reads back from JSON: tuples become lists."""
    return json.loads(json.dumps(config.to_dict()))


def prepare(workdir: Path, config: Config) -> None:
    """Makes the folder and saves the config in it, or checks that the run in it has the same config.

    Where images and weights lie may have changed since a checkpoint was made, which knows what they were:
    `save_places` when it has been asked.

    Raises:
      UserError: it cannot be written, or holds a run with another config.
    """
    path = workdir / CONFIG_FILE
    with _disk_errors(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            if (workdir / "checkpoints").exists():
                raise UserError(f"{workdir} has checkpoints but no {CONFIG_FILE}: choose another --workdir.")
            _save(workdir, config)
            return
    has_checkpoint = any(path.name.isdigit() for path in (workdir / "checkpoints").glob("*"))
    refuse_another(workdir, config_as_json(load_config(workdir)), config, anywhere=has_checkpoint)


def refuse_another(workdir: Path, there: dict[str, Any], config: Config, *, anywhere: bool) -> None:
    """Refuses to go on in a folder with another config than its own.

    Args:
      workdir: of a run.
      there: its config.
      config: the one given now.
      anywhere: whether images and weights may lie elsewhere.

    Raises:
      UserError: with every difference.
    """
    found = list(differences(there, config_as_json(config)))
    if anywhere:
        found = [difference for difference in found if difference[0] not in ANYWHERE]
    if found:
        raise UserError(
            f"{workdir} holds a run with another config; nothing was changed.\n"
            + "\n".join(f"  {key}: {there} there, {here} here" for key, there, here in found)
            + "\nGive the same config to go on with that run, or another --workdir to start a new one."
        )


def save_places(workdir: Path, config: Config) -> None:
    """Saves the config of a run that goes on, whose images may have moved."""
    if config_as_json(load_config(workdir)) != config_as_json(config):
        _save(workdir, config)


def _save(workdir: Path, config: Config) -> None:
    content = json.dumps(config_as_json(config), indent=2, sort_keys=True)
    files.write_atomically(workdir / CONFIG_FILE, f"{content}\n")


def _disk_errors(workdir: Path) -> contextlib.AbstractContextManager[None]:
    return files.disk_errors(f"--workdir={workdir} cannot be written", otherwise="choose another folder")


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Makes a folder, and keeps a second training out of it.

    Of the processes of one run, the first holds the lock.

    Raises:
      UserError: another process trains there, or it cannot be written.
    """
    with contextlib.ExitStack() as held:
        if processes.is_first():
            with _disk_errors(workdir):
                workdir.mkdir(parents=True, exist_ok=True)
                _hold(workdir, held)
                files.remove_leftovers(workdir)
        yield


def _hold(workdir: Path, held: contextlib.ExitStack) -> None:
    try:
        alone = held.enter_context(files.locked(workdir / _LOCK, wait=False))
    except OSError as error:
        if error.errno != errno.ENOLCK:
            raise
        logging.warning("%s cannot be locked (%s): train in it with one command at a time.", workdir, error)
        return
    if not alone:
        raise UserError(
            f"{workdir} is being trained in by another process: wait for it, end it, or choose another "
            "--workdir."
        )


def load_config(workdir: Path) -> Config:
    """The config of the run in a folder.

    Raises:
      UserError: no run there, or its config cannot be read.
    """
    path = workdir / CONFIG_FILE
    _refuse_artefact(workdir)
    if not path.exists():
        raise UserError(f"{workdir} holds no run: there is no {CONFIG_FILE}. Is --workdir that of train.py?")
    try:
        content = json.loads(files.read_text(path))
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}, expected an object")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({error}). It was written by train.py, then edited or cut short: put it "
            "back or choose another --workdir."
        ) from error
    config = ml_collections.ConfigDict(completed(content))
    try:
        validate_keys(config)
    except UserError as error:
        raise UserError(
            f"{path}: {error}\nIt was written by train.py, perhaps of another version, or edited since: put "
            "it back or choose another --workdir."
        ) from error
    return config


def _refuse_artefact(workdir: Path) -> None:
    if (workdir / files.MANIFEST).exists():
        raise UserError(
            f"{workdir} holds what was exported of a run, which predict and hgad_jax.load take. To evaluate, "
            "to export or to train in, give the folder of the run itself."
        )


def differences(
    found: dict[str, Any], given: dict[str, Any], prefix: str = "config"
) -> Iterator[tuple[str, Any, Any]]:
    """Yields the keys, joined by dots, at which two nested dictionaries differ, and both values."""
    for key in sorted(found.keys() | given.keys()):
        a, b = found.get(key, "(absent)"), given.get(key, "(absent)")
        if isinstance(a, dict) and isinstance(b, dict):
            yield from differences(a, b, f"{prefix}.{key}")
        elif a != b:
            yield f"{prefix}.{key}", a, b
