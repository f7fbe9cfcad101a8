"""What each way to combine levels and terms is worth: `python benchmarks/combination.py --workdir=DIR`.

Evidence on the test images of a trained run is computed once; then every combination of
`hgad_jax/scoring/combination.py` is measured on it, with the constants that the run fitted to held-out good
images, and with classes inferred. Prints a Markdown table of image AUROC for each share of highest pixels,
and of pixel AUROC and AUPRO where there are masks (of every --pixel_stride-th pixel in both directions);
then, for the run's own settings, image AUROC without and with the images' classes given, and how many
classes were found right. Ends with one line of JSON.
"""

import functools
import json
import sys
from pathlib import Path

import jax
import numpy as np
from absl import app, flags
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))

from hgad_jax.data import load_dataset
from hgad_jax.data.pipeline import image_batches
from hgad_jax.data.transforms import load_mask
from hgad_jax.inference.scorer import load_scorer
from hgad_jax.metrics.region import aupro
from hgad_jax.scoring.combination import COMBINATIONS
from hgad_jax.scoring.constants import of_classes
from hgad_jax.scoring.maps import image_score

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a trained run.")
_STRIDE = flags.DEFINE_integer("pixel_stride", 1, "Pixel metrics of every n-th pixel.", lower_bound=1)
_CLASSES = flags.DEFINE_list("classes", [], "Classes to measure; by default all.")
flags.mark_flag_as_required("workdir")
FRACTIONS = (0.0, 0.001, 0.01, 0.05, 0.2, 1.0)
_PART = 16


def collect(scorer, records, labels):
    """Evidence on records with classes inferred and with classes given, on the host."""
    config, parts, apply = scorer.config, [], jax.jit(scorer.levels.apply)
    batches = image_batches(
        records,
        transform=scorer.transform,
        batch_size=config.scoring.batch_size,
        num_workers=config.data.workers,
    )
    for batch in tqdm(batches, total=-(-len(records) // config.scoring.batch_size), unit="batch"):
        features = apply(scorer.levels.variables, batch["image"])
        ids = labels[batch["index"]]
        inferred = jax.device_get(scorer.features_evidence(features))
        given = inferred
        if not np.array_equal(ids, inferred.class_ids):
            given = jax.device_get(scorer.features_evidence(features, ids))
        found = (inferred, given)
        count = int(batch["valid"].sum())
        parts.append(jax.tree.map(lambda array, count=count: array[:count], found))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def measure(name, evidence, constants, labels, anomalous, masks, size, fractions=FRACTIONS):
    """Image AUROC by share of pixels, and pixel metrics, of one combination: means over classes."""

    @functools.partial(jax.jit, static_argnames="keep")
    def combined(evidence, constants, keep):
        maps = COMBINATIONS[name](
            evidence.log_likelihood,
            evidence.negative_entropy,
            of_classes(constants, evidence.class_ids),
            size,
        )
        return [image_score(maps, fraction) for fraction in fractions], maps if keep else None

    scores, maps = [], []
    for start in range(0, len(labels), _PART):
        rows = np.minimum(np.arange(start, start + _PART), len(labels) - 1)
        part = jax.tree.map(lambda array, rows=rows: array[rows], evidence)
        found, found_maps = jax.device_get(combined(part, constants, bool(masks)))
        count = min(_PART, len(labels) - start)
        scores.append(np.stack(found, axis=1)[:count])
        wanted = [i for i in range(count) if masks and labels[start + i] in masks]
        maps += [found_maps[i, :: _STRIDE.value, :: _STRIDE.value] for i in wanted]
    scores = np.concatenate(scores)
    image = {
        k: [roc_auc_score(anomalous[labels == k], column[labels == k]) for column in scores.T]
        for k in np.unique(labels)
    }
    pixel = {}
    order = [label for label in labels if masks and label in masks]
    for k in masks:
        chosen = np.stack([m for m, label in zip(maps, order, strict=True) if label == k])
        pixel[k] = (roc_auc_score(masks[k].ravel(), chosen.ravel()), aupro(masks[k], chosen))
    return image, pixel


def main(argv):
    """Prints the table."""
    del argv
    scorer = load_scorer(_WORKDIR.value, classes="inferred")
    config, size = scorer.config, scorer.config.data.image_size
    if scorer.transform.tiles > 1 or scorer.transform.resize == "letterbox":
        sys.exit("This script compares combinations on whole, squashed images: train without tiles.")
    dataset = load_dataset(config.data)
    wanted = set(_CLASSES.value or scorer.classes)
    test = [record for record in dataset.test if record.class_name in wanted]
    constants = scorer.calibration.constants  # of all terms, whatever the run's own combination
    ids = {name: k for k, name in enumerate(scorer.classes)}
    labels = np.array([ids[r.class_name] for r in test], np.int32)
    evidence, given = collect(scorer, test, labels)
    anomalous = np.array([r.anomalous for r in test])
    masks = {}
    for k in np.unique(labels):
        records = [r for r, label in zip(test, labels, strict=True) if label == k]
        if any(r.mask for r in records):
            blank = np.zeros((size, size), bool)
            whole = [load_mask(r.mask, scorer.transform, image=r.path) if r.mask else blank for r in records]
            masks[int(k)] = np.stack([mask[:: _STRIDE.value, :: _STRIDE.value] for mask in whole])
    result = {}
    heads = [f"{name} {f:g}" for name in scorer.classes if name in wanted for f in FRACTIONS]
    print(
        "| combination | "
        + " | ".join(heads)
        + " | "
        + " | ".join(f"{scorer.classes[k]} pixel AUROC | AUPRO" for k in masks)
        + " |"
    )
    for name in COMBINATIONS:
        image, pixel = measure(name, evidence, constants, labels, anomalous, masks, size)
        result[name] = {
            "image_auroc": {
                scorer.classes[k]: dict(zip(map(str, FRACTIONS), v, strict=True)) for k, v in image.items()
            },
            "pixel": {scorer.classes[k]: {"auroc": v[0], "aupro": v[1]} for k, v in pixel.items()},
        }
        cells = [f"{v:.3f}" for k in image for v in image[k]] + [f"{v:.3f}" for k in pixel for v in pixel[k]]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    result["classes"] = {}
    name, fraction = config.scoring.image_map, config.scoring.top_fraction
    for kind, found in (("inferred", evidence), ("given", given)):
        image, _ = measure(name, found, constants, labels, anomalous, {}, size, (fraction,))
        result["classes"][kind] = {scorer.classes[k]: v[0] for k, v in image.items()}
        print(f"image AUROC, classes {kind}:", {k: round(v, 4) for k, v in result["classes"][kind].items()})
    right = evidence.class_ids == labels
    for kind, chosen in (("good", ~anomalous), ("defective", anomalous)):
        found = {scorer.classes[k]: float(right[chosen & (labels == k)].mean()) for k in np.unique(labels)}
        result["classes"][f"right_{kind}"] = found
        print(f"class found, {kind} images:", {k: round(v, 4) for k, v in found.items()})
    print(json.dumps(result))


if __name__ == "__main__":
    app.run(main)
