"""Where the time of a run goes, from the first image to the table of metrics.

    pip install 'hgad_jax[elpv]'
    python benchmarks/timeline.py --out=runs/timeline

Trains the default preset on ELPV and evaluates it, as `train.py` and `eval.py` do, with nothing computed
before and no program compiled. Each part is timed around the functions that the package itself calls; what a
part calls of another one counts for that one. Prints a table in the order of first use and ends with one line
of JSON: part → seconds.
"""

import argparse
import contextlib
import functools
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this checkout's package

from hgad_jax.config import get_config  # noqa: E402
from hgad_jax.evaluation import evaluate  # noqa: E402
from hgad_jax.inference import evidence_batches  # noqa: E402
from hgad_jax.runs import checkpoints, host  # noqa: E402
from hgad_jax.training import loop, selection  # noqa: E402

REST = "everything else"


class Stopwatch:
    """Seconds of parts that may call each other; each moment counts for the innermost."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._open, self._since = [REST], time.perf_counter()

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Times a block."""
        self._switch()
        self._open.append(name)
        self.seconds.setdefault(name, 0.0)
        try:
            yield
        finally:
            self._switch()
            self._open.pop()

    def _switch(self) -> None:
        now = time.perf_counter()
        self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._since
        self._since = now

    def timed(self, name: str, function: Callable, first: str | None = None) -> Callable:
        """The function, timed to the end of what it computes; its first call under another name."""
        calls = 0

        @functools.wraps(function)
        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            with self.part(first if first and calls == 1 else name):
                return jax.block_until_ready(function(*args, **kwargs))

        return call

    def each(self, name: str, iterate: Callable) -> Callable:
        """A generator function, whose steps are timed."""

        def generate(*args, **kwargs):
            steps = iterate(*args, **kwargs)
            with contextlib.closing(steps):
                while True:
                    with self.part(name):
                        item = next(steps, None)
                    if item is None:
                        return
                    yield item

        return generate


def patches(watch: Stopwatch) -> Iterator[Any]:
    """Puts the watch around what `train` and `evaluate` call."""

    def replace(module, name, value):
        return mock.patch.object(module, name, value)

    def made(make: Callable, name: str, first: str) -> Callable:
        return lambda *args, **kwargs: watch.timed(name, make(*args, **kwargs), first)

    def scorer(*args, load=evaluate.load_scorer, **kwargs):
        with watch.part("evaluation: model restored"):
            found = load(*args, **kwargs)
        look = watch.timed("evaluation: backbone and flow", found.evidence, "evaluation: compiled")
        return found._replace(evidence=look, calibrated=watch.timed("evaluation: maps", found.calibrated))

    for module, name, part in (
        (loop, "load_usable", "images checked"),
        (loop, "build_model", "backbone loaded"),
        (loop, "cached_features", "decoding and features"),
        (loop, "initial_model", "first layer"),
        (checkpoints, "save", "checkpoints"),
        (evaluate, "run_dataset", "evaluation: images checked"),
        (evaluate, "measure", "evaluation: metrics, intervals"),
    ):
        yield replace(module, name, watch.timed(part, getattr(module, name)))
    yield replace(loop, "training_features", watch.each("training: features read", loop.training_features))
    yield replace(loop, "make_step", made(loop.make_step, "training: steps", "training: compiled"))
    measure = made(selection._make_measure, "training: held-out likelihood", "training: compiled")
    yield replace(selection, "_make_measure", measure)
    yield replace(loop, "make_calibrate", made(loop.make_calibrate, "calibration", "calibration, compiled"))
    yield replace(evaluate, "load_scorer", scorer)
    batches = watch.each("evaluation: decoding", evidence_batches.image_batches)
    yield replace(evidence_batches, "image_batches", batches)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", default="runs/timeline", help="folder of the run, emptied first")
    parser.add_argument("--epochs", type=float, help="passes (default: the preset's)")
    parser.add_argument(
        "--experiment", default="hgad_elpv", help="of hgad-jax list experiments (default: hgad_elpv)"
    )
    parser.add_argument("--root", default="", help="its images, where they are no package's")
    args = parser.parse_args()
    config, out = get_config(args.experiment), Path(args.out)
    config.data.root = args.root
    config.train.epochs = config.train.epochs if args.epochs is None else args.epochs
    if out.exists() and not (out / "config.json").exists():
        parser.error(f"--out={out} is there and holds no run: it would be emptied.")
    shutil.rmtree(out, ignore_errors=True)
    host.use_cores(config.train.batch_size)
    watch = Stopwatch()
    with contextlib.ExitStack() as stack:
        for patch in patches(watch):
            stack.enter_context(patch)
        with watch.part(REST):
            loop.train(config, out, log=lambda line: print(line, file=sys.stderr))
            evaluate.evaluate(out, log=lambda line: print(line, file=sys.stderr))
    print(table(watch.seconds))
    print(json.dumps({name: round(value, 2) for name, value in watch.seconds.items()}))


def table(seconds: dict[str, float]) -> str:
    """Markdown: seconds and shares."""
    total = sum(seconds.values())
    rows = [f"| {name} | {value:.1f} | {value / total:.1%} |" for name, value in seconds.items()]
    head = ["| part | s | share |", "| --- | --- | --- |"]
    return "\n".join([*head, *rows, f"| all | {total:.1f} | |"])


if __name__ == "__main__":
    main()
