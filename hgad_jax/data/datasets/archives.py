"""Unpacks what a dataset's page offers for download, and nothing that an archive should not hold.

TFDS's own extraction needs TensorFlow; the standard library does not.
"""

import lzma
import os
import pathlib
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from hgad_jax.data.datasets.items import files
from hgad_jax.errors import UserError
from hgad_jax.progress_bar import progress_bar

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, NotImplementedError)


def archives(folder: str) -> list[str]:
    """List the archives in a folder by name."""
    return files(folder, SUFFIXES)


def unpack(archive: str, folder: str, suffixes: Sequence[str]) -> None:
    """Unpack the files of some kinds.

    Args:
        archive: a zip or tar file, compressed or not.
        folder: to unpack into.
        suffixes: in small letters, of the names to unpack; others are passed over.

    Raises:
        UserError: the archive is damaged, or holds links or names that leave the folder.
    """
    if not hasattr(tarfile, "data_filter"):
        raise UserError("Unpacking safely needs Python 3.11.4 or newer: update Python, or unpack by hand.")
    unpacker = _unzip if archive.lower().endswith(".zip") else _untar
    try:
        with progress_bar(
            total=os.path.getsize(archive),
            desc=f"unpacking {os.path.basename(archive)}",
            unit="B",
            unit_scale=True,
            disable=None,
        ) as bar:
            unpacker(archive, folder, lambda name: _wanted(name, suffixes), bar)
    except tarfile.FilterError as error:
        _refuse(archive, str(error))
    except _BROKEN as error:
        raise UserError(
            f"'{archive}' cannot be unpacked: {_first_line(error)}. It is damaged or was not downloaded "
            "whole: download it again."
        ) from error


def _untar(archive: str, folder: str, wanted: Callable[[str], bool], bar: Any) -> None:
    with open(archive, "rb") as file, tarfile.open(fileobj=file, mode="r:*") as tar:
        for member in tar:
            _check_name(archive, member.name)
            if wanted(member.name) and not member.isdir():
                if not member.isfile():
                    _refuse(archive, f"'{member.name}' is no ordinary file")
                tar.extract(member, folder, filter="data")
            bar.update(file.tell() - bar.n)


def _unzip(archive: str, folder: str, wanted: Callable[[str], bool], bar: Any) -> None:
    with zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            _check_name(archive, member.filename)
            if wanted(member.filename) and not member.is_dir():
                if (member.external_attr >> 16) & 0o170000 not in (0, 0o100000):  # the mode of a Unix file
                    _refuse(archive, f"'{member.filename}' is no ordinary file")
                packed.extract(member, folder)
            bar.update(member.compress_size)


def _wanted(name: str, suffixes: Sequence[str]) -> bool:
    parts = pathlib.PurePosixPath(name).parts
    hidden = any((part.startswith(".") and part != ".") or part == "__MACOSX" for part in parts)
    return name.lower().endswith(tuple(suffixes)) and not hidden


def _check_name(archive: str, name: str) -> None:
    # Both packages would mend such names silently; whoever made them had no good in mind.
    if name.startswith("/") or "\\" in name or ":" in name or ".." in pathlib.PurePosixPath(name).parts:
        _refuse(archive, f"'{name}' leads out of the folder it is unpacked to")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(":")


def _refuse(archive: str, found: str) -> NoReturn:
    raise UserError(
        f"'{archive}' was not unpacked: {found}. No dataset needs that: download it again from its own page."
    )
