"""Train a detector: `python train.py --config=configs/hgad_elpv.py --workdir=DIR`. Run again to go on."""

from absl import flags
from ml_collections import config_flags

from hgad_jax import cli

_CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment, a file of configs/.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: config, checkpoints, metrics, cache.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "Several processes: HOST:PORT of process 0.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Several processes: how many.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Several processes: number of this one, from 0.")
_HEARTBEAT = flags.DEFINE_integer(
    "heartbeat", 60, "Several processes: seconds until a silent one is dead.", 1
)
flags.mark_flags_as_required(["config", "workdir"])


def main():
    """Trains in --workdir."""
    from hgad_jax.detectors import in_fibres
    from hgad_jax.training import host, processes  # after the flags: importing jax takes a second
    from hgad_jax.training.loop import train

    processes.initialize(
        _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value, heartbeat=_HEARTBEAT.value
    )
    host.keep_compiled()
    host.use_cores(1 if in_fibres(_CONFIG.value.detector) else _CONFIG.value.train.batch_size)
    train(_CONFIG.value, _WORKDIR.value, log=cli.say if processes.is_first() else lambda line: None)


if __name__ == "__main__":
    cli.run(main)
