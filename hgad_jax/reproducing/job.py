"""One run of a table: which config, which folder, which commands."""

import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hgad_jax.config.by_name import read

PROGRAM = (sys.executable, "-m", "hgad_jax")
_NO_NAME = re.compile(r"[^A-Za-z0-9_.]+")  # what stays out of a folder's name


class Job(NamedTuple):
    """A model to train and to evaluate.

    Attributes:
      config: what `--config` takes: an experiment or a file, words after a colon.
      settings: keys of the config joined by dots, and their values as a flag has them.
      seed: of the run.
      evaluation: flags of `eval`.
      column: of the table that it is for.
      class_name: of the one class that it is about; "" for all.
    """

    config: str
    settings: tuple[tuple[str, str], ...]
    seed: int
    evaluation: tuple[str, ...] = ()
    column: str = ""
    class_name: str = ""

    @property
    def name(self) -> str:
        """Of its folder: the same for the same model, whichever table it is for."""
        readable = _NO_NAME.sub("-", Path(self.config).name).strip("-")
        identity = repr((self.config, self.settings)).encode()
        return f"{readable}-{hashlib.sha256(identity).hexdigest()[:8]}-seed{self.seed}"


class Places(NamedTuple):
    """Where things are, which is no part of what a model is.

    Attributes:
      out: folder of everything that is written.
      root: of the dataset; "" where the config says it.
    """

    out: Path
    root: str = ""

    def workdir(self, job: Job) -> Path:
        """The folder of a job's run."""
        return self.out / "runs" / job.name

    @property
    def settings(self) -> tuple[tuple[str, str], ...]:
        """Keys of the config that say so."""
        root = (("data.root", self.root),) if self.root else ()
        return (*root, ("cache.dir", str(self.out / "cache")))


def config_flags_of(job: Job, places: Places) -> list[str]:
    """The flags by which `train` gets a job's config."""
    changed = [*job.settings, ("seed", str(job.seed)), *places.settings]
    return [f"--config={job.config}", *(f"--config.{key}={value}" for key, value in changed)]


def commands(job: Job, places: Places) -> tuple[list[str], list[str]]:
    """What follows `hgad-jax` to train a job's model, and to evaluate it."""
    workdir = f"--workdir={places.workdir(job)}"
    return ["train", *config_flags_of(job, places), workdir], ["eval", workdir, *job.evaluation]


def config_of(job: Job, places: Places) -> Any:
    """The config that `train` will get, read as it will read it.

    Raises:
      UserError: no such experiment, word or key, or a value of another type.
    """
    return read_config(config_flags_of(job, places))


def read_config(arguments: Sequence[str]) -> Any:
    """The config that --config and --config.KEY=VALUE name, as `train` reads them.

    Raises:
      UserError: as `config_of`.
    """
    return read(["reproduce", *arguments], said_of=" ".join(arguments[:1]))


def merged(*parts: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Settings, later ones replacing earlier ones, in the order of their names."""
    found: dict[str, str] = {}
    for part in parts:
        found |= part
    return tuple(sorted(found.items()))
