"""Choose a threshold: `hgad-jax decide --workdir=RUN` shows what rates of false alarms promise and cost.

Misses and false alarms are those of labelled images, once `hgad-jax eval` has scored them. Writes decide.html
into RUN, with the figures. --write keeps the choice in RUN, where predict, eval and Predictor find it:
`hgad-jax decide --workdir=RUN --false_alarm_rate=screw=0.02 --write`.
"""

from absl import flags

from hgad_jax.cli import shell
from hgad_jax.errors import UserError

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run, as given to train.py.", required=True)
_RATE = flags.DEFINE_string(
    "false_alarm_rate",
    None,
    "Share of good images that may be called anomalous; for one class as CLASS=RATE, several with a comma "
    "between; by default as it is.",
)
_THRESHOLD = flags.DEFINE_string(
    "threshold",
    None,
    "'tail' or 'conformal' (from the false-alarm rate), or a number; for one class as CLASS=VALUE; by "
    "default as it is.",
)
_SCORES = flags.DEFINE_string("scores", None, "scores.csv of an evaluation; by default RUN/eval/scores.csv.")
_COSTS = flags.DEFINE_string(
    "costs",
    None,
    "What a miss and a false alarm cost, in any one unit, and the share of defective parts, such as "
    "miss=50,false_alarm=1,defects=0.02: the row with the least cost is marked.",
)
_WRITE = flags.DEFINE_boolean("write", False, "Keep the choice in RUN.")


def main() -> None:
    """Runs the command."""
    shell.run(_decide, module=__name__)


def _decide() -> None:
    import hgad_jax  # after the flags: importing jax takes a second

    hgad_jax.decide(
        _WORKDIR.value,
        threshold=_THRESHOLD.value,
        false_alarm_rate=_RATE.value,
        scores=_SCORES.value,
        costs=_costs(_COSTS.value),
        write=_WRITE.value,
        log=shell.say,
    )


def _costs(text: str | None) -> dict[str, float] | None:
    if text is None:
        return None
    found = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError as error:
            raise UserError(f"--costs: {part.strip()!r} is no NAME=NUMBER, such as miss=50.") from error
    return found
