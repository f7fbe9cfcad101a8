"""The files of an artefact, out of a folder or a zip file; none of them is unpacked, and each is checked."""

import os
import stat
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from hgad_jax.artefact import manifest
from hgad_jax.errors import UserError


class Source(NamedTuple):
    """Where files come from.

    Attributes:
      place: for messages.
      sizes: bytes of each file, by name.
      read: the name of a file → its content, at most so many bytes as are given.
    """

    place: str
    sizes: dict[str, int]
    read: Callable[[str, int], bytes]


def is_artefact(path: Path) -> bool:
    """Whether there is an artefact, by its look: a folder with a manifest, or a file."""
    return path.is_file() or (path / manifest.FILE).is_file()


def contents(path: Path, version: str) -> dict[str, bytes]:
    """The files of an artefact, every one checked.

    Args:
      path: a folder or a zip file.
      version: of hgad_jax, for messages.

    Raises:
      UserError: there is none, or it is damaged, incomplete, of a newer format, or holds what it should not.
    """
    try:
        if path.is_dir():
            return _checked(_folder(path), version)
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            return _checked(_zip(path, archive), version)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist. Expected what 'hgad-jax export' wrote.") from error
    except zipfile.BadZipFile as error:
        raise UserError(
            f"{path} is no artefact, or damaged: as a zip file it cannot be read ({error}). Expected what "
            "'hgad-jax export' wrote; copy it again."
        ) from error
    except OSError as error:
        raise UserError(f"{error.filename or path} cannot be read: {error.strerror or error}.") from error


def _checked(source: Source, version: str) -> dict[str, bytes]:
    place, sizes = source.place, source.sizes
    if manifest.FILE not in sizes:
        raise UserError(
            f"{place} is no artefact: it has no {manifest.FILE}. Expected what 'hgad-jax export' wrote."
        )
    if sizes[manifest.FILE] > manifest.LARGEST:
        raise UserError(
            f"{place}/{manifest.FILE} has {sizes[manifest.FILE]} bytes, expected at most {manifest.LARGEST}: "
            "it is no list of an artefact's files."
        )
    noted = manifest.read(source.read(manifest.FILE, manifest.LARGEST), place, version)
    _same_names(place, noted, sizes.keys() - {manifest.FILE})
    for name, of_file in noted.items():
        if sizes[name] != of_file.bytes:
            raise UserError(
                f"{place}/{name}: {sizes[name]} bytes, expected {of_file.bytes}: it is cut short or of "
                "another artefact. Copy the artefact again, or export it anew."
            )
    return {
        name: manifest.check(name, source.read(name, of_file.bytes), of_file, place)
        for name, of_file in noted.items()
    }


def _same_names(place: str, noted: Iterable[str], found: Iterable[str]) -> None:
    missing, more = sorted(set(noted) - set(found)), sorted(set(found) - set(noted))
    if missing:
        raise UserError(
            f"{place}/{missing[0]} is missing{_others(missing)}. Copy the artefact again, or export it anew."
        )
    if more:
        raise UserError(
            f"{place}/{more[0]} is none of the artefact's files{_others(more)}. Move it away: an artefact "
            "holds what its manifest names and nothing else."
        )


def _others(names: list[str]) -> str:
    return f" (and {len(names) - 1} more files)" if len(names) > 1 else ""


def _folder(path: Path) -> Source:
    sizes = {}
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder) / name
            sizes[file.relative_to(path).as_posix()] = file.stat().st_size

    def read(name: str, most: int) -> bytes:
        with (path / name).open("rb") as file:
            return file.read(most + 1)

    return Source(str(path), sizes, read)


def _zip(path: Path, archive: zipfile.ZipFile) -> Source:
    """Of a file without compression, so that what it holds cannot be larger than it is."""
    sizes: dict[str, int] = {}
    for info in archive.infolist():
        name = info.filename
        parts = name.split("/")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if name.startswith("/") or "\\" in name or ":" in name or {"", ".", ".."} & set(parts):
            raise UserError(f"{path} holds a file named {name!r}, which no artefact has: it is not read.")
        if name in sizes or kind not in (0, stat.S_IFREG):
            raise UserError(
                f"{path} holds {name!r} twice, or as something else than a file, which no artefact does: it "
                "is not read."
            )
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise UserError(
                f"{path}: {name!r} is compressed or encrypted in it, which artefacts are not. Unpack it, and "
                "give the folder."
            )
        sizes[name] = info.file_size
    if sum(sizes.values()) > path.stat().st_size:
        raise UserError(f"{path} holds files that are larger together than it is: it is not read.")

    def read(name: str, most: int) -> bytes:
        with archive.open(name) as file:
            return file.read(most + 1)

    return Source(str(path), sizes, read)
