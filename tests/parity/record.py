"""Records the reference outputs in tests/fixtures/backbones: `python tests/parity/record.py [NAME...]`.

Needs the extra `parity`. The recordings here were made with timm 1.0.31 and PyTorch 2.13.0 on CPU; each file
names the versions that made it.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

import numpy as np  # noqa: E402
from parity import rule, timm_reference  # noqa: E402

FOLDER = Path(__file__).parents[1] / "fixtures" / "backbones"


def record(name, taps):
    """Run timm's network at both sizes and write what the tests compare with."""
    shapes = timm_reference.tensors(name)
    statistics = ("running_mean", "running_var")
    kept = {
        "versions": np.array(
            f"timm {timm_reference.timm.__version__}, torch {timm_reference.torch.__version__}"
        ),
        "names_hash": np.array(rule.names_hash(shapes)),
        "parameters": np.array(
            sum(int(np.prod(shape)) for key, shape in shapes.items() if not key.endswith(statistics))
        ),
    }
    for label, size in rule.sizes(name).items():
        model = timm_reference.create(name, size)
        timm_reference.fill(model, shapes)
        for tap, values in timm_reference.run(model, name, size, taps).items():
            kept |= {f"{label}/{tap}/{key}": value for key, value in rule.summary(values).items()}
            kept[f"{label}/{tap}/shape"] = np.array(values.shape)
    np.savez_compressed(FOLDER / f"{name}.npz", **kept)


def record_positions():
    """DINOv2's position embeddings, two channels of them, as PyTorch interpolates them to three grids."""
    shape = (1, 37 * 37, 2)
    positions = timm_reference.torch.from_numpy(rule.tensor("pos_embed", shape))
    grids = {f"{h}x{w}": (h, w) for h, w in ((28, 28), (16, 50), (74, 3))}
    maps = {key: timm_reference.offset_positions(positions, grid).numpy() for key, grid in grids.items()}
    np.savez_compressed(FOLDER.parent / "dinov2_positions.npz", shape=np.array(shape), **maps)


def main(names):
    """Record the named backbones, or all; "positions" alone is those of DINOv2."""
    from hgad_jax.backbones.catalogue import CATALOGUE

    timm_reference.torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not names or names == ["positions"]:
        record_positions()
    for name in [name for name in names or CATALOGUE if name != "positions"]:
        record(name, rule.recorded_taps(CATALOGUE[name].build().taps))
        print(name, (FOLDER / f"{name}.npz").stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1:])
