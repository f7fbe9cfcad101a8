"""The folder where fetched weights are kept, each beside a record of its SHA-256."""

from pathlib import Path
from typing import NamedTuple

from hgad_jax.backbones.catalogue import Choice
from hgad_jax.errors import UserError
from hgad_jax.files import cache_root


class Expected(NamedTuple):
    """What a file's hash must be, and what to do if it is not."""

    sha256: str
    remedy: str


def store_folder() -> Path:
    """`$HGAD_JAX_CACHE/backbones`; without that variable, in the user's cache folder."""
    return cache_root() / "backbones"


def stored_path(choice: Choice) -> Path:
    """Where the weights are kept, be they there or not."""
    suffix = ".pth" if torchvision_file(choice) else ".safetensors"
    return store_folder() / f"{choice.full_name}{suffix}"


def record_path(choice: Choice) -> Path:
    """Where the SHA-256 of the first fetch is kept."""
    path = stored_path(choice)
    return path.with_name(f"{path.name}.sha256")


def torchvision_file(choice: Choice) -> str | None:
    """The name of torchvision's file, for weights that are torchvision's."""
    return choice.entry.torchvision if choice.tag == "tv_in1k" else None


def cached_file(choice: Choice) -> tuple[Path, Expected]:
    """The weights that `fetch` has stored, and the hash that it recorded.

    Raises:
      UserError: they have not been fetched.
    """
    path, record = stored_path(choice), recorded_hash(choice)
    if not path.is_file() or record is None:
        raise UserError(
            f"the weights of the backbone {choice.name} are not in the cache: no {path}. Fetch them once "
            f"with 'python -m hgad_jax.backbones fetch {choice.full_name}' (it needs the network), or point "
            "to a .safetensors or .pth file of your own."
        )
    return path, Expected(record, f"Delete it and fetch again: rm {path}")


def recorded_hash(choice: Choice) -> str | None:
    """The SHA-256 that was recorded at the first fetch; None before it."""
    try:
        return record_path(choice).read_text().strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"cannot read {record_path(choice)}: {error.strerror or error}") from error
