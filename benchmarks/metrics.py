"""Pixel metrics beside scikit-learn's: `python benchmarks/metrics.py --images=200`.

All pixel metrics of `hgad_jax.metrics` from disk, against scikit-learn's AUROC and average precision alone on
the same pixels in memory; CPU seconds and peak memory, each in a process of its own. The last line is JSON:
`{"time_ratio": ours over theirs, "memory_ratio": …}`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time

import numpy as np
from peak import peak_mb
from sklearn.metrics import average_precision_score, roc_auc_score

from hgad_jax.metrics.pixel import ImagePixels
from hgad_jax.metrics.pixel_images import pixel_metrics

_SIDE = 256  # pixels


def made_up(count: int):
    """Images of noise, every other one with a brighter rectangle."""
    for i in range(count):
        scores = np.random.default_rng(i).normal(size=(_SIDE, _SIDE)).astype(np.float32)
        mask = np.zeros(scores.shape, bool)
        if i % 2:
            mask[20:90, 30:70] = True
            scores[mask] += 1
        yield ImagePixels(0, bool(i % 2), scores, mask)


def ours(count: int) -> dict[str, float]:
    """All metrics, streamed."""
    with tempfile.TemporaryDirectory() as place:
        found = pixel_metrics(lambda: made_up(count), 1, place)[0].metrics
    return {"auroc": found["auroc"], "ap": found["ap"]}


def theirs(count: int) -> dict[str, float]:
    """Two of them, in memory."""
    pixels = [(image.mask.ravel(), image.scores.ravel()) for image in made_up(count)]
    masks, scores = (np.concatenate(part) for part in zip(*pixels, strict=True))
    return {"auroc": roc_auc_score(masks, scores), "ap": average_precision_score(masks, scores)}


def measured(name: str, count: int) -> dict[str, float]:
    """Runs one of the two in a process of its own."""
    command = [sys.executable, __file__, f"--images={count}", f"--only={name}"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Prints both and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--only", choices=["ours", "theirs"])
    arguments = parser.parse_args()
    if arguments.only:
        values = {"ours": ours, "theirs": theirs}[arguments.only](arguments.images)
        print(json.dumps(values | {"cpu_s": time.process_time(), "peak_mb": peak_mb()}))
        return
    found = {name: measured(name, arguments.images) for name in ("ours", "theirs")}
    for name, values in found.items():
        print(name, "  ".join(f"{key} {value:.6g}" for key, value in values.items()))
    ratio = {key: found["ours"][key] / found["theirs"][key] for key in ("cpu_s", "peak_mb")}
    print(json.dumps({"time_ratio": round(ratio["cpu_s"], 3), "memory_ratio": round(ratio["peak_mb"], 3)}))


if __name__ == "__main__":
    main()
