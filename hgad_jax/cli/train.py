"""Train a detector, or go on training: `hgad-jax train --config=hgad_folder --workdir=RUN`.

--config names an experiment (`hgad-jax list experiments`), with words after a colon, or a file of one's own.
Any setting (`hgad-jax config`) is changed by --config.SECTION.KEY=VALUE, such as --config.data.root=DIR.
"""

from absl import flags
from ml_collections import config_flags

from hgad_jax.cli import shell

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Experiment: its name, or a file.", lock_config=True
)
flags.mark_flag_as_required("config")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run: config, checkpoints, metrics, cache.", required=True
)
_COORDINATOR = flags.DEFINE_string("coordinator", None, "Several processes: HOST:PORT of process 0.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Several processes: how many.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Several processes: number of this one, from 0.")
_HEARTBEAT = flags.DEFINE_integer(
    "heartbeat", 60, "Several processes: seconds until a silent one is dead.", 1
)


def main() -> None:
    """Runs the command."""
    shell.run(_train, module=__name__)


def _train() -> None:
    import hgad_jax  # after the flags: importing jax takes a second
    from hgad_jax.runs import processes

    processes.initialize(
        _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value, heartbeat=_HEARTBEAT.value
    )
    log = shell.say if processes.is_first() else lambda line: None
    hgad_jax.train(_CONFIG.value, _WORKDIR.value, log=log)
