"""Trains the backbone of tests/stub_backbone.py and writes its weights; a minute on one core.

    python tests/record_stub.py

It learns to tell, at every position of each of its maps, which texture the position shows, or that it shows a
rectangle, a grey one or one of noise.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import stub_backbone
from safetensors.numpy import save_file
from trees import SIDE, TEXTURES, crop

from hgad_jax.backbones.weights import abstract_params, random_params

STEPS, BATCH = 2000, 48
TAPS = tuple(stub_backbone.TAPS)


def examples(rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Images [B, H, W, 3] on the scale 0..255 and, for each tap, the label of every position."""
    images, labels = np.zeros((BATCH, SIDE, SIDE), np.float32), np.zeros((BATCH, SIDE, SIDE), int)
    for image, label in zip(images, labels, strict=True):
        label[:] = rng.integers(len(TEXTURES))
        pixels = crop(list(TEXTURES)[label[0, 0]], rng) * rng.uniform(0.7, 1.2) + rng.uniform(-30, 30)
        if rng.random() < 0.5:
            (y, x), (height, width) = rng.integers(0, SIDE - 16, 2), rng.integers(12, 32, 2)
            kind = rng.integers(2)
            noise = rng.normal(size=(SIDE, SIDE)) * 60 * kind
            inside = np.s_[y : y + height, x : x + width]
            pixels[inside] = (rng.uniform(0, 255) + noise)[inside]
            label[inside] = len(TEXTURES) + kind
        image[:] = pixels.clip(0, 255)
    strides = {name: tap.stride for name, tap in stub_backbone.TAPS.items()}
    at = {name: labels[:, stride // 2 :: stride, stride // 2 :: stride] for name, stride in strides.items()}
    return np.repeat(images[..., None], 3, -1), at


def main() -> None:
    """Writes the weights."""
    spec, rng = stub_backbone.ENTRY.build(), np.random.default_rng(0)
    network, (mean, std) = spec.network(TAPS), (jnp.array(v) for v in stub_backbone.ENTRY.constants)
    kinds = len(TEXTURES) + 2
    params = random_params(abstract_params(spec, TAPS), 0)
    heads = {name: jnp.zeros((tap.channels, kinds)) for name, tap in stub_backbone.TAPS.items()}
    optimizer = optax.adam(optax.cosine_decay_schedule(3e-3, STEPS))

    @jax.jit
    def step(params, state, images, labels):
        def loss(params):
            maps = network.apply({"params": params[0]}, (images - mean) / std)
            return sum(
                optax.softmax_cross_entropy_with_integer_labels(x @ params[1][name], labels[name]).mean()
                for name, x in zip(TAPS, maps, strict=True)
            )

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    params = (params, heads)
    state = optimizer.init(params)
    for number in range(STEPS):
        params, state, value = step(params, state, *examples(rng))
        if number % 100 == 99:
            print(number + 1, float(value), flush=True)
    tensors = {}
    for name, layer in params[0].items():
        tensors[f"{name}.weight"] = np.asarray(layer["kernel"].transpose(3, 2, 0, 1), np.float16).copy()
        tensors[f"{name}.bias"] = np.asarray(layer["bias"], np.float16)
    save_file(tensors, stub_backbone.WEIGHTS)


if __name__ == "__main__":
    main()
