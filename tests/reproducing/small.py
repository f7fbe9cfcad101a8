"""Tables of the papers made small: made-up datasets with the real class names, 64 pixels, a step or two."""

import dataset_trees
import stub_backbone
from dataset_trees import Counts

import hgad_jax
from hgad_jax.config.words import CLASSES
from hgad_jax.reproducing.job import read_config
from hgad_jax.reproducing.tables import Column, Table

_TAPS = "('blocks.2','blocks.4')"
_ANY = {
    "data.image_size": "64",
    "data.allow_partial": "True",
    "data.workers": "0",
    "data.rotation": "0.0",
    "backbone.name": stub_backbone.NAME,
    "backbone.source": stub_backbone.WEIGHTS,
    "backbone.taps": _TAPS,
    "backbone.scales": "(1,)",
    "bank.size": "0",
    "scoring.batch_size": "4",
    "scoring.evidence": "()",
    "scoring.image_score": "map",
}
_TRAINED = {
    "train.epochs": "2",
    "train.batch_size": "4",
    "train.micro_batches": "1",
    "train.warmup_epochs": "0",
    "train.hold_epochs": "0",
    "train.stage_two_epoch": "0",
    "detector.num_blocks": "2",
    "eval.every": "1",
}
_OF = {
    "cflow": {"detector.condition_channels": "8", "detector.fibre": "64", "altub.start_epoch": "0"},
    "fastflow": {"detector.kernel_sizes": "(1,)"},
    "hgad": {"detector.condition_channels": "8", "detector.num_centres": "2", "detector.regions": "0"},
    "padim": {"detector.dimensions": "20"},
    "spade": {"detector.gallery": "4", "detector.neighbours": "2"},
    "patchcore": {"detector.bank_size": "20", "detector.bank_candidates": "100"},
}
_FITTED = ("padim", "spade", "patchcore")
EACH = Counts(6, 2, 2)


def small(table: Table, **more: str) -> Table:
    """The same table of models that train in a second."""
    return table._replace(columns=tuple(_small(column, more) for column in table.columns))


def _small(column: Column, more: dict[str, str]) -> Column:
    detector = column.experiment.partition("_")[0]
    settings = {**column.settings, **_ANY, **_OF["cflow" if detector == "uflow" else detector]}
    if detector not in _FITTED:
        settings |= _TRAINED
        if "eval.window" in settings:
            settings["eval.window"] = "(1,2)"
    if "eval.window" not in settings:
        settings.pop("eval.every", None)
    settings |= {key.replace("__", "."): value for key, value in more.items()}
    if detector == "cflow" and column.settings.get("detector.condition_channels") == "0":
        settings["detector.condition_channels"] = "0"
    window = (1, 2) if column.window else ()
    return column._replace(settings=settings, set_for={}, window=window)


def make(dataset: str, root):
    """A made-up download of a dataset with its real classes."""
    parts = ("mvtec_ad", "btad", "mvtec_3d_rgb", "visa") if dataset == "union" else (dataset,)
    for part in parts:
        classes = dict.fromkeys(CLASSES[part], EACH)
        dataset_trees.TREES[part][0](root / part, classes)
    return root


def in_process(prefix: int):
    """What runs a command of a job in this process: quicker by all that a start takes."""

    def call(self, command, **settings):
        del self, settings
        name, *flags = command[prefix:]
        values = dict(f.removeprefix("--").partition("=")[::2] for f in flags)
        if name == "train":
            config = [f for f in flags if f.startswith("--config")]
            hgad_jax.train(read_config(config), values["workdir"], log=lambda line: None)
        else:
            hgad_jax.evaluate(
                values["workdir"],
                report="report" in values,
                normality="normality" in values,
                replicates=int(values["bootstrap"]),
                log=lambda line: None,
            )
        return 0

    return call
