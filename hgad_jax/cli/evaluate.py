"""Evaluate a trained detector: `hgad-jax eval --workdir=RUN`; prints a table and writes results.json."""

from absl import flags

from hgad_jax.cli import shell

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run, as given to train.py.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder for results.json; by default WORKDIR/eval.")
_ROOT = flags.DEFINE_string("root", "", "Where the dataset is now, if it has been moved since training.")
_SPLIT = flags.DEFINE_string("split", "test", "Split of the dataset.")
_PROTOCOL = flags.DEFINE_enum(
    "protocol", None, ["calibrated", "paper"], "How scores are normalised; by default as in the config."
)
_CLASSES = flags.DEFINE_enum(
    "classes",
    None,
    ["inferred", "mixture", "given"],
    "Where test images' classes come from; by default as in the config.",
)
_TERMS = flags.DEFINE_enum(
    "terms",
    None,
    ["both", "likelihood", "entropy"],
    "Protocol paper, HGAD: maps of likelihood times entropy, or of one alone; by default as in the config.",
)
_THRESHOLD = flags.DEFINE_string(
    "threshold",
    None,
    "'tail' or 'conformal' (from the false-alarm rate), or a number; for one class as CLASS=VALUE; by "
    "default what the run decides by.",
)
_RATE = flags.DEFINE_string(
    "false_alarm_rate",
    None,
    "Share of good images that may be called anomalous; for one class as CLASS=RATE, several with a comma "
    "between; by default what the run decides by.",
)
_BOOTSTRAP = flags.DEFINE_integer(
    "bootstrap",
    1000,
    "Times that the images are resampled for the 95 % intervals; 0 for none.",
    lower_bound=0,
)
_REPORT = flags.DEFINE_boolean(
    "report", False, "Also write report.html, one file to look at, beside results.json."
)
_NORMALITY = flags.DEFINE_boolean(
    "normality",
    False,
    "Also tell how normal the latents of good test images are: Kolmogorov-Smirnov (AltUB, Table 5).",
)


def main() -> None:
    """Runs the command."""
    shell.run(_evaluate, module=__name__)


def _evaluate() -> None:
    import hgad_jax  # after the flags: importing jax takes a second
    from hgad_jax.runs import processes

    processes.refuse_several("eval.py")
    hgad_jax.evaluate(
        _WORKDIR.value,
        out=_OUT.value,
        root=_ROOT.value,
        split=_SPLIT.value,
        protocol=_PROTOCOL.value,
        classes=_CLASSES.value,
        terms=_TERMS.value,
        threshold=_THRESHOLD.value,
        false_alarm_rate=_RATE.value,
        replicates=_BOOTSTRAP.value,
        report=_REPORT.value,
        normality=_NORMALITY.value,
    )
