"""The dataset "folder": a user's own images, in MVTec AD's layout or from folders named one by one."""

import shlex
from typing import Any

from hgad_jax.data import explicit, folder
from hgad_jax.data.folder import Listing, to_dataset
from hgad_jax.data.records import Dataset
from hgad_jax.errors import UserError
from hgad_jax.files import expanded


def load(data: Any) -> Dataset:
    """List the images that the `data` section of a config names; decodes none.

    Raises:
        UserError: no folder is named, or whatever is wrong with the folders.
    """
    return to_dataset(scan(data), on_error=data.on_error, check=_check_arguments(data))


def _check_arguments(data: Any) -> str:
    """What `python -m hgad_jax.data check` has to be told to find the same."""
    given = [data.root] if data.root else []
    for key, dirs in _dirs(data).items():
        given += [f"--{key.replace('_', '-')}={path}" for path in dirs]
    return shlex.join([*given, "--follow-links"] if data.follow_links else given)


def scan(data: Any) -> Listing:
    """List the images and all that is wrong with their names and places.

    Raises:
        UserError: no folder is named, or there is nothing like a dataset.
    """
    dirs = _dirs(data)
    if any(dirs.values()):
        return explicit.scan(data.root, follow_links=data.follow_links, **dirs)
    if not data.root:
        raise UserError(
            "The dataset 'folder' needs to know where the images are: --config.data.root=DIR, or "
            f"--config.data.normal_dir=DIR for a layout of your own.\n{folder.EXPECTED_TREE}"
        )
    return folder.scan(data.root, follow_links=data.follow_links)


def absolute_paths(data: Any) -> dict[str, Any]:
    """The keys of `data` that name folders, absolute, so that a run can be evaluated from anywhere."""
    given = {key: data[key] for key in ("root", "prepared_dir") if data[key]}
    root = str(expanded(data.root)) if data.root else ""
    dirs = {key: explicit.absolute(paths, root) for key, paths in _dirs(data).items() if paths}
    return {key: str(expanded(path)) for key, path in given.items()} | dirs


def _dirs(data: Any) -> dict[str, tuple[str, ...]]:
    return {key: tuple(data[key]) for key in explicit.KEYS}
