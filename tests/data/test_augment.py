"""Rotation is the published one, and what a step sees depends on the seed and the step alone."""

import itertools

import numpy as np
import pytest
import skimage.data
from PIL import Image

from hgad_jax.data.augment import augmented_batches, rotate
from hgad_jax.data.geometry import Transform
from hgad_jax.data.pipeline import training_indices
from hgad_jax.data.records import Record
from hgad_jax.data.transforms import load_image

PHOTO = skimage.data.coffee()[:96, :96]


class Fixed:
    """A generator that draws what it is told."""

    def __init__(self, value):
        self.value = value

    def random(self):
        return self.value


@pytest.mark.parametrize(("drawn", "angle"), [(0.0, -5.0), (0.5, 0.0), (1.0, 5.0), (0.9, 4.0)])
def test_rotation_is_pillows_which_torchvision_uses(drawn, angle):
    expected = Image.fromarray(PHOTO).rotate(angle, resample=Image.NEAREST, expand=False, fillcolor=0)
    np.testing.assert_array_equal(rotate(Fixed(drawn), PHOTO, 5.0), np.asarray(expected))


def test_rotation_by_brute_force():
    """Each pixel takes the nearest one at its place turned back; outside is black."""
    angle = np.deg2rad(5.0)
    centre = 48.0
    expected = np.zeros_like(PHOTO)
    for y, x in np.ndindex(96, 96):
        dy, dx = y + 0.5 - centre, x + 0.5 - centre
        source_x = np.floor(np.cos(angle) * dx - np.sin(angle) * dy + centre)
        source_y = np.floor(np.sin(angle) * dx + np.cos(angle) * dy + centre)
        if 0 <= source_x < 96 and 0 <= source_y < 96:
            expected[y, x] = PHOTO[int(source_y), int(source_x)]
    found = rotate(Fixed(1.0), PHOTO, 5.0)
    assert (found != expected).any(-1).mean() < 0.01, "but for rounding at the edges of pixels"
    assert not found[0, 0].any()


def test_angles_are_spread_evenly():
    line = np.zeros((201, 201, 3), np.uint8)
    line[100] = 255
    angles = []
    rng = np.random.default_rng(0)
    for _ in range(300):
        y = rotate(rng, line, 5.0)[:, 190, 0].argmax() - 100
        angles.append(np.rad2deg(np.arctan2(-y, 90)))
    assert -5.4 < min(angles) < -4.5
    assert 4.5 < max(angles) < 5.4
    assert abs(np.mean(angles)) < 0.5
    assert abs(np.std(angles) - 10 / np.sqrt(12)) < 0.3


def test_no_degrees_change_nothing():
    np.testing.assert_array_equal(rotate(np.random.default_rng(0), PHOTO, 0.0), PHOTO)


@pytest.fixture
def records(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for i, path in enumerate(paths):
        Image.fromarray(PHOTO[i * 9 : i * 9 + 40, :50]).save(path)
    return [Record(str(path), "cup", "train", "good") for path in paths]


def take(records, count, **options):
    settings = {"transform": Transform(24), "batch_size": 4, "seed": 7, "degrees": 5.0, **options}
    batches = augmented_batches(records, **settings)
    try:
        return list(itertools.islice(batches, count))
    finally:
        batches.close()


def assert_same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        for name in ("image", "index"):
            np.testing.assert_array_equal(batch[name], other[name])


@pytest.mark.parametrize("num_workers", [1, 3])
@pytest.mark.parametrize("start", [0, 2])
def test_a_step_depends_on_seed_and_step_alone(records, num_workers, start):
    whole = take(records, 6)
    assert_same(take(records, 6 - start, num_workers=num_workers, start=start), whole[start:])
    assert not np.array_equal(take(records, 1, seed=8)[0]["image"], whole[0]["image"])


def test_order_is_that_of_training_and_every_epoch_turns_anew(records):
    batches = take(records, 10)
    order = training_indices(5, batch_size=4, seed=7)
    np.testing.assert_array_equal([b["index"] for b in batches], [order[step] for step in range(10)])
    index = np.concatenate([b["index"] for b in batches])
    images = np.concatenate([b["image"] for b in batches])
    versions = {image.tobytes() for image in images[index == 2]}
    assert len(versions) >= 6, "nearly every one of the eight epochs shows other pixels"


def test_without_rotation_the_images_are_those_of_the_pipeline(records):
    (batch,) = take(records, 1, degrees=0.0)
    for image, index in zip(batch["image"], batch["index"], strict=True):
        np.testing.assert_array_equal(image, load_image(records[index].path, Transform(24)))


def test_processes_share_a_batch(records):
    whole = take(records, 3)
    halves = [take(records, 3, process_index=i, process_count=2) for i in range(2)]
    joined = [{k: np.concatenate([a[k], b[k]]) for k in a} for a, b in zip(*halves, strict=True)]
    assert_same(joined, whole)


def test_tiles_are_examples(records):
    transform = Transform(24, tiles=2)
    batches = take(records, 5, transform=transform, degrees=0.0)
    index = np.concatenate([b["index"] for b in batches])
    np.testing.assert_array_equal(np.sort(index), np.arange(20))
    whole = load_image(records[3].path, transform)
    image = np.concatenate([b["image"] for b in batches])[index == 3 * 4 + 3][0]
    np.testing.assert_array_equal(image, whole[-24:, -24:])
