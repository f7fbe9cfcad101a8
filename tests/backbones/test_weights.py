"""State dicts of timm and torchvision: told by their names, converted, and refused if they do not fit."""

import functools
import io
import json
import os
import pickle
import zipfile

import jax
import ml_dtypes
import numpy as np
import pytest
from flax import traverse_util
from parity import rule

from hgad_jax.backbones import load
from hgad_jax.backbones.catalogue import CATALOGUE, choose
from hgad_jax.backbones.weights import abstract_params, check_whole, convert, expected_tensors
from hgad_jax.errors import UserError

NAME, TAPS = "mobilenetv3_large_100", ("blocks.1",)
FAMILIES = ("resnet18", "mobilenetv3_small_100", "deit_tiny_distilled_patch16_224", "cait_xxs24_224")


def state_of(name, dialect=None):
    spec = CATALOGUE[name].build()
    return spec, rule.state_dict(expected_tensors(spec, dialect or next(iter(spec.dialects))))


def write_safetensors(path, state):
    """As the format is defined."""
    header, data = {}, b""
    dtypes = {"float32": "F32", "float64": "F64", "float16": "F16", "int64": "I64"}
    for name, value in state.items():
        offsets = [len(data), len(data) + value.nbytes]
        header[name] = {"dtype": dtypes[value.dtype.name], "shape": value.shape, "data_offsets": offsets}
        data += value.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def problems(name, state, taps=None, *, below=""):
    """What a published file is refused for; with taps, a user's own."""
    spec = CATALOGUE[name].build()
    check = check_whole if taps is None else functools.partial(convert, abstract=abstract_params(spec, taps))
    with pytest.raises(UserError) as caught:
        check(state, spec, name=name, file="some.pth")
    assert f"some.pth{below} do not fit the backbone {name}" in str(caught.value)
    return [line.strip() for line in str(caught.value).splitlines()[1:-1]]


def converted(name, state, taps):
    spec = CATALOGUE[name].build()
    return convert(state, spec, abstract_params(spec, taps), name=name, file="some.pth")


def same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("name", FAMILIES)
def test_misfits_of_published_weights_are_refused_even_behind_the_last_tap(name):
    _, state = state_of(name)
    assert problems_of_one(name, state, lambda s, key: s.pop(key), "missing: ")
    assert problems_of_one(name, state, lambda s, key: s.update({key: s[key].T.copy()}), "wrong shape: ")
    assert problems_of_one(
        name, state, lambda s, key: s.update({key: s[key].astype(np.float16)}), "wrong dtype: "
    )
    extra = {"head.extra.weight": np.zeros((2, 3), np.float32)}
    assert problems(name, state | extra) == ["left over: head.extra.weight [2, 3]"]


def problems_of_one(name, state, change, kind):
    """Whether one changed tensor, of the classifier at the very end, is the one that the message names."""
    key = [key for key, value in state.items() if value.ndim == 2][-1]
    changed = dict(state)
    change(changed, key)
    (found,) = problems(name, changed)
    return found.startswith(f"{kind}{key} ")


def test_transposed_tensor_is_called_so():
    _, state = state_of("resnet18")
    state["layer1.0.conv1.weight"] = state["layer1.0.conv1.weight"].transpose(2, 3, 1, 0)
    assert problems("resnet18", state) == [
        "wrong shape: layer1.0.conv1.weight [3, 3, 64, 64], expected [64, 64, 3, 3] (is it transposed?)"
    ]


def test_weights_of_another_network_are_refused():
    _, state = state_of("resnet18")
    assert len(problems("resnet34", state)) == 5 * sum((1, 2, 4, 1)) * 2
    assert len(problems("resnet34", state, ("layer2",))) == 5 * sum((1, 2)) * 2
    _, deeper = state_of("resnet34")  # of which the smaller one would be a part
    left = problems("resnet18", deeper, ("layer1",))
    assert left[0] == "left over: layer1.2.conv1.weight [64, 64, 3, 3]"
    assert len(left) == 5 * sum((1, 2, 4, 1)) * 2


@pytest.mark.parametrize("name", FAMILIES)
def test_only_what_the_taps_need_has_to_be_there(name):
    """Without a classifier, with one of other classes, or cut off behind the last tap: the same maps."""
    spec, state = state_of(name)
    taps = tuple(spec.taps)[:1]
    expected = converted(name, state, taps)
    body = body_of(spec)
    assert set(state) - body, "there is a head"
    same(converted(name, {key: state[key] for key in state if key in body}, taps), expected)
    other = {key: value if key in body else np.zeros((7, 3), np.int8) for key, value in state.items()}
    same(converted(name, other, taps), expected)
    needed = needed_by(spec, taps)
    same(converted(name, {key: state[key] for key in needed}, taps), expected)
    for key in list(needed)[:3]:
        rest = {k: v for k, v in state.items() if k != key}
        assert problems(name, rest, taps) == [f"missing: {key} {list(state[key].shape)}"]


def test_what_is_there_of_the_body_has_to_be_right_even_if_it_is_not_needed():
    _, state = state_of("resnet18")
    state["layer4.1.conv1.weight"] = np.zeros((512, 256, 3, 3), np.float32)
    expected = ["wrong shape: layer4.1.conv1.weight [512, 256, 3, 3], expected [512, 512, 3, 3]"]
    assert problems("resnet18", state, ("layer1",)) == expected


PREFIXES = ("module.", "model.", "state_dict.", "state_dict.module.", "_orig_mod.", "net.encoder.0.")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_weights_are_found_below_a_prefix(prefix):
    _, state = state_of("resnet18")
    expected = converted("resnet18", state, ("layer2",))
    below = {f"{prefix}{key}": value for key, value in state.items()}
    beside = {"optimizer.state.0.exp_avg": np.zeros(3), "decoder.weight": np.zeros(3)}
    same(converted("resnet18", beside | below, ("layer2",)), expected)
    below[f"{prefix}conv1.weight"] = np.zeros((64, 3, 7, 5), np.float32)
    (problem,) = problems("resnet18", below, ("layer2",), below=f" below {prefix[:-1]!r}")
    assert problem == "wrong shape: conv1.weight [64, 3, 7, 5], expected [64, 3, 7, 7]"


@pytest.mark.parametrize("ema", ["state_dict_ema.", "model_ema.", "model_ema.module."])
def test_averaged_weights_are_taken_where_there_are_both(ema):
    _, state = state_of("resnet18")
    other = {key: value + np.float32(1) for key, value in state.items()}
    expected = converted("resnet18", state, ("layer1",))
    both = {f"model.{key}": value for key, value in other.items()}
    both |= {f"{ema}{key}": value for key, value in state.items()}
    same(converted("resnet18", both, ("layer1",)), expected)
    del both[f"{ema}conv1.weight"]  # but not half of them
    same(converted("resnet18", both, ("layer1",)), converted("resnet18", other, ("layer1",)))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_floating_point_types_are_brought_to_float32(dtype):
    _, state = state_of("resnet18")
    rounded = {key: value.astype(dtype) for key, value in state.items()}
    expected = converted("resnet18", {k: v.astype(np.float32) for k, v in rounded.items()}, ("layer1",))
    same(converted("resnet18", rounded, ("layer1",)), expected)
    rounded["bn1.bias"] = rounded["bn1.bias"].astype(np.int64)
    assert problems("resnet18", rounded, ("layer1",)) == [
        "wrong dtype: bn1.bias int64, expected a floating-point one"
    ]


def test_tensors_that_are_nobodys_are_named():
    _, state = state_of("resnet18")
    with pytest.warns(UserWarning, match=r"some\.pth holds tensors .*not used: projector\.0\.weight$"):
        found = converted("resnet18", state | {"projector.0.weight": np.zeros(3)}, ("layer1",))
    same(found, converted("resnet18", state, ("layer1",)))


def test_a_file_without_any_of_its_tensors_is_refused_in_a_line():
    with pytest.raises(UserError, match=r"^some\.pth holds no weights of the backbone resnet18: found a, b;"):
        converted("resnet18", {"a": np.zeros(3), "b": np.zeros(3)}, ("layer1",))
    _, state = state_of("resnet18")
    with pytest.raises(
        UserError, match=r"resnet18: found conv_stem.*expected conv1\.weight, bn1\.weight.* and "
    ):
        converted("resnet18", {"conv_stem.weight": state["conv1.weight"]}, ("layer1",))


def needed_by(spec, taps):
    dialect = next(iter(spec.dialects))
    shapes = traverse_util.flatten_dict(abstract_params(spec, taps))
    parts = [part for part in spec.dialects[dialect]() if part.leaves[0] in shapes]
    return [n for part in parts for n in part.tensors({p: leaf.shape for p, leaf in shapes.items()})]


def body_of(spec):
    """Names of what some tap needs."""
    return set(needed_by(spec, tuple(spec.taps)))


def test_counters_of_batches_mean_nothing():
    spec, state = state_of("resnet18")
    counters = {"bn1.num_batches_tracked": np.array(3), "layer1.0.bn1.num_batches_tracked": np.array(3)}
    params = convert(
        state | counters, spec, abstract_params(spec, ("layer1",)), name="resnet18", file="some.pth"
    )
    assert set(params) == {"stem", "layer1_0", "layer1_1"}


def test_torchvision_names_and_epsilon_give_the_same_network():
    """The same variances plus epsilon under both publishers' names: the same parameters."""
    spec, timm = state_of("mobilenetv3_large_100", "timm")
    names = expected_tensors(spec, "torchvision")
    theirs = {
        theirs: timm[ours].reshape(names[theirs])
        for theirs, ours in zip(names, expected_tensors(spec, "timm"), strict=True)
    }
    for name in theirs:
        if name.endswith("running_var"):
            theirs[name] = theirs[name] + np.float32(1e-5 - 1e-3)
    abstract = abstract_params(spec, ("logits",))
    ours, found = (
        convert(state, spec, abstract, name="mobilenetv3_large_100", file="some.pth")
        for state in (timm, theirs)
    )
    for layer in ("stem", "blocks_4_1", "hidden", "logits"):
        for a, b in zip(jax.tree.leaves(ours[layer]), jax.tree.leaves(found[layer]), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_torchvision_names_are_the_published_ones():
    """Names and shapes that torchvision's mobilenet_v3_large has, as its source numbers its layers."""
    names = expected_tensors(CATALOGUE["mobilenetv3_large_100"].build(), "torchvision")
    known = {
        "features.0.0.weight": (16, 3, 3, 3),
        "features.0.1.running_mean": (16,),
        "features.1.block.0.0.weight": (16, 1, 3, 3),
        "features.1.block.1.0.weight": (16, 16, 1, 1),
        "features.2.block.0.0.weight": (64, 16, 1, 1),
        "features.4.block.1.0.weight": (72, 1, 5, 5),
        "features.4.block.2.fc1.weight": (24, 72, 1, 1),
        "features.4.block.2.fc2.bias": (72,),
        "features.6.block.3.0.weight": (40, 120, 1, 1),
        "features.6.block.3.1.running_var": (40,),
        "features.12.block.3.0.weight": (112, 672, 1, 1),
        "features.15.block.3.0.weight": (160, 960, 1, 1),
        "features.16.0.weight": (960, 160, 1, 1),
        "features.16.1.bias": (960,),
        "classifier.0.weight": (1280, 960),
        "classifier.3.bias": (1000,),
    }
    assert {name: names.get(name) for name in known} == known


def test_a_file_is_loaded_by_its_path_without_a_word_about_tags(tmp_path):
    _, state = state_of(NAME)
    assert choose(NAME).name == choose(NAME).base, "no tag"
    path = write_safetensors(tmp_path / "some.safetensors", state)
    backbone = load(NAME, taps=TAPS, source=path)  # a warning would be an error
    spec = CATALOGUE[NAME].build()
    expected = convert(state, spec, abstract_params(spec, TAPS), name=NAME, file="")
    for a, b in zip(jax.tree.leaves(backbone.variables["params"]), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_malicious_pickle_is_refused_by_load(tmp_path, suffix):
    path, marker, program = tmp_path / f"evil{suffix}", tmp_path / "marker", io.BytesIO()
    pickle.Pickler(program, protocol=2).dump({"conv1.weight": Malicious(marker)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program.getvalue())
    with pytest.raises(UserError, match=r"evil.*asks for \w+.system.*Nothing of it was run"):
        load("resnet18.tv_in1k", taps=("layer1",), source=path)
    assert not marker.exists()
