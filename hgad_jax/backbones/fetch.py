"""Downloads published weights, when asked to and never otherwise.

timm's weights come from the Hugging Face hub, torchvision's (the tag tv_in1k) from its own host. A file is
stored when it is whole: of the announced length, of the right hash, and with the tensors of its architecture.
"""

import contextlib
import functools
import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from hgad_jax.backbones.catalogue import Choice
from hgad_jax.backbones.checkpoint_file import read_torch_checkpoint
from hgad_jax.backbones.sources import read_safetensors
from hgad_jax.backbones.store import record_path, recorded_hash, stored_path, torchvision_file
from hgad_jax.backbones.weights import check_whole
from hgad_jax.errors import UserError
from hgad_jax.files import disk_errors, locked, remove_leftovers, sha256_of_file, write_atomically, writing
from hgad_jax.progress_bar import progress_bar

_CHUNK = 1 << 20  # bytes
_TIMEOUT = 60  # seconds without an answer


class Hosts(NamedTuple):
    """Where weights are downloaded from; give others to use a mirror."""

    hub: str = "https://huggingface.co"
    torchvision: str = "https://download.pytorch.org/models"


def hosts_from_environment(hub: str | None = None, torchvision: str | None = None) -> Hosts:
    """The hosts given, else those of HGAD_JAX_HUB and HGAD_JAX_TORCHVISION, else the publishers' own."""
    return Hosts(
        hub or os.environ.get("HGAD_JAX_HUB") or Hosts().hub,
        torchvision or os.environ.get("HGAD_JAX_TORCHVISION") or Hosts().torchvision,
    )


def weights_url(choice: Choice, hosts: Hosts) -> str:
    """The address of the weights."""
    file = torchvision_file(choice)
    if file:
        return f"{hosts.torchvision.rstrip('/')}/{file}"
    return f"{hosts.hub.rstrip('/')}/timm/{choice.full_name}/resolve/main/model.safetensors"


def fetch(choice: Choice, hosts: Hosts, *, log: Callable[[str], None]) -> Path:
    """Download weights into the cache, unless they are there.

    Args:
      choice: whose weights.
      hosts: where from.
      log: told what happens, a line at a time.

    Returns:
      The stored file.

    Raises:
      UserError: the download failed, or what came is not what was published or first fetched; then nothing
        is stored.
    """
    path = stored_path(choice)
    if _is_stored(choice, path, log):
        return path
    with _disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        waiting = functools.partial(log, f"Another process fetches {choice.full_name}: waiting for it.")
        with locked(path.with_name(f".{path.name}.lock"), waiting=waiting):
            if not _is_stored(choice, path, log):
                _fetch(choice, hosts, path, log)
    return path


def _is_stored(choice: Choice, path: Path, log: Callable[[str], None]) -> bool:
    if not path.exists() or not recorded_hash(choice):
        return False
    _check_hash(sha256_of_file(path), choice, f"the stored file {path}")
    log(f"{choice.full_name} is there and unchanged: {path}")
    return True


def _fetch(choice: Choice, hosts: Hosts, path: Path, log: Callable[[str], None]) -> None:
    url = weights_url(choice, hosts)
    if not url.startswith(("https://", "http://")):
        raise UserError(
            f"cannot download from {url}: expected an address that begins with https:// or http://"
        )
    log(f"{choice.full_name}: downloading {url}; licence of these weights: {choice.entry.licence}")
    remove_leftovers(path.parent)
    try:
        with _disk_errors(path):
            _download_and_store(choice, url, path)
    except (OSError, ValueError, http.client.HTTPException) as error:  # urllib's are among these
        raise UserError(f"cannot download {url}: {_reason(error)}") from error
    log(f"{choice.full_name}: stored as {path}, SHA-256 {recorded_hash(choice)}")


def _disk_errors(path: Path) -> contextlib.AbstractContextManager[None]:
    return disk_errors(f"{path} cannot be written", otherwise="set HGAD_JAX_CACHE to another folder")


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server says {error.code} {error.reason}"
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)


def _download_and_store(choice: Choice, url: str, path: Path) -> None:
    with writing(path) as file:
        sha256 = _download(url, file)
        file.flush()
        _check_hash(sha256, choice, f"what came from {url}")
        _check_content(Path(file.name), choice, url)
        if recorded_hash(choice) is None:  # first the record: a file without one does not count as stored
            write_atomically(record_path(choice), f"{sha256}\n")


def _download(url: str, file: BinaryIO) -> str:
    """Write what the address holds to the file; returns its SHA-256."""
    sha256, received = hashlib.sha256(), 0
    request = urllib.request.Request(url, headers={"User-Agent": "hgad_jax"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
        announced = response.headers.get("Content-Length")
        total = int(announced) if announced else None
        units = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
        with progress_bar(total=total, desc="fetch", **units) as progress:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                sha256.update(chunk)
                received += len(chunk)
                progress.update(len(chunk))
    if total is not None and received != total:
        raise UserError(f"the download of {url} was cut off after {received} of {total} bytes; fetch again")
    return sha256.hexdigest()


def _check_hash(sha256: str, choice: Choice, what: str) -> None:
    """Against the prefix in the published file name, and against the record of the first fetch."""
    prefix = re.search(r"-([0-9a-f]{8,})\.pth$", torchvision_file(choice) or "")
    if prefix and not sha256.startswith(prefix[1]):
        raise UserError(
            f"{what} is not the published {torchvision_file(choice)}: its SHA-256 is {sha256}, expected one "
            f"that begins with {prefix[1]}. Nothing of it is used: delete it if it is stored, fetch again."
        )
    recorded = recorded_hash(choice)
    if recorded and sha256 != recorded:
        raise UserError(
            f"{what} has the SHA-256 {sha256}, but the first fetch recorded {recorded} in "
            f"{record_path(choice)}. Nothing of it is used. If its publisher has changed the weights and you "
            "want the new ones, delete that record and the stored file, and fetch again."
        )


def _check_content(part: Path, choice: Choice, url: str) -> None:
    """Read it as it will be read later, and compare its tensors with the architecture's."""
    is_torch = torchvision_file(choice) is not None
    state = read_torch_checkpoint(part) if is_torch else read_safetensors(part)
    check_whole(state, choice.entry.build(), name=choice.name, file=url)
