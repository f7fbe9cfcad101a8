"""Times the input side: decoding beside PyTorch's DataLoader, the cache beside the backbone, and memory.

    pip install 'hgad_jax[bench]'
    python benchmarks/input.py                # textures made on the spot
    python benchmarks/input.py --root my_images

Three parts, each in alternating rounds, so that whatever slows the machine slows both sides:

1. images per second decoded and squashed to 256 pixels, by our threads and by as many worker processes of
   torch's DataLoader with Pillow; it is first checked that both give the same pixels;
2. an epoch of training with features from the cache, and with the backbone run at every step, for HGAD as
   published (EfficientNet-B6, whose weights, here random, do not matter for the time; at 256 pixels) and for
   the default preset (EfficientNet-Lite0). Both sides take the same training step, so that the time to get
   the features is given by itself, too;
3. the peak memory of filling a cache and reading it in training order, for few and for many images, each in
   a process of its own.

The last line is JSON. Ratios are the other side's time over ours, of medians: above one, ours is faster.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import optax
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))  # where this file's fellows are
sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout's package

from peak import peak_mb

from hgad_jax.config import get_config
from hgad_jax.data import own
from hgad_jax.data.augment import augmented_batches
from hgad_jax.data.geometry import Transform, transform_of
from hgad_jax.data.pipeline import image_batches, training_indices
from hgad_jax.data.records import GOOD, Record
from hgad_jax.flows.grid import draw_grids, take
from hgad_jax.runs import extraction, host
from hgad_jax.runs import model as setup
from hgad_jax.runs.mesh import data_mesh, replicate
from hgad_jax.training import step
from hgad_jax.training.batches import placed

SIZE = 256  # pixels
BATCH = 32
LIMIT_MB = 100  # by which the peak memory of few and many images may differ


def main() -> None:
    """Command line."""
    args = _parse_arguments()
    if args.memory_of:
        print(peak_memory(args.memory_of, args.workers))
        return
    torch_images = _import_torch()
    host.use_cores()
    with tempfile.TemporaryDirectory() as folder:
        records = list_images(args.root) if args.root else make_textures(Path(folder), args.images)
        load = os.getloadavg()[0]
        print(f"{len(records)} images, {args.workers} workers, load average {load:.1f}")
        decoding = time_decoding(torch_images, records, args.workers, args.rounds)
        epochs = {
            name: time_epochs(name, config, records, Path(folder) / "cache", args.workers, args.rounds)
            for name, config in presets().items()
        }
    memory = {} if args.no_memory else compare_memory(args.few, args.many, args.workers)
    print(json.dumps({"workers": args.workers, **decoding, "epochs": epochs, **memory}))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--root", default="", help="folder of images as for training; default: textures")
    parser.add_argument("--images", type=int, default=256, help="textures to make (default 256)")
    parser.add_argument("--workers", type=int, default=2, help="threads, and processes of torch (default 2)")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (default 5)")
    parser.add_argument("--few", type=int, default=500, help="images of the smaller cache (default 500)")
    parser.add_argument("--many", type=int, default=5000, help="and of the larger one (default 5000)")
    parser.add_argument("--no-memory", action="store_true", help="leave out part 3, which takes minutes")
    parser.add_argument("--memory-of", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if min(args.images, args.workers, args.rounds, args.few) < 1 or args.many <= args.few:
        parser.error("Numbers must be at least 1, and --many above --few.")
    return args


def _import_torch() -> ModuleType:
    try:
        import torch_images
    except ImportError as error:
        print(
            f"The benchmark needs PyTorch to compare with: {error}. "
            "Install it with: pip install 'hgad_jax[bench]'",
            file=sys.stderr,
        )
        sys.exit(2)
    return torch_images


def list_images(root: str) -> list[Record]:
    """The good training images of a user's folder."""
    config = get_config("hgad_folder")
    config.data.root = root
    return list(own.load(config.data).train)


def make_textures(folder: Path, count: int, side: int = 512) -> list[Record]:
    """JPEG images of noise that is smooth at several scales, about as large as photographs of that size."""
    rng = np.random.default_rng(0)
    records = []
    for number in range(count):
        pixels = np.zeros((side, side, 3))
        for scale in (4, 32, 256):
            noise = rng.integers(0, 256, (scale, scale, 3), np.uint8)
            pixels += np.asarray(Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)) / 3
        path = folder / f"{number:05}.jpg"
        Image.fromarray(pixels.astype(np.uint8)).save(path, quality=90)
        records.append(Record(str(path), "texture", "train", GOOD))
    return records


def alternate(contenders: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each contender; a first round is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(times)) for name, times in seconds.items()}


def check_pixels(torch_images: ModuleType, records: list[Record], workers: int) -> None:
    """End the program unless both sides give the same batches, in the same order."""
    loader = torch_images.make_loader(
        [r.path for r in records], size=SIZE, batch_size=BATCH, num_workers=workers
    )
    ours = image_batches(records, transform=Transform(SIZE), batch_size=BATCH, num_workers=workers)
    for batch, theirs in zip(ours, torch_images.batches(loader), strict=True):
        if not np.array_equal(batch["image"][batch["valid"]], theirs):
            sys.exit("The two sides decode different pixels, so their times mean nothing.")


def time_decoding(
    torch_images: ModuleType, records: list[Record], workers: int, rounds: int
) -> dict[str, float]:
    """Part 1."""
    check_pixels(torch_images, records, workers)
    paths = [record.path for record in records]
    loader = torch_images.make_loader(paths, size=SIZE, batch_size=BATCH, num_workers=workers)

    def ours():
        for _ in image_batches(records, transform=Transform(SIZE), batch_size=BATCH, num_workers=workers):
            pass

    def theirs():
        for _ in torch_images.batches(loader):
            pass

    seconds = alternate({"ours": ours, "torch": theirs}, rounds)
    rates = {name: len(records) / value for name, value in seconds.items()}
    ratio = seconds["torch"] / seconds["ours"]
    print(
        f"decoding: {rates['ours']:.0f} images/s, torch's DataLoader {rates['torch']:.0f}: "
        f"{ratio:.2f} times as fast"
    )
    return {
        "images_per_s": rates["ours"],
        "torch_images_per_s": rates["torch"],
        "decoding_ratio": ratio,
    }


def presets() -> dict[str, Any]:
    """The configs whose epochs are timed."""
    published = get_config("hgad_folder", "paper")
    published.data.image_size = SIZE
    published.backbone.update(name="tf_efficientnet_b6.aa_in1k", source="random")
    return {"published": published, "default": get_config("hgad_folder")}


def time_epochs(
    name: str, config: Any, records: list[Record], cache_dir: Path, workers: int, rounds: int
) -> dict[str, float]:
    """Part 2, on as many images as make two batches."""
    batch = config.train.batch_size
    records = (records * (2 * batch))[: 2 * batch]
    config.data.workers = workers
    model = setup.build_model(config, 1)
    cache = setup.cached_features(config, model.levels, records, str(cache_dir), lambda line: None)
    order = training_indices(len(records), batch_size=batch, seed=0)
    train = make_train(config, model, cache)

    def grids(number):
        return draw_grids(np.random.default_rng(number), model.levels.sizes, config.train.positions)

    def from_cache(consume=lambda features, grids: None):
        for number in range(len(records) // batch):
            consume(cache.gather(order[number], grids(number)), grids(number))

    def from_backbone(consume=lambda features, grids: None):
        batches = augmented_batches(
            records,
            transform=transform_of(config.data),
            batch_size=batch,
            seed=0,
            degrees=0.0,
            num_workers=workers,
        )
        for number in range(len(records) // batch):
            features, chosen = extraction.features_of(model.levels, next(batches)["image"]), grids(number)
            if chosen is not None:
                features = tuple(take(x, grid, 1) for x, grid in zip(features, chosen, strict=True))
            consume(features, chosen)
        batches.close()

    contenders = {
        "features_cache": from_cache,
        "features_backbone": from_backbone,
        "epoch_cache": lambda: from_cache(train),
        "epoch_backbone": lambda: from_backbone(train),
    }
    seconds = alternate(contenders, rounds)
    for kind, text in (("features", "features of an epoch"), ("epoch", "epoch of training")):
        cached, computed = seconds[f"{kind}_cache"], seconds[f"{kind}_backbone"]
        print(
            f"{name}: {text}, {len(records)} images: {cached:.3f} s from the cache, "
            f"{computed:.3f} s with the backbone: {computed / cached:.1f} times as fast"
        )
        seconds[f"{kind}_ratio"] = computed / cached
    return seconds


def make_train(config, model, cache) -> Callable[[tuple[np.ndarray, ...], Any], None]:
    """A function that takes a training step on a batch's features, of the positions of grids."""
    labels = np.zeros(config.train.batch_size, np.int32)
    features = cache.gather(np.arange(config.train.batch_size))
    batches = [lambda level=level: iter([(level, labels)]) for level in features]
    params, constants = model.detector.init(jax.random.key(0), batches)
    optimizer = optax.adam(config.train.learning_rate)
    mesh = data_mesh()
    state, constants = replicate(mesh, step.init_state(params, optimizer)), replicate(mesh, constants)
    train_step = step.make_train_step(
        model.detector,
        optimizer,
        lambda number: dict(config.loss),
        mesh,
        micro_batches=math.gcd(config.train.micro_batches, config.train.batch_size // mesh.size),
    )

    def train(features, grids) -> None:
        nonlocal state
        batch = placed(mesh, config.train.batch_size, features, labels, grids)
        state, metrics = train_step(state, constants, *batch)
        jax.block_until_ready(metrics)

    return train


def compare_memory(few: int, many: int, workers: int) -> dict[str, float]:
    """Part 3."""
    peaks = {}
    for count in (few, many):
        command = [sys.executable, __file__, "--memory-of", str(count), "--workers", str(workers)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        peaks[count] = float(done.stdout.split()[-1])
    difference = peaks[many] - peaks[few]
    print(
        f"peak memory: {peaks[few]:.0f} MB for {few} images, {peaks[many]:.0f} MB for {many}: "
        f"{difference:+.0f} MB (at most {LIMIT_MB} are wanted)"
    )
    return {"peak_mb_few": peaks[few], "peak_mb_many": peaks[many], "peak_mb_difference": difference}


def peak_memory(count: int, workers: int) -> float:
    """MB at the highest, after filling a cache of so many images and reading an epoch of it."""
    config = get_config("hgad_folder")
    config.data.workers = workers
    with tempfile.TemporaryDirectory() as folder:
        records = make_textures(Path(folder), count, side=SIZE)
        model = setup.build_model(config, 1)
        cache = setup.cached_features(config, model.levels, records, folder, lambda line: None)
        order = training_indices(count, batch_size=BATCH, seed=0)
        for number in range(-(-count // BATCH)):
            cache.gather(order[number])
    return peak_mb()


if __name__ == "__main__":
    main()
