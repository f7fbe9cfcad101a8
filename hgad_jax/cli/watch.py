"""Score each image that a camera writes into a folder: `hgad-jax watch RUN DIR --out=scores.jsonl`.

RUN is the folder of a trained run, DIR the folder that is watched, with all below it. Each image is scored
once, when it is whole, and gets a line of JSON. The same command goes on where the last one ended, however
that was: nothing is lost, nothing is scored twice. Exit status: 0 ended by SIGTERM or Ctrl-C, 1 likewise but
some images could not be read, 2 something to mend (a full disk, too), 3 a fault of hgad_jax.
"""

import functools
from pathlib import Path

from absl import flags

from hgad_jax.cli import shell
from hgad_jax.errors import UserError
from hgad_jax.exit_status import DONE, SOME_UNUSABLE
from hgad_jax.files import expanded

_OUT = flags.DEFINE_string("out", None, "File that gets a line of JSON for each image.", required=True)
_HEATMAPS = flags.DEFINE_string("heatmaps", None, "Folder for heat maps (in heatmaps/ there); none without.")
_EVERY = flags.DEFINE_float("every", 0.5, "Seconds between two looks at the folder.", lower_bound=0.01)
_SETTLE = flags.DEFINE_float(
    "settle", 1.0, "Seconds for which size and time of a file must not change before it is read.", 0.0
)
_PATIENCE = flags.DEFINE_float(
    "patience", 30.0, "Seconds after which a file that does not change and cannot be read is given up.", 0.0
)
_CLASS = flags.DEFINE_string("class", None, "Class of all images, where it is known.")
_THRESHOLD = flags.DEFINE_string(
    "threshold",
    None,
    "'tail' or 'conformal' (from the false-alarm rate), or a number; for one class as CLASS=VALUE, several "
    "with a comma between; by default as in the config.",
)
_RATE = flags.DEFINE_string(
    "false_alarm_rate",
    None,
    "Share of good images that may be called anomalous; for one class as CLASS=RATE, several with a comma "
    "between; by default as in the config.",
)
_SKIP = flags.DEFINE_bool("skip_existing", False, "At the very first start, leave alone what is there.")
_ONCE = flags.DEFINE_bool("once", False, "End when nothing is left to score, instead of waiting for more.")


def main() -> None:
    """Runs the command."""
    shell.run(_watch, module=__name__, arguments=True)


def _watch(given: list[str]) -> int:
    if len(given) != 2:
        raise UserError(f"Expected a model and a folder, hgad-jax watch RUN DIR --out=FILE; got {given}.")
    from hgad_jax.runs import host, processes  # after the flags: importing jax takes a second
    from hgad_jax.serving import watch
    from hgad_jax.serving.models import open_model

    processes.refuse_several("hgad-jax watch")
    host.keep_compiled()  # and all cores are one device, as in hgad-jax serve
    settings = watch.Settings(
        every=_EVERY.value,
        settle=_SETTLE.value,
        patience=_PATIENCE.value,
        heatmaps=None if _HEATMAPS.value is None else Path(expanded(_HEATMAPS.value)),
        skip_existing=_SKIP.value,
        class_name=_CLASS.value,
        once=_ONCE.value,
    )
    stop = watch.until_signalled()
    chosen = functools.partial(open_model, threshold=_THRESHOLD.value, false_alarm_rate=_RATE.value)
    done = watch.watch(given[0], given[1], _OUT.value, settings, log=shell.say, stop=stop, open_it=chosen)
    shell.say(f"ended: {done.scored} images scored, {done.anomalous} anomalous; {done.unreadable} unreadable")
    return SOME_UNUSABLE if done.unreadable else DONE
