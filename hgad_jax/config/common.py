"""The keys that every detector's config has: default, meaning and range of each.

Defaults are those of HGAD's preset `default`; what another detector changes stands in its own file.
"""

import math

from hgad_jax.config.bank import BANK
from hgad_jax.config.decisions import CALIBRATION, SCORING
from hgad_jax.config.key import Key, accepted, anything, at_least, each, one_of, passes, share
from hgad_jax.data.clusters import num_clusters
from hgad_jax.data.geometry import INTERPOLATIONS, MAX_PIXELS, RESIZES

MOST_EPOCHS = 1e6  # schedules count steps, of which there is no infinite number


_DTYPE = one_of(("float32", "bfloat16"))
_COLOURS = passes(
    "() or three numbers above 0 and up to 1",
    lambda values: not values or (len(values) == 3 and all(0 < v <= 1 for v in values)),
)
_WHOLE = passes("whole numbers from 1 on, such as (1, 2)", lambda v: bool(v) and all(_is_whole(x) for x in v))
_ODD = passes("odd numbers", lambda values: all(_is_whole(x) and x % 2 for x in values))
_WINDOW = passes(
    "() or the first and the last epoch, such as (100, 300)",
    lambda values: not values or (len(values) == 2 and 0 <= values[0] <= values[1] <= MOST_EPOCHS),
)
_EPOCHS = at_least(0, MOST_EPOCHS)
_RANGE = passes(
    "() or two finite numbers, the second above the first",
    lambda values: not values or (len(values) == 2 and -math.inf < values[0] < values[1] < math.inf),
)
_FOLDERS = each(passes("a folder", lambda value: isinstance(value, str)))


def _is_whole(value) -> bool:
    return isinstance(value, int | float) and value == int(value) and value >= 1


SEED = Key(0, "of initial parameters, order of images, and the held-out split", at_least(0, 2**32 - 1))

DATA = {
    "name": Key(
        "folder",
        "dataset: folder, or one of the papers': mvtec_ad, btad, mvtec_3d_rgb, visa, union, stc, elpv",
        anything(),  # looked up when it is loaded
    ),
    "root": Key(
        "", "folder: where the images are; a dataset: where its archive is, or what was in it", anything()
    ),
    "normal_dir": Key(
        (), "folder: good images to train on, where they are not in MVTec AD's layout", _FOLDERS
    ),
    "abnormal_dir": Key((), "folder, with normal_dir: defective images to test with", _FOLDERS),
    "mask_dir": Key(
        (), "folder, with abnormal_dir: masks of these, as many folders in the same order", _FOLDERS
    ),
    "normal_test_dir": Key((), "folder, with normal_dir: good images to test with", _FOLDERS),
    "follow_links": Key(False, "allow symbolic links that leave the root", anything()),
    "on_error": Key(
        "raise",
        "an image that cannot be used: raise, or skip it with a count",
        one_of(("raise", "skip")),
    ),
    "class_name": Key("", "this class alone; empty: all", anything()),
    "prepared_dir": Key(
        "", "dataset: where it is kept once prepared; empty: in the user's cache", anything()
    ),
    "allow_partial": Key(
        False, "dataset: accept other images than the published ones, with a warning", anything()
    ),
    "split_seed": Key(0, "elpv: which good images are for testing", at_least(0, 2**32 - 1)),
    "image_size": Key(256, "side of the square that the model sees", at_least(32, 16384), "pixels"),
    "detail": Key(
        1, "the bank sees images with so many times as many pixels a side", at_least(1, 16), before=1
    ),
    "resize": Key(
        "squash",
        "squash, short_side_crop (cuts the longer side) or letterbox (pads it)",
        one_of(RESIZES),
    ),
    "interpolation": Key("bilinear", "of images, antialiased", one_of(INTERPOLATIONS)),
    "tiles": Key(
        1, "n: cut every image into n×n overlapping squares of image_size; 1: none", at_least(1, 64)
    ),
    "tile_overlap": Key(
        0.25, "share of a tile's side that it has in common with the next", at_least(0.05, 0.5)
    ),
    "white_level": Key(
        0,
        "white in images of 16 bits, such as 4095 for a camera of 12; 0: found when training starts, the "
        "least of a camera of 8, 10, 12, 14 or 16 bits that holds all good training images",
        at_least(0, 65535),
        before=65535,
    ),
    "value_range": Key(
        (),
        "black and white in images of signed, 32-bit or float pixels, such as (0.0, 1.0); (): such images "
        "are refused",
        _RANGE,
    ),
    "max_pixels": Key(
        MAX_PIXELS, "image files of more are refused; some 4 bytes each while one is decoded", at_least(1)
    ),
    "rotation": Key(
        0.0,
        "training images are turned at random by up to so much; the backbone then runs at every step: "
        "features of turned images cannot be kept",
        at_least(0, 180),
        "degrees",
    ),
    "classes": Key(
        "given",
        "by the dataset; or cluster:K, K groups found by k-means on features",
        passes(
            "'given' (the dataset's own) or 'cluster:K' with a number of groups, such as 'cluster:3'",
            accepted(num_clusters),
        ),
    ),
    "workers": Key(2, "threads that decode images", at_least(0, 1024)),
}

BACKBONE = {
    "name": Key(
        "tf_efficientnet_lite0", "timm's name, with a tag where it matters; docs/backbones.md", anything()
    ),
    "source": Key(
        "auto",
        "where its weights are: package, a Python package; cache, what the command fetch has stored; the "
        "path of a .safetensors or .pth file; auto: a package if there is one, else the cache",
        anything(),
    ),
    "dtype": Key("float32", "of its computation; bfloat16 is faster on GPU and TPU, slower on CPU", _DTYPE),
    "mean": Key(
        (),
        "images are brought to zero mean by these, three numbers on a scale from 0 to 1; (): by the "
        "constants that the weights were trained with",
        _COLOURS,
    ),
    "std": Key((), "and to unit deviation by these", _COLOURS),
    "taps": Key(
        (),
        "layers whose maps are taken, first to last; (): the backbone's own",
        each(passes("a layer's name", lambda value: isinstance(value, str))),
    ),
    "scales": Key(
        (1,), "input side divided by this for a further pass; each tap of each scale is a level", _WHOLE
    ),
    "equalize": Key(
        0.1,
        "each channel is brought to the same deviation over every image; this share of the mean variance of "
        "channels is added to that of each; 0: maps stay as they are",
        at_least(0),
        before=0.0,
    ),
    "neighbours": Key(
        (3,),
        "side of the square of positions that are averaged, level by level; others: 1",
        _ODD,
        before=(),
    ),
}

CACHE = {
    "dir": Key("", "where training features are kept; empty: WORKDIR/cache", anything()),
    "dtype": Key("float32", "or bfloat16, half the size", _DTYPE),
}

TRAIN = {
    "epochs": Key(16.0, "passes over the good images", _EPOCHS, "epochs"),
    "stage_two_epoch": Key(1.0, "when the terms of stage two set in", _EPOCHS, "epochs"),
    "batch_size": Key(64, "over all devices", at_least(1), "images"),
    "positions": Key(
        16, "at most so many of each map per image and step, on a grid that moves; 0: all", at_least(0)
    ),
    "micro_batches": Key(
        1, "parts of a device's batch, one after the other; fewer if they do not divide it", at_least(1)
    ),
    "learning_rate": Key(1e-3, "peak", at_least(0)),
    "warmup_epochs": Key(1.0, "in which the rate rises to its peak", _EPOCHS, "epochs"),
    "warmup_start": Key(0.1, "learning rate at step 0 over its peak", at_least(0, 1)),
    "final_learning_rate": Key(1e-3, "end of the cosine over its peak", at_least(0, 1)),
    "hold_epochs": Key(
        0.0, "the cosine changes every so many epochs only; 0: at every step", _EPOCHS, "epochs"
    ),
    "beta1": Key(0.95, "Adam: decay of the mean of gradients", share()),
    "beta2": Key(0.99, "Adam: decay of the mean of their squares", share()),
    "adam_count": Key(
        "steps",
        "Adam: its bias correction counts steps; or of each array of parameters its gradients, from the "
        "first on, before which it is left alone, as PyTorch does",
        one_of(("steps", "gradients")),
        before="steps",
    ),
    "weight_decay": Key(0.0, "of the flow, added to the gradient", at_least(0)),
    "clip_norm": Key(1.0, "bound of the gradient's norm; 0: none", at_least(0)),
    "keep": Key(
        "best",
        "which state: best, of each level that under which held-out good images are likeliest, or the last",
        one_of(("best", "last")),
    ),
    "patience": Key(
        0.0,
        "with keep=best: epochs without a better state of any level that end training; 0: none",
        _EPOCHS,
        "epochs",
    ),
    "log_every": Key(10, "between lines of the log", at_least(1), "steps"),
    "checkpoint_every": Key(200, "between checkpoints", at_least(1), "steps"),
    "keep_checkpoints": Key(2, "newest checkpoints that stay", at_least(1)),
}

EVAL = {
    "window": Key(
        (), "first and last epoch of the stability report, such as (100, 300); (): none", _WINDOW, "epochs"
    ),
    "every": Key(
        1.0,
        "between its evaluations on the test set, which choose nothing",
        at_least(1e-3, MOST_EPOCHS),
        "epochs",
    ),
    "normality": Key(
        False,
        "also tell how normal latents of good test images are, at each of these evaluations (AltUB, Table 5)",
        anything(),
        before=False,
    ),
    "keep": Key(
        "none",
        "best: in WORKDIR/best also the states with the highest image AUROC and the highest pixel AUROC of "
        "the window, mean over classes, on the test set, as HGAD's tables have them",
        one_of(("none", "best")),
        before="none",
    ),
}

COMMON = {
    "data": DATA,
    "backbone": BACKBONE,
    "bank": BANK,
    "cache": CACHE,
    "train": TRAIN,
    "eval": EVAL,
    "calibration": CALIBRATION,
    "scoring": SCORING,
}
