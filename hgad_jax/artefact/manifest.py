"""The list of an artefact's files, with the size and SHA-256 of each: against damage, not against forgery.

The list guards itself: it holds a hash of what it says, and is written in one way only, so that a byte that
changes in it is noticed too. Who can write an artefact can write a list that fits it.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from hgad_jax.errors import UserError
from hgad_jax.files import MANIFEST

FILE = MANIFEST
FORMAT = 1  # raised when older code could not read what this one writes
LARGEST = 1_000_000  # bytes of the list
_KIND = "hgad_jax artefact"


class Noted(NamedTuple):
    """What is noted of a file."""

    bytes: int
    sha256: str


def listing(contents: Mapping[str, bytes], version: str) -> bytes:
    """The list of these files.

    Args:
      contents: by name.
      version: of hgad_jax, which writes them.
    """
    files = {
        name: Noted(len(content), hashlib.sha256(content).hexdigest())._asdict()
        for name, content in contents.items()
    }
    return _written({"kind": _KIND, "format": FORMAT, "hgad_jax": version, "files": files})


def read(content: bytes, place: str, version: str) -> dict[str, Noted]:
    """The files that a list names.

    Args:
      content: of the list.
      place: of the artefact, for messages.
      version: of hgad_jax, which reads it.

    Raises:
      UserError: it is damaged, no list of an artefact, or of a newer format.
    """
    try:
        found = json.loads(content)
        kind, number, writer = found["kind"], int(found["format"]), str(found["hgad_jax"])
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(place) from error
    if kind == _KIND and number > FORMAT:
        raise UserError(
            f"{place}: an artefact of format {number}, written by hgad_jax {writer}; this hgad_jax {version} "
            f"reads format {FORMAT}. Install hgad_jax {writer} or newer, or export the run with {version}."
        )
    said = {key: value for key, value in found.items() if key != "sha256"}
    if kind != _KIND or _written(said) != content:
        raise _damaged(place)
    return {name: Noted(**noted) for name, noted in found["files"].items()}


def check(name: str, content: bytes, noted: Noted, place: str) -> bytes:
    """The content of a file, if it is what was noted.

    Raises:
      UserError: it is not.
    """
    if len(content) != noted.bytes:
        raise UserError(
            f"{place}/{name}: {len(content)} bytes, expected {noted.bytes}: it is cut short or of another "
            "artefact. Copy the artefact again, or export it anew."
        )
    if hashlib.sha256(content).hexdigest() != noted.sha256:
        raise UserError(
            f"{place}/{name}: it is damaged, its SHA-256 is not the one noted in {FILE}. Copy the artefact "
            "again, or export it anew."
        )
    return content


def _written(said: dict[str, Any]) -> bytes:
    plain = json.dumps(said, sort_keys=True)
    digest = hashlib.sha256(plain.encode()).hexdigest()
    return f"{json.dumps(said | {'sha256': digest}, sort_keys=True, indent=1)}\n".encode()


def _damaged(place: str) -> UserError:
    return UserError(
        f"{place}/{FILE}: it is damaged, or no list of an artefact's files. Copy the artefact again, or "
        "export it anew."
    )
