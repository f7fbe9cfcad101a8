"""Test images that are nearly a training image are named, and others are not."""

import numpy as np
import pytest
from PIL import Image
from trees import add_class, crop, save, texture

from hgad_jax.data import leaks
from hgad_jax.data.check import check
from hgad_jax.data.decode import decode
from hgad_jax.data.folder import scan
from hgad_jax.data.geometry import Transform


def said_of(root):
    lines = []
    sound = check(scan(str(root)), Transform(64), num_workers=0, say=lines.append)
    return sound, "\n".join(lines)


def test_images_saved_again_brighter_or_moved_are_named(tmp_path):
    folder = add_class(tmp_path, "brick", good=14)
    assert "leaky split" not in said_of(tmp_path)[1]
    image = np.asarray(Image.open(folder / "train/good/03.png"))
    save(folder / "test/good/brighter.png", (0.7 * image + 60).astype(np.uint8))
    noisy = image + np.random.default_rng(0).normal(0, 2, image.shape)
    save(folder / "test/square/again.png", noisy.clip(0, 255).astype(np.uint8))
    save(folder / "ground_truth/square/again_mask.png", np.eye(64, dtype=np.uint8) * 255)
    sound, said = said_of(tmp_path)
    assert sound, "worth knowing, no more"
    assert "Note: 2 test images are nearly the same as a training image" in said
    assert "good/brighter.png' ≈ '" in said
    assert said.count("03.png'") == 2


def test_copies_of_a_file_are_told_of_once(tmp_path):
    folder = add_class(tmp_path, "brick", good=14)
    (folder / "test/good/copy.png").write_bytes((folder / "train/good/03.png").read_bytes())
    sound, said = said_of(tmp_path)
    assert not sound
    assert "leaky split" not in said


def test_images_of_a_class_that_all_look_alike_are_not_named(tmp_path):
    rng = np.random.default_rng(0)
    base = texture("brick")[:64, :64].astype(float)
    for i in range(30):
        place = "train/good" if i < 20 else "test/good"
        noisy = base + 12 * rng.normal(size=base.shape)
        save(tmp_path / "nut" / place / f"{i:02}.png", noisy.clip(0, 255).astype(np.uint8))
    assert "leaky split" not in said_of(tmp_path)[1]


@pytest.mark.parametrize("kind", ["L", "RGB", "RGBA", "P", "1", "uint16", "float"])
def test_a_thumbnail_is_the_same_in_every_mode(tmp_path, kind):
    grey = crop("gravel", np.random.default_rng(0))
    if kind in ("uint16", "float"):
        image = grey.astype(np.uint16) * 257 if kind == "uint16" else grey.astype(np.float32) / 255
    else:
        image = Image.fromarray(grey).convert(kind)
    found = np.frombuffer(leaks.thumbnail(decode(image)), np.uint8).astype(int)
    expected = np.frombuffer(leaks.thumbnail(decode(Image.fromarray(grey))), np.uint8).astype(int)
    assert np.abs(found - expected).mean() < (25 if kind == "1" else 1.5)


def test_an_image_of_one_grey_tells_nothing():
    assert leaks.thumbnail(decode(np.full((40, 50), 7, np.uint8))) == b""
