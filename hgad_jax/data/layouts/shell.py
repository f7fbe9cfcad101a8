"""Commands for a shell that move files: shown to the user, who may run them."""

import os
import shlex
from collections.abc import Iterable


def quoted(path: str) -> str:
    """A path as a shell takes it; in bash's own quotes where it cannot be typed."""
    if path.isprintable():
        return shlex.quote(path)
    plain = set(range(32, 127)) - set(b"\\'")
    return "$'" + "".join(chr(b) if b in plain else f"\\x{b:02x}" for b in os.fsencode(path)) + "'"


def make(folder: str) -> str:
    """Make a folder and those above it."""
    return f"mkdir -p {quoted(folder)}"


def rename(folder: str, new: str) -> str:
    """Give a folder another name or place."""
    return f"mv {quoted(folder)} {quoted(new)}"


def move_files(folder: str, patterns: Iterable[str], target: str) -> str:
    """Move the files of a folder whose names fit one of some patterns, however many there are."""
    names = " -o ".join(f"-name {quoted(pattern)}" for pattern in patterns)
    return f"find {quoted(folder)} -maxdepth 1 ! -type d \\( {names} \\) -exec mv {{}} {quoted(target)} \\;"


def move_images_of(masks: str, tail: str, folder: str, target: str) -> str:
    """Move the images of a folder, whatever their suffix, that masks ending in `tail` are of."""
    image = f'{quoted(folder)}/"$(basename "$f" {quoted(tail)})".*'
    return f"for f in {quoted(masks)}/*{quoted(tail)}; do mv {image} {quoted(target)}; done"


def move_labelled(folder: str, labels: str, target: str) -> str:
    """Move the files of a folder for which there is a text file, not empty, of the same name."""
    text = f'{quoted(labels)}/"$(basename "${{f%.*}}")".txt'
    return f'for f in {quoted(folder)}/*; do if [ -s {text} ]; then mv "$f" {quoted(target)}; fi; done'
