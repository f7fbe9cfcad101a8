"""One image at a time, as on a line: where the milliseconds go, of a run and of what was exported of it.

    python benchmarks/latency.py --run=RUN --artefact=OUT [--onnx=OUT]

With --onnx, what `hgad-jax export --format=onnx` wrote, by its own decide.py and ONNX Runtime. Start-up
is that of processes of their own, with nothing compiled before (`cold`) and once more (`warm`): seconds
from the first import to the first answer, and the most memory it took. Steady times are taken in one
process, all sides in turn, so that a busy machine is as busy for all. The last line is JSON.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's package

import numpy as np
from PIL import Image

STAGES = ("decode", "transform", "model", "decision", "whole")
PERCENTILES = (50, 95, 99)
SIDES = ("run", "artefact", "onnx")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--run", required=True, help="folder of a run")
    parser.add_argument("--artefact", required=True, help="what `hgad-jax export` made of it")
    parser.add_argument("--onnx", default="", help="what `hgad-jax export --format=onnx` made of it")
    parser.add_argument("--image", default="", help="a file; by default one of 300×300 pixels is made")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--start", default="", choices=["", *SIDES], help="measure a start-up only")
    args = parser.parse_args()
    if args.start:
        print(json.dumps(start_up(args.start, getattr(args, args.start), args.image)))
        return
    with tempfile.TemporaryDirectory() as folder:
        image = args.image or made(Path(folder) / "image.png")
        sides = [side for side in SIDES if getattr(args, side)]
        found = {"start": {side: started(args, side, image, Path(folder)) for side in sides}}
        found |= steady({side: getattr(args, side) for side in sides}, image, args.rounds)
    show(found, sides)
    print(json.dumps(found))


def made(path: Path) -> str:
    """An image of a camera with a little noise."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(40, 200, 300)[:, None] + rng.normal(0, 8, (300, 300))
    Image.fromarray(ramp.clip(0, 255).astype(np.uint8)).save(path)
    return str(path)


def started(args: argparse.Namespace, side: str, image: str, folder: Path) -> dict[str, dict[str, float]]:
    """Start-up of a side, twice, in processes of its own."""
    command = [sys.executable, *sys.orig_argv[1 : sys.orig_argv.index(sys.argv[0])], __file__]
    command += [f"--run={args.run}", f"--artefact={args.artefact}", f"--onnx={args.onnx}"]
    command += [f"--image={image}", f"--start={side}"]
    kept = {"JAX_COMPILATION_CACHE_DIR": str(folder / side)}

    def once():
        done = subprocess.run(command, env=os.environ | kept, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return {"cold": once(), "warm": once()}


def start_up(side: str, path: str, image: str) -> dict[str, float]:
    """From before the first import of jax to the first answer, seconds; megabytes at most."""
    start = time.perf_counter()
    load_side(side, path)(image)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"seconds": round(seconds, 2), "megabytes": round(peak / 1e6)}


def load_side(side: str, path: str):
    """The predictor of a side, with compiled programs kept, as the commands keep them."""
    if side == "onnx":
        return onnx_side(path)
    import hgad_jax

    if side == "artefact":
        return hgad_jax.load(path)
    from hgad_jax.runs import host

    host.keep_compiled()
    return hgad_jax.Predictor.load(path)


class Clocked:
    """A scorer whose share of the time is noted."""

    def __init__(self, scorer):
        self._scorer, self.seconds = scorer, 0.0

    def __getattr__(self, name: str):
        """All else is the scorer's."""
        return getattr(self._scorer, name)

    def scored(self, *arguments):
        """As the scorer's."""
        import jax

        start = time.perf_counter()
        found = jax.device_get(self._scorer.scored(*arguments))
        self.seconds = time.perf_counter() - start
        return found


def onnx_side(path: str):
    """(image) → what decide.py of a folder says; `stages` takes it apart."""
    sys.path.insert(0, path)
    import decide

    model = decide.load(path)

    def of_image(image: str):
        return decide.decide(model, image)

    def taken_apart(image: str) -> list[float]:
        clock = time.perf_counter
        start = clock()
        with Image.open(image) as opened:
            opened.load()
        decoded = clock()
        pixels, box = decide.pixels_of(image, model.about)
        loaded = clock()
        count = model.about["images_at_once"]
        inputs = {"images": np.stack([pixels] * count), "boxes": np.array([box] * count, np.int32)}
        model.session.run(model.about["outputs"], inputs)
        scored = clock()
        decoding = decoded - start
        return [decoding, max(0.0, loaded - decoded - decoding), scored - loaded, 0.0, scored - decoded]

    of_image.stages = taken_apart
    return of_image


def steady(paths: dict[str, str], image: str, rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Percentiles of each stage, milliseconds, of all sides."""
    sides = {side: load_side(side, path) for side, path in paths.items()}
    sides = {n: p if n == "onnx" else p._replace(scorer=Clocked(p.scorer)) for n, p in sides.items()}
    times = {name: [] for name in sides}
    for round_ in range(rounds + 2):
        for name, side in sides.items():
            taken = side.stages(image) if name == "onnx" else stages(side, image)
            if round_ >= 2:  # the first compile
                times[name].append(taken)
    return {name: summary(np.array(of_side)) for name, of_side in times.items()}


def stages(predictor, image: str) -> list[float]:
    """Seconds of each of `STAGES`, of one image: what `predictor(image)` does, taken apart."""
    from hgad_jax.data.decode import decode
    from hgad_jax.data.geometry import map_to_image
    from hgad_jax.data.transforms import load

    transform, clock = predictor.scorer.transform, time.perf_counter
    start = clock()
    decode(image, max_pixels=transform.max_pixels)
    decoded = clock()
    square, size, _ = load(image, transform)  # decodes once more
    loaded = clock()
    (found,) = predictor.decide([square], [size], predictor.class_id(None))
    map_to_image(found.prediction.map, transform, size)
    end = clock()
    decoding, model = decoded - start, predictor.scorer.seconds
    return [decoding, max(0.0, loaded - decoded - decoding), model, end - loaded - model, end - decoded]


def summary(seconds: np.ndarray) -> dict[str, dict[str, float]]:
    """Percentiles of each stage, milliseconds: seconds `[rounds, stages]`."""
    found = np.percentile(1e3 * seconds, PERCENTILES, axis=0)
    return {
        stage: {f"p{p}": round(float(found[i, j]), 3) for i, p in enumerate(PERCENTILES)}
        for j, stage in enumerate(STAGES)
    }


def show(found: dict, sides: list[str]) -> None:
    """Prints tables."""
    for side in sides:
        start = found["start"][side]
        said = ", ".join(f"{how} {v['seconds']:.2f} s and {v['megabytes']} MB" for how, v in start.items())
        print(f"{side}: first answer {said}")
    print(f"{'ms':>10}" + "".join(f"{f'{side} p{p}':>15}" for side in sides for p in PERCENTILES))
    for stage in STAGES:
        cells = [found[side][stage][f"p{p}"] for side in sides for p in PERCENTILES]
        print(f"{stage:>10}" + "".join(f"{cell:15.2f}" for cell in cells))


if __name__ == "__main__":
    main()
