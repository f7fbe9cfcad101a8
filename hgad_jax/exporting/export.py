"""`hgad-jax export RUN OUT`: everything between an image and a decision, in one folder or file."""

import contextlib
import importlib.metadata
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hgad_jax
from hgad_jax import files
from hgad_jax.artefact import manifest, trees
from hgad_jax.artefact.programs import need_flatbuffers
from hgad_jax.artefact.served import CALIBRATION, CARD, MODEL, WEIGHTS
from hgad_jax.artefact.source import contents
from hgad_jax.errors import UserError
from hgad_jax.exporting import card, compare, images, programs
from hgad_jax.inference.scorer import Scorer, load_scorer
from hgad_jax.runs import workdir

DEFAULT_PLATFORMS = ("cpu", "cuda", "tpu")
_PACKAGES = ("hgad_jax", "jax", "jaxlib", "numpy", "pillow", "safetensors")  # that an artefact is loaded with


def export(
    directory: str | Path,
    out: str | Path,
    *,
    zipped: bool = False,
    platforms: Sequence[str] = DEFAULT_PLATFORMS,
    to_compare: Sequence[str] = (),
    force: bool = False,
    log: Callable[[str], None] = print,
) -> compare.Difference:
    """Exports the newest checkpoint of a run, and compares what comes out with the run before it is kept.

    Args:
      directory: of the run.
      out: folder to make; a file with `zipped`. It appears when it is whole and was compared.
      zipped: one file in place of a folder.
      platforms: that the programs are for, of `programs.PLATFORMS`.
      to_compare: images to compare on: files, folders, patterns; none: made ones and, if they can be reached,
        some of the run's dataset.
      force: replace an artefact that is there.
      log: gets the lines meant for the user.

    Returns:
      The largest difference found between the run and the artefact.

    Raises:
      UserError: something that the user can mend, or the artefact differs from the run.
    """
    directory, out = workdir.local_path(directory), files.expanded(out)
    platforms = _known(platforms)
    need_flatbuffers("pip install flatbuffers")
    _refuse_occupied(out, force, zipped)
    encoded = None if not to_compare else images.to_compare(None, to_compare, log)
    scorer = load_scorer(directory)
    encoded = encoded or images.to_compare(scorer.config, (), log)
    made = _contents(scorer, directory, platforms)
    with files.disk_errors(f"{out} cannot be written", otherwise="choose another place"):
        out.parent.mkdir(parents=True, exist_ok=True)
        written = _written_zip(out, made) if zipped else _written_folder(out, made, replace=force)
        with written as unfinished:
            log(f"comparing it with the run on {len(encoded)} images, in a process of its own")
            found = compare.compared(scorer, unfinished, encoded)
            _refuse_occupied(out, force, zipped)  # by another export, meanwhile
    size = sum(map(len, made.values()))
    log(
        f"{found.questions} answers compared: scores differ by at most {found.scores:.1g}, maps by "
        f"{found.maps:.1g}, and every decision is the same"
    )
    log(f"Exported step {scorer.step} to {out}: {size / 1e6:.1f} MB, for {', '.join(platforms)}")
    return found


def _known(platforms: Sequence[str]) -> tuple[str, ...]:
    wrong = [name for name in platforms if name not in programs.PLATFORMS]
    if wrong or not platforms:
        raise UserError(
            f"--platforms={','.join(platforms)}: {', '.join(map(repr, wrong)) or 'nothing'} is no platform; "
            f"expected some of {', '.join(programs.PLATFORMS)}."
        )
    return tuple(dict.fromkeys(platforms))


def _refuse_occupied(out: Path, force: bool, zipped: bool) -> None:
    if not out.exists():
        return
    if not force:
        raise UserError(
            f"{out} is there already; nothing was written. Choose another place, or replace an artefact with "
            "--force."
        )
    if zipped == out.is_dir():
        there, asked = ("a folder", "--zip writes a file") if zipped else ("a file", "a folder was asked for")
        raise UserError(f"{out} is {there}, and {asked}. Choose another place, or move it away.")
    try:
        contents(out, hgad_jax.__version__)
    except UserError as error:
        raise UserError(
            f"{out} is there already and no whole artefact, so that --force does not replace it: {error}"
        ) from error


def _contents(scorer: Scorer, directory: Path, platforms: Sequence[str]) -> dict[str, bytes]:
    """The files of an artefact by name, the manifest among them."""
    sizes = _batch_sizes(scorer)
    weights = trees.named_leaves(scorer.weights)
    structure, arrays = trees.packed(scorer.calibration)
    origin, versions = card.origin(scorer, directory), _versions()
    model = {
        "step": scorer.step,
        "classes": list(scorer.classes),
        "platforms": list(platforms),
        "batch_sizes": list(sizes),
        "evidence_names": list(scorer.evidence_names),
        "config": _without_places(workdir.config_as_json(scorer.config)),
        "calibration": structure,
        "weights": trees.dtypes(weights),  # in the order that the programs take them in
        "images": origin.metadata["images"],
        "licences": card.licences(scorer.config),
        "versions": versions,
        "trained_with": origin.metadata["versions"],
    }
    made = {
        CARD: card.written(scorer, origin, platforms, versions).encode(),
        MODEL: f"{json.dumps(model, indent=1)}\n".encode(),
        WEIGHTS: trees.as_bytes(weights),
        CALIBRATION: trees.as_bytes(arrays),
        **programs.exported(scorer, sizes, platforms),
    }
    return {manifest.FILE: manifest.listing(made, hgad_jax.__version__), **made}


def _batch_sizes(scorer: Scorer) -> tuple[int, ...]:
    """One image, as on a line, and what `predict` takes at once."""
    together = max(1, scorer.config.scoring.batch_size // scorer.transform.num_tiles)
    return tuple(sorted({1, together}))


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def _without_places(config: dict[str, Any]) -> dict[str, Any]:
    """The config without the folders of the machine that trained it, which are nobody else's business."""
    for key in workdir.ANYWHERE:
        _, section, name = key.split(".")
        if isinstance(config.get(section, {}).get(name), str):
            config[section][name] = ""
    return config


@contextlib.contextmanager
def _written_folder(out: Path, made: Mapping[str, bytes], *, replace: bool) -> Iterator[Path]:
    with files.writing_folder(out, replace=replace) as folder:
        for name, content in made.items():
            files.write_atomically(folder / name, content, parents=True)
        yield folder


@contextlib.contextmanager
def _written_zip(out: Path, made: Mapping[str, bytes]) -> Iterator[Path]:
    with files.writing(out) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, content in made.items():
                archive.writestr(
                    zipfile.ZipInfo(name), content
                )  # without the time: the same run, the same file
        file.flush()
        yield Path(file.name)
