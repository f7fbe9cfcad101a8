"""Train a detector: `python train.py --config=configs/hgad_elpv.py --workdir=DIR`. Run again to go on."""

from absl import flags
from ml_collections import config_flags

from hgad_jax import cli

_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment, a file of configs/.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: config, checkpoints, metrics, cache.")
flags.mark_flags_as_required(["config", "workdir"])


def main():
    """Trains in --workdir."""
    from hgad_jax.training.loop import train  # after the flags: importing jax takes a second

    train(_CONFIG.value, _WORKDIR.value, log=cli.say)


if __name__ == "__main__":
    cli.run(main)
