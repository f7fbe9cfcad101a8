"""A backbone of four convolutions, quick to compile, for tests whose subject is another.

It is a row of the catalogue as any other, with weights of our own: `record_stub.py` trained it to tell the
tests' textures apart. `python tests/stub_backbone.py SCRIPT ARGUMENTS` runs a script that knows it.
"""

import runpy
import sys
from pathlib import Path

import jax
from flax import linen as nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package beside the tests, whichever is installed

from hgad_jax.backbones.catalogue import CATALOGUE, Entry
from hgad_jax.backbones.layers import Conv
from hgad_jax.backbones.spec import Spec, Tap
from hgad_jax.backbones.weights import Biased

NAME = "stub"
WEIGHTS = str(Path(__file__).parent / "fixtures" / "stub.safetensors")
TAPS = {"blocks.2": Tap(40, 8), "blocks.4": Tap(64, 16)}  # named as those of Lite0 that have these strides

LAYERS = ("stem", "second", *TAPS)


class Stub(nn.Module):
    """Normalised images to the requested taps."""

    taps: tuple[str, ...]

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, ...]:
        x, maps = jax.nn.relu(Conv(16, 5, 2, name="stem")(images)), {}
        x = jax.nn.relu(Conv(24, 3, 2, name="second")(x))
        for name, tap in TAPS.items():
            x = maps[name] = jax.nn.relu(Conv(tap.channels, 3, 2, name=name)(x))
            if maps.keys() >= set(self.taps):
                break
        maps["logits"] = x.mean((1, 2))  # asked of weights that are fetched; no layer of its own
        return tuple(maps[tap] for tap in self.taps)


def spec() -> Spec:
    return Spec(
        network=Stub,
        taps=TAPS,
        dialects={"its own": lambda: [Biased((name,), name, rank=4) for name in LAYERS]},
        image_by_image=True,
    )


ENTRY = Entry(spec, tags=("none",), licence="Apache-2.0", taps=tuple(TAPS))


def add() -> None:
    """Lets it be found by its name; the tests' own process does so in conftest.py."""
    CATALOGUE[NAME] = ENTRY


if __name__ == "__main__":
    add()
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
