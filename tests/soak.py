"""Kills training again and again, at every phase, and compares what comes out with a run left alone.

    python tests/soak.py --kills=50 --terms=10 --damages=10 --seed=0 --steps=40

Each kill ends `train.py`, a real process, at a random moment: some wait for a checkpoint or the cache to be
in the middle of being written, the others come at any time. The same command is then run again. When a run is
through, its last checkpoint must equal, bit for bit, that of the run left alone, and a new run begins until
all kills are spent. SIGKILL is sent, or SIGTERM, and after some kills the newest checkpoint is damaged.
"""

import argparse
import collections
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
from trees import ROOT, TINY, add_class

SETTINGS = TINY | {
    "backbone.name": "tf_efficientnet_lite0",  # a user's run, and not one of the tests'
    "backbone.source": "auto",
    "backbone.taps": ("blocks.4",),
    "train.stage_two_epoch": 4.0,
    "train.checkpoint_every": 2,
}
DEFAULTS = {"kills": 50, "terms": 10, "damages": 10, "seed": 0, "steps": 40}
STEPS_AN_EPOCH = 2
EX_TEMPFAIL = 75
PARTS = ("params", "opt_state", "constants", "calibration")
UNREAD = ("_CHECKPOINT_METADATA", "commit_success.txt")  # orbax's; only whether they are there matters
WRITES = {"cache": "cache/*.tmp-*", "checkpoint": "checkpoints/*.orbax-checkpoint-tmp*"}


class Soak:
    """Runs of one config over the same images, each in its own folder below `place`."""

    def __init__(self, place: Path, seed: int, steps: int):
        self.place, self.random, self.steps = place, random.Random(seed), steps
        self.hits, self.restarts, self.rounds = collections.Counter(), 0, 0
        for name in ("brick", "grass"):
            add_class(place / "images", name, test=0)
        started = time.monotonic()
        self.finish(place / "reference")
        self.seconds = time.monotonic() - started

    def start(self, workdir: Path) -> subprocess.Popen:
        """The training command, always the same."""
        flags = [f"--config.{key}={value}" for key, value in SETTINGS.items()]
        flags += [f"--config.train.epochs={self.steps / STEPS_AN_EPOCH}"]
        flags += [f"--config.data.root={self.place / 'images'}", f"--workdir={workdir}"]
        command = [sys.executable, ROOT / "train.py", f"--config={ROOT}/configs/hgad_folder.py", *flags]
        environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "PYTHONPATH")}
        return subprocess.Popen(
            command, env=environment | {"JAX_PLATFORMS": "cpu"}, stderr=subprocess.PIPE, text=True
        )

    def finish(self, workdir: Path) -> str:
        """Runs it undisturbed; returns what it said."""
        process = self.start(workdir)
        _, said = process.communicate()
        assert process.returncode == 0, said
        return said

    def interrupt(self, workdir: Path, number: signal.Signals, phase: str) -> bool:
        """Sends a signal in a phase, or at any moment; returns whether the run was through before it came."""
        if phase == "cache":  # it may be deleted at any time
            remove(workdir / "cache")
        before = leftovers(workdir)
        process = self.start(workdir)
        self.wait(process, workdir, phase, before)
        process.send_signal(number)
        _, said = process.communicate()
        self.restarts += 1
        through = process.returncode == 0
        if not through:
            expected = -signal.SIGKILL if number == signal.SIGKILL else EX_TEMPFAIL
            at_start = (
                number == signal.SIGTERM and process.returncode == -signal.SIGTERM
            )  # before any handler
            assert process.returncode == expected or at_start, (process.returncode, said)
            self.note(f"{number.name} {self.hit(workdir, before, said)}")
        return through

    def wait(self, process, workdir: Path, phase: str, before: set) -> None:
        """Until the phase has begun and a random time has passed, or the run is through."""
        moment = time.monotonic() + self.random.uniform(0, 1.2 * self.seconds)
        if phase in WRITES:
            while process.poll() is None and not any(p for p, _ in leftovers(workdir) - before if p == phase):
                time.sleep(0.001)
            for _ in range(self.random.randrange(4) if phase == "checkpoint" else 0):  # not always the first
                seen = leftovers(workdir)
                while process.poll() is None and not leftovers(workdir) - seen:
                    time.sleep(0.001)
            moment = time.monotonic() + self.random.uniform(0, 0.03)
        while process.poll() is None and time.monotonic() < moment:
            time.sleep(0.001)

    def note(self, what: str) -> None:
        """Counts what was done and says it, so that the figures are there whatever ends this script."""
        self.hits[what] += 1
        print(f"{what}, the {self.hits[what]}. time", flush=True)

    def hit(self, workdir: Path, before: set, said: str) -> str:
        """Where a run was when it was ended, by what it left."""
        new = {phase for phase, _ in leftovers(workdir) - before}
        for phase in WRITES:
            if phase in new:
                return f"in a {phase} write"
        if "is saved after step" in said:
            return "in training, saved"
        return "between writes" if "training:" in said else "before training"

    def damage(self, workdir: Path) -> bool:
        """Cuts short or flips a bit of a file of the newest checkpoint; False without one before it."""
        steps = sorted(int(p.name) for p in (workdir / "checkpoints").glob("*") if p.name.isdigit())
        if len(steps) < 2:
            return False
        folder = workdir / "checkpoints" / str(steps[-1])
        files = sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size)
        path = self.random.choice([p for p in files if p.name not in UNREAD])
        content = bytearray(path.read_bytes())
        kind = self.random.choice(("cut short", "bit flipped"))
        if kind == "cut short":
            del content[self.random.randrange(len(content) - 1) :]  # more than the newline at an end
        else:
            content[self.random.randrange(len(content))] ^= 1 << self.random.randrange(8)
        path.write_bytes(content)
        said = f"{path} was {kind}.\n{self.finish(workdir)}"
        self.restarts += 1
        assert f"{folder}: this checkpoint is damaged" in said, said
        assert f"Going on from step {steps[-2]}" in said, said
        self.note(f"newest checkpoint {kind}")
        return True

    def compare(self, workdir: Path) -> None:
        """The last checkpoint with that of the run left alone, bit for bit."""
        self.rounds += 1
        reference, found = (
            arrays(w / "checkpoints" / str(self.steps)) for w in (self.place / "reference", workdir)
        )
        assert reference.keys() == found.keys()
        different = [key for key in reference if reference[key] != found[key]]
        assert not different, f"{workdir}: other bits in {', '.join(different)}"
        print(f"{workdir.name} is equal, {self.restarts} restarts so far", flush=True)


def leftovers(workdir: Path) -> set[tuple[str, tuple]]:
    """What is being written or was left half-written: phase, and what tells one such folder from another."""
    found = set()
    for phase, pattern in WRITES.items():
        for path in workdir.glob(pattern):
            try:
                found.add((phase, (path.name, path.stat().st_ino)))
            except FileNotFoundError:
                continue
    return found


def remove(folder: Path) -> None:
    """Removes a folder of folders of files."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def arrays(checkpoint: Path) -> dict[str, tuple]:
    """Type, shape and bytes of every array of a checkpoint by its place."""
    import jax

    found = {}
    for part in PARTS:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
            # As NumPy's, since this process may have other devices than those that trained.
            as_numpy = jax.tree.map(
                lambda _: ocp.RestoreArgs(restore_type=np.ndarray),
                reader.metadata(checkpoint / part).item_metadata.tree,
            )
            tree = reader.restore(checkpoint / part, args=ocp.args.PyTreeRestore(restore_args=as_numpy))
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
            array = np.asarray(leaf)
            found[part + jax.tree_util.keystr(path)] = (str(array.dtype), array.shape, array.tobytes())
    return found


def soak(place: Path, *, kills: int, terms: int, damages: int, seed: int, steps: int) -> Soak:
    """Spends all kills, then all damages; raises AssertionError at the first difference."""
    run = Soak(place, seed, steps)
    plan = [signal.SIGKILL] * kills + [signal.SIGTERM] * terms
    run.random.shuffle(plan)
    phases = ["cache", "checkpoint", "any", "checkpoint", "any"]
    number = 0
    while plan:
        workdir = place / f"run{(number := number + 1)}"
        through = False
        while plan and not through:
            through = run.interrupt(workdir, plan[-1], phases[len(plan) % len(phases)])
            if not through:
                plan.pop()
        if not through:
            run.finish(workdir)
        run.compare(workdir)
    if damages and not number:
        run.finish(place / f"run{(number := 1)}")
    for _ in range(damages):  # of the last run, which goes on from the checkpoint before
        workdir = place / f"run{number}"
        assert run.damage(workdir), "two checkpoints are kept"
        run.compare(workdir)
    return run


def main() -> None:
    """Runs the soak and prints its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in DEFAULTS.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = vars(parser.parse_args())
    with tempfile.TemporaryDirectory(prefix="hgad_jax_soak_") as place:
        run = soak(Path(place), **arguments)
    for what, count in sorted(run.hits.items()):
        print(f"{count:5} {what}")
    print(f"{run.restarts} restarts, {run.rounds} runs finished, all equal bit for bit to the run left alone")


if __name__ == "__main__":
    main()
