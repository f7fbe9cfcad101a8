"""Score new images: `hgad-jax predict --workdir=RUN --input=PATH --out=DIR`. Run again to go on.

PATH is a file, a folder or a pattern ('parts/**/*.png'); give --input several times, or more paths after it.
Writes scores.csv and, as asked, heat maps, raw maps and contours. Exit status: 0 done, 1 done but some images
could not be read, 2 something to mend, 3 a fault of hgad_jax, 75 stopped by SIGTERM.
"""

from absl import flags

from hgad_jax.cli import shell
from hgad_jax.errors import UserError
from hgad_jax.exit_status import DONE, SOME_UNUSABLE

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run, as given to train.py.", required=True)
_INPUT = flags.DEFINE_multi_string("input", [], "File, folder or pattern; may be given several times.")
_OUT = flags.DEFINE_string("out", None, "Folder for the results.", required=True)
_HEATMAPS = flags.DEFINE_bool("heatmaps", False, "Write heat maps over the images, to OUT/heatmaps.")
_MAPS = flags.DEFINE_enum("maps", "", ["", "npy", "png16"], "Write raw maps at input size, to OUT/maps.")
_CONTOURS = flags.DEFINE_bool("contours", False, "Write outlines of anomalies as JSON, to OUT/contours.")
_CLASSES = flags.DEFINE_enum(
    "classes", None, ["inferred", "mixture"], "Where images' classes come from; by default as in the config."
)
_CLASS = flags.DEFINE_string("class", None, "Class of all images, where it is known.")
_THRESHOLD = flags.DEFINE_string(
    "threshold",
    None,
    "'tail' or 'conformal' (from the false-alarm rate), 'f1_max' (best on the dataset's labelled test "
    "images), or a number; for one class as CLASS=VALUE, several with a comma between; by default as in the "
    "config.",
)
_RATE = flags.DEFINE_string(
    "false_alarm_rate",
    None,
    "Share of good images that may be called anomalous; for one class as CLASS=RATE, several with a comma "
    "between; by default as in the config.",
)
_ROOT = flags.DEFINE_string(
    "root",
    "",
    "With --threshold=f1_max: where the dataset is now, if it has been moved since training.",
)


def main() -> None:
    """Runs the command."""
    shell.run(_predict, module=__name__, arguments=True)


def _predict(more_inputs: list[str]) -> int:
    inputs = [*_INPUT.value, *more_inputs]
    if not inputs:
        raise UserError("No images are given: --input=PATH, a file, a folder or a pattern.")
    import hgad_jax  # after the flags: importing jax takes a second
    from hgad_jax.runs import processes

    processes.refuse_several("predict.py")
    done = hgad_jax.predict(
        _WORKDIR.value,
        inputs,
        _OUT.value,
        outputs=hgad_jax.Outputs(_HEATMAPS.value, _MAPS.value, _CONTOURS.value),
        classes=_CLASSES.value,
        class_name=_CLASS.value,
        threshold=_THRESHOLD.value,
        false_alarm_rate=_RATE.value,
        root=_ROOT.value,
        log=shell.say,
    )
    return SOME_UNUSABLE if done.unreadable else DONE
