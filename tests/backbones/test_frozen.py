"""What holds for every backbone: frozen, alone as in a batch, near float32 in bfloat16, at any scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import rule

from hgad_jax.backbones import apply_function, load, on_device
from hgad_jax.backbones.catalogue import CATALOGUE
from hgad_jax.backbones.levels import feature_levels
from hgad_jax.backbones.weights import abstract_params, convert, expected_tensors
from hgad_jax.errors import UserError

FAMILIES = (
    "tf_efficientnet_lite0",
    "resnet18",
    "mobilenetv3_small_100",
    "deit_tiny_distilled_patch16_224",
    "cait_xxs24_224",
    "vit_small_patch14_reg4_dinov2",
)


def filled(name):
    """Spec, taps and variables of a backbone whose weights are those of the rule."""
    spec, taps = CATALOGUE[name].build(), CATALOGUE[name].taps
    state = rule.state_dict(expected_tensors(spec, next(iter(spec.dialects))))
    return spec, taps, {"params": convert(state, spec, abstract_params(spec, taps), name=name, file="")}


def images(count, height=32, width=27):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def odd_images(name, count):
    """Of no square size; of whole patches for the backbone that takes no others."""
    return images(count, *((28, 42) if "dinov2" in name else ()))


LONG = ("mobilenetv3_small_100", "cait_xxs24_224")  # to compile


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in FAMILIES]
)
def test_bfloat16_stays_near_float32(name):
    spec, taps, variables = filled(name)
    halved = {"params": on_device(variables["params"], "bfloat16")}
    apply = apply_function(spec, taps, CATALOGUE[name].constants)
    pixels = odd_images(name, 1)
    exact, rough = apply(variables, pixels), apply(halved, pixels)
    for tap, a, b in zip(taps, exact, rough, strict=True):
        assert b.dtype == jnp.float32
        error = np.linalg.norm(a - b) / np.linalg.norm(a)
        assert 1e-5 < error < 2e-2, tap


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        pytest.param("mobilenetv3_small_100", marks=pytest.mark.slow),
        "deit_tiny_distilled_patch16_224",
        "vit_small_patch14_dinov2",
    ],
)
def test_batch_of_one_equals_batch_of_three(name):
    spec, taps, variables = filled(name)
    apply = apply_function(spec, taps, CATALOGUE[name].constants)
    pixels = odd_images(name, 3)
    together, alone = apply(variables, pixels), apply(variables, pixels[1:2])
    for one, many in zip(alone, together, strict=True):
        np.testing.assert_allclose(one[0], many[1], rtol=0, atol=1e-5 * np.abs(many).max())


@pytest.mark.parametrize(
    "name",
    ["mobilenetv3_small_100", "deit_tiny_distilled_patch16_224", "vit_small_patch14_reg4_dinov2"],
)
def test_no_gradient_flows_into_the_weights(name):
    backbone = load(name, taps=CATALOGUE[name].taps[:1], source="random")

    def loss(variables, pixels):
        return sum((each**2).sum() for each in backbone.apply(variables, pixels))

    weights, pixels = jax.grad(loss, argnums=(0, 1))(backbone.variables, np.float32(odd_images(name, 1)))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(weights))
    assert np.abs(pixels).max() > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_there_are_no_statistics_to_change(name):
    leaves = jax.tree.leaves_with_path(abstract_params(CATALOGUE[name].build(), CATALOGUE[name].taps))
    assert leaves
    assert not any("mean" in str(path) or "var" in str(path) for path, _ in leaves)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_100", "deit_tiny_distilled_patch16_224"])
def test_levels_of_one_tap_at_three_scales(name):
    tap = CATALOGUE[name].taps[-1:]
    levels = feature_levels(name, taps=tap, scales=(1, 2, 4), image_size=68, source="random")
    stride = CATALOGUE[name].build().taps[tap[0]].stride
    assert [size[:2] for size in levels.sizes] == [(-(-side // stride),) * 2 for side in (68, 34, 17)]
    found = jax.eval_shape(levels.apply, levels.variables, images(2, 68, 68))
    assert [each.shape for each in found] == [(2, *size) for size in levels.sizes]


def test_levels_without_taps_are_those_of_the_catalogue_and_known_by_what_they_depend_on():
    options = {"taps": (), "scales": (1,), "image_size": 32, "source": "random"}
    levels = [
        feature_levels("resnet18", **options),
        feature_levels("resnet34", **options),
        feature_levels("resnet18", **options, dtype="bfloat16"),
        feature_levels("resnet18", **options, mean=(0.5,) * 3, std=(0.225,) * 3),
    ]
    assert [size[2] for size in levels[0].sizes] == [128, 256, 512]
    assert len({each.weights_hash for each in levels}) == 4
    assert not np.allclose(*(l.apply(l.variables, images(1, 32, 32))[0] for l in (levels[0], levels[3])))


def test_unknown_dtype_is_refused():
    with pytest.raises(UserError, match=r"'float16'.*'float32' or 'bfloat16'"):
        load("resnet18", taps=("layer1",), source="random", dtype="float16")
