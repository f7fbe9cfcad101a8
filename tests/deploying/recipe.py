"""Reads deploy/Dockerfile, as far as it goes: instructions, and those that a target is made of."""

import re
from typing import NamedTuple

from trees import ROOT

DOCKERFILE = ROOT / "deploy" / "Dockerfile"


class Line(NamedTuple):
    """An instruction, with what follows its name."""

    name: str
    text: str


def read() -> list[Line]:
    """All instructions, those over several lines joined."""
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text())
    lines = [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [Line(*line.split(" ", 1)) for line in lines]


def stages(target: str) -> list[Line]:
    """The instructions of a target, in the order that they are carried out in: what it copies from, first."""
    parts: dict[str, list[Line]] = {}
    bases: dict[str, str] = {}
    name = ""
    for line in read():
        if line.name == "FROM":
            base, _, name = line.text.split()
            parts[name], bases[name] = [], base
        elif name:
            parts[name].append(line)

    def of(stage: str) -> list[Line]:
        own = parts[stage]
        needed = [re.match(r"--from=(\S+)", line.text) for line in own if line.name == "COPY"]
        before = [one for found in needed if found for one in of(found[1])]
        return [*before, *(of(bases[stage]) if bases[stage] in parts else []), *own]

    return of(target)


def cuda() -> str:
    """The line that is CUDA's alone."""
    (own,) = [line.text for line in stages("cuda") if line.name == "RUN" and "cuda" in line.text]
    return own


def placed(words: str, root) -> str:
    """A command with the places of the image below `root`, and users made there, not on this machine."""
    words = re.sub(r"(?<![\w.])/(opt|wheels|var/cache)\b", rf"{root}/\1", words)
    return re.sub(r"^(groupadd|useradd) ", rf"\1 --prefix {root} ", words)
