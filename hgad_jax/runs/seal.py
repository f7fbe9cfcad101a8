"""Size and SHA-256 of every file of a folder, noted in the folder when it is whole and compared later."""

import hashlib
import json
from pathlib import Path

SEAL = "sha256.json"
# What orbax keeps for itself there and writes again after the seal; nothing of it is read here.
_NOT_SEALED = (SEAL, "_CHECKPOINT_METADATA", "commit_success.txt")


def seal(folder: Path) -> None:
    """Notes size and SHA-256 of all files below a folder in its file `sha256.json`."""
    files = {str(path.relative_to(folder)): _fingerprint(path) for path in _files(folder)}
    (folder / SEAL).write_text(json.dumps(files, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def check_seal(folder: Path) -> None:
    """Raises ValueError or OSError that name a file which is not as it was when it was sealed."""
    sealed = json.loads((folder / SEAL).read_text(encoding="utf-8"))
    for name, (size, digest) in sealed.items():
        found_size, found_digest = _fingerprint(folder / name)
        if found_size != size:
            raise ValueError(f"{name} has {found_size} bytes, expected {size}")
        if found_digest != digest:
            raise ValueError(f"{name} is damaged: its SHA-256 is not the one noted when it was written")


def damage(folder: Path) -> str | None:
    """What is wrong with a sealed folder, in one line; None if it is as it was sealed."""
    try:
        check_seal(folder)
    except (OSError, ValueError, TypeError, AttributeError) as error:  # the seal itself may be damaged too
        return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in _NOT_SEALED)


def _fingerprint(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
