"""The model card of an artefact: what it is, what it was trained on, how good it is, what it promises."""

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hgad_jax import detectors, files
from hgad_jax.backbones.catalogue import choose
from hgad_jax.data import prepare
from hgad_jax.data.datasets import union
from hgad_jax.errors import UserError
from hgad_jax.inference.scorer import Scorer
from hgad_jax.runs import checkpoints
from hgad_jax.scoring.decision import describe_thresholds

_RESULTS = Path("eval") / "results.json"
_PUBLISHED = ("auto", "package", "cache")  # where the catalogue's weights come from
_FIGURES = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1_max": "image F1-max",
    "pixel_auroc": "pixel AUROC",
    "pixel_aupro": "AUPRO",
}


class Origin(NamedTuple):
    """What is known of a run beside its model.

    Attributes:
      metadata: of its checkpoint.
      saved: when that was written, by the clock of its file system.
      results: what `eval` wrote; None where it has not been evaluated.
    """

    metadata: Mapping[str, Any]
    saved: str
    results: Mapping[str, Any] | None


def origin(scorer: Scorer, directory: Path) -> Origin:
    """What is known of a run.

    Raises:
      UserError: what `eval` wrote cannot be read.
    """
    with checkpoints.open_manager(directory, read_only=True) as manager:
        metadata = checkpoints.read_metadata(manager, scorer.step)
    saved = (directory / "checkpoints" / str(scorer.step)).stat().st_mtime
    day = datetime.datetime.fromtimestamp(saved, datetime.UTC).date().isoformat()
    path = directory / _RESULTS
    try:
        results = json.loads(files.read_text(path)) if path.exists() else None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({error}). Evaluate the run again, or move it away: the model card is "
            "then without figures."
        ) from error
    return Origin(metadata, day, results)


def licences(config: Any) -> dict[str, str]:
    """Of the backbone's weights and of the images, as far as they are known."""
    backbone, dataset = config.backbone, config.data.name
    found = {"hgad_jax": "Apache-2.0"}
    if backbone.source in _PUBLISHED:
        found[f"weights of {choose(backbone.name).full_name}"] = choose(backbone.name).entry.licence
    elif backbone.source == "random":
        found[f"weights of {backbone.name}"] = "none: they are random numbers"
    else:
        found[f"weights of {backbone.name}"] = "not known here: they are of a file that was given"
    for name in union.PARTS if dataset == "union" else (dataset,):
        if name in prepare.NAMES:
            found[f"images of {name}"] = prepare.spec_of(name).licence
    if dataset not in prepare.NAMES:
        found[f"images of {dataset}"] = "not known here: they are your own"
    return found


def written(scorer: Scorer, origin: Origin, platforms: Iterable[str], versions: Mapping[str, str]) -> str:
    """The card, as Markdown."""
    config = scorer.config
    lines = [
        f"# {detectors.method(config.detector)} on {config.data.name}",
        "",
        f"An anomaly detector for images, exported by hgad_jax {versions['hgad_jax']} from step "
        f"{scorer.step} of a run. It needs jax, for {', '.join(platforms)}; it sees {config.data.image_size}×"
        f"{config.data.image_size} pixels by the backbone {config.backbone.name}.",
        "",
        "    import hgad_jax",
        '    found = hgad_jax.load("this folder")("image.png")',
        "",
        "The files hold programs and numbers, and are checked against manifest.json: that tells damage, not "
        "forgery. Load what comes from somebody you trust.",
        "",
        "## Trained on",
        "",
        *_trained_on(config, origin),
        "",
        "## Promised false alarms",
        "",
        f"At the settings of the run (classes {scorer.mode}):",
        "",
        *(f"- {line}" for line in _promises(scorer)),
        "",
        "## Measured",
        "",
        *_measured(origin.results),
        "",
        "## Licences",
        "",
        *(f"- {what}: {licence}" for what, licence in licences(config).items()),
        "",
        "## Versions",
        "",
        f"Exported with {_listed(versions)}. Trained with {_listed(origin.metadata['versions'])}.",
        "",
    ]
    return "\n".join(lines)


def _promises(scorer: Scorer) -> list[str]:
    return describe_thresholds(scorer.classes, scorer.decision)


def _trained_on(config: Any, origin: Origin) -> Iterator[str]:
    images = origin.metadata["images"]
    train, held_out = images["train"], images["held_out"]
    yield f"Good images of the dataset {config.data.name}; its checkpoint is a file of {origin.saved}."
    yield ""
    yield "| class | trained on | held out, to set thresholds |"
    yield "| --- | --- | --- |"
    for name in origin.metadata["classes"]:
        yield f"| {name} | {train[name]} | {held_out[name]} |"


def _measured(results: Mapping[str, Any] | None) -> Iterator[str]:
    if results is None:
        yield "Not evaluated before it was exported: hgad-jax eval."
        return
    classes = {**results["classes"], "mean": results["mean"]}
    chosen = {
        k: title for k, title in _FIGURES.items() if any(row.get(k) is not None for row in classes.values())
    }
    yield (
        f"On the {results['split']} images of {results['dataset']}, protocol {results['protocol']}, classes "
        f"{results['class_of_test_images']}, at step {results['step']}; in brackets 95 % intervals."
    )
    yield ""
    yield f"| class | {' | '.join(chosen.values())} |"
    yield f"| --- |{' --- |' * len(chosen)}"
    for name, row in classes.items():
        yield f"| {name} | {' | '.join(_figure(row, key) for key in chosen)} |"


def _figure(row: Mapping[str, Any], key: str) -> str:
    value, interval = row.get(key), row.get(f"{key}_ci")
    if value is None:
        return "–"
    return f"{value:.4f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
