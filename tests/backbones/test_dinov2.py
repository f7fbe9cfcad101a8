"""DINOv2: files of timm and of the authors, sizes, position embeddings, and means of blocks."""

import functools
from pathlib import Path

import jax
import numpy as np
import pytest
import trees
from backbones.test_fetch import safetensors
from backbones.test_weights import converted, problems, same, state_of
from parity import rule

import hgad_jax
from hgad_jax import backbones
from hgad_jax.backbones.catalogue import CATALOGUE
from hgad_jax.backbones.dinov2 import offset_positions
from hgad_jax.backbones.levels import feature_levels
from hgad_jax.config import get_config
from hgad_jax.errors import UserError

PLAIN, REGISTERS = "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"
TAPS = ("blocks.0",)


@functools.cache
def authors_state(name):
    """Of a published file: the first blocks, and the mask token that only training needs."""
    spec, state = state_of(name, "authors" if name == REGISTERS else "timm")
    rest = {key: value for key, value in state.items() if not key.startswith("blocks.") or key[7:9] == "0."}
    return spec, rest | {"mask_token": np.zeros((1, 384), np.float32)}


def by_timm(state):
    """What timm's conversion makes of the authors' tensors."""
    state = {key: value for key, value in state.items() if key != "mask_token"}
    positions, registers = state["pos_embed"], state.pop("register_tokens", None)
    if registers is not None:
        state |= {"reg_token": registers, "pos_embed": positions[:, 1:]}
        state["cls_token"] = state["cls_token"] + positions[:, :1]
    return state


@pytest.mark.parametrize("name", [PLAIN, REGISTERS])
def test_the_authors_file_and_timms_are_the_same_network(name):
    _, state = authors_state(name)
    expected = converted(name, by_timm(state), TAPS)
    same(converted(name, state, TAPS), expected)  # a warning would be an error
    below = {f"backbone.{key}": value for key, value in state.items()}  # the authors' classifier
    same(converted(name, below | {"linear_head.weight": np.zeros((1000, 768), np.float32)}, TAPS), expected)
    halves = {key: value.astype(np.float16) for key, value in state.items()}
    rounded = {key: value.astype(np.float32) for key, value in halves.items()}
    same(converted(name, halves, TAPS), converted(name, rounded, TAPS))


@pytest.mark.parametrize("name", [PLAIN, REGISTERS])
def test_a_file_is_read_by_its_path_with_a_head_of_other_classes(name, tmp_path):
    _, state = authors_state(name)
    state, head = by_timm(state), {"head.weight": np.zeros((7, 384), np.float32)}
    path = tmp_path / "mine.safetensors"
    path.write_bytes(safetensors(state | head))
    with pytest.warns(UserWarning, match=r"has not, and they are not used: head\.weight"):
        backbone = backbones.load(name, taps=TAPS, source=path)
    same(jax.tree.map(np.asarray, backbone.variables["params"]), converted(name, state, TAPS))


def test_a_file_with_other_registers_or_of_another_size_is_refused():
    _, plain = authors_state(PLAIN)
    _, registers = authors_state(REGISTERS)
    assert problems(PLAIN, registers, TAPS) == ["left over: register_tokens [1, 4, 384]"]
    found = problems(PLAIN, by_timm(registers), TAPS)
    assert "left over: reg_token [1, 4, 384]" in found
    assert "wrong shape: pos_embed [1, 1369, 384], expected [1, 1370, 384]" in found
    assert "missing: reg_token [1, 4, 384]" in problems(REGISTERS, plain, TAPS)
    more = registers | {"register_tokens": np.zeros((1, 8, 384), np.float32)}
    assert problems(REGISTERS, more, TAPS) == [
        "wrong shape: register_tokens [1, 8, 384], expected [1, 4, 384]"
    ]
    low = plain | {"pos_embed": np.zeros((1, 257, 384), np.float32)}
    assert problems(PLAIN, low, TAPS) == ["wrong shape: pos_embed [1, 257, 384], expected [1, 1370, 384]"]
    assert "wrong shape: cls_token [1, 1, 384], expected [1, 1, 768]" in problems(
        "vit_base_patch14_dinov2", plain, TAPS
    )


@pytest.mark.parametrize("name", [PLAIN, REGISTERS])
def test_sides_that_are_no_multiples_of_the_patch_are_refused_with_the_nearest(name):
    options = {"taps": TAPS, "source": "random"}
    with pytest.raises(UserError, match=r"256 × 256 pixels.*multiples of 14.*: 252 × 252 or 266 × 266 are"):
        feature_levels(name, **options, scales=(1,), image_size=256)
    with pytest.raises(
        UserError, match=r"got images of 126 × 126|got images of 63 × 63 .* 56 × 56 or 70 × 70"
    ):
        feature_levels(name, **options, scales=(1, 2, 4), image_size=252)
    backbone = backbones.load(name, **options)
    with pytest.raises(UserError, match=r"images of 28 × 9 pixels.*: 28 × 14 or 28 × 14 are"):
        jax.eval_shape(backbone.apply, backbone.variables, np.zeros((1, 28, 9, 3), np.uint8))


def test_means_of_blocks_are_means_of_their_maps():
    names = ("blocks.0", "blocks.1", "blocks.2", "blocks.0.norm", "blocks.2.norm")
    backbone = backbones.load(
        REGISTERS, taps=(*names, "blocks.0+1+2", "blocks.0+2.norm"), source="random", dtype="float32"
    )
    image = np.random.default_rng(0).integers(0, 256, (2, 28, 42, 3), dtype=np.uint8)
    a, b, c, first, last, mean, normed = map(np.asarray, backbone.apply(backbone.variables, image))
    assert mean.shape == (2, 2, 3, 384)
    np.testing.assert_allclose(mean, (a + b + c) / 3, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(normed, (first + last) / 2, rtol=1e-5, atol=1e-6)
    assert np.abs(normed.mean(-1)).max() < 1e-4 < np.abs(a - b).max()


@pytest.mark.parametrize("tap", ["blocks.12", "blocks.0+12", "blocks.3+2", "blocks.2+2", "blocks.2+", "norm"])
def test_taps_that_are_not_there_are_refused(tap):
    with pytest.raises(UserError, match=r"unknown taps .*blocks\.11\.norm, logits; and the mean of blocks"):
        backbones.load(PLAIN, taps=(tap,), source="random")
    with pytest.raises(UserError, match="unknown taps"):
        backbones.load("deit_tiny_distilled_patch16_224", taps=("blocks.0+1",), source="random")


def test_positions_without_registers_are_pytorchs():
    """As `parity/record.py positions` recorded them, of three grids."""
    with np.load(Path(__file__).parents[1] / "fixtures" / "dinov2_positions.npz") as recorded:
        positions = rule.tensor("pos_embed", tuple(recorded["shape"]))
        grids = [key for key in recorded if "x" in key]
        assert len(grids) == 3
        for key in grids:
            h, w = map(int, key.split("x"))
            found = np.asarray(offset_positions(positions, (h, w))).reshape(h, w, -1)
            np.testing.assert_allclose(found, recorded[key], rtol=0, atol=1e-5)  # its positions are float32
    assert offset_positions(positions, (37, 37)) is positions


def test_every_row_of_the_family_takes_two_groups_of_four_blocks():
    rows = {name: entry for name, entry in CATALOGUE.items() if "dinov2" in name}
    assert len(rows) == 6
    for entry in rows.values():
        spec = entry.build()
        assert entry.licence == "Apache-2.0"
        assert [tap.count("+") for tap in entry.taps] == [3, 3]
        assert all(spec.tap(tap).stride == 14 for tap in entry.taps)
    assert rows["vit_large_patch14_dinov2"].taps[1] == "blocks.12+14+16+18"


@pytest.mark.slow
def test_a_run_of_the_word_trains_and_is_evaluated(tmp_path):
    for name in ("brick", "grass"):
        trees.add_class(tmp_path / "images", name)
    config = get_config("hgad_folder:dinov2_vits14_reg")
    config.backbone.source, config.data.root, config.data.image_size = "random", str(tmp_path / "images"), 56
    config.train.epochs, config.bank.size, config.detector.num_blocks, config.detector.regions = 2.0, 20, 2, 0
    hgad_jax.train(config, tmp_path / "run")
    hgad_jax.evaluate(tmp_path / "run")
    assert (tmp_path / "run" / "eval" / "results.json").is_file()
