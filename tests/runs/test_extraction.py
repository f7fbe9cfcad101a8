"""Features to keep: every device takes its share, and processes decode each image once."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import add_class

from hgad_jax.data import folder
from hgad_jax.data.geometry import Transform
from hgad_jax.data.pipeline import image_batches
from hgad_jax.runs import extraction

pytestmark = pytest.mark.devices(8)


def counting(variables, images):
    """In place of a backbone: an image's mean, and with how many others a device was given it."""
    means = images.astype(jnp.float32).mean((1, 2))
    return means[:, None, None] * variables, jnp.full((len(images), 1, 1, 1), len(images))


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(("count", "each"), [(64, [8] * 64), (5, [1] * 5), (66, [8] * 64 + [1] * 2)])
def test_images_are_spread_over_all_devices(count, each, together):
    assert jax.device_count() == 8
    images = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), np.uint8)
    levels = SimpleNamespace(apply=counting, variables=np.float32(2))
    means, on_device = extraction.features_of(levels, images, together=together)
    np.testing.assert_allclose(means[:, 0, 0], 2 * images.mean((1, 2)), rtol=1e-6)
    assert on_device[:, 0, 0, 0].tolist() == each


@pytest.mark.parametrize(("tiles", "own"), [(1, 2), (2, 8)])
def test_processes_decode_the_batches_of_one_each_its_rows(tmp_path, tiles, own):
    add_class(tmp_path, "brick", good=7, test=0)
    records = folder.load(str(tmp_path)).train
    transform, count = Transform(16, tiles=tiles), 3
    whole = list(image_batches(records, transform=transform, batch_size=own * count))
    shares = [
        list(
            extraction.shared_batches(
                records, transform, own, num_workers=0, process_index=index, process_count=count
            )
        )
        for index in range(count)
    ]
    assert {len(share) for share in shares} == {len(whole)}
    for batch, *parts in zip(whole, *shares, strict=True):
        for index, part in enumerate(parts):
            rows = slice(index * own, (index + 1) * own)
            np.testing.assert_array_equal(part["image"][rows], batch["image"][rows])
            assert part["image"].any((1, 2, 3)).sum() == batch["valid"][rows].sum(), "no other rows"
            np.testing.assert_array_equal(part["valid"], batch["valid"])
            np.testing.assert_array_equal(part["index"], batch["index"])
