"""Batches to train on: cached features, or those of images turned anew."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from trees import add_class, tiny_config

from hgad_jax.data.augment import augmented_batches
from hgad_jax.data.geometry import transform_of
from hgad_jax.runs.model import build_model, cached_features, load_usable
from hgad_jax.runs.training_set import training_set
from hgad_jax.training.batches import training_features


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    place = tmp_path_factory.mktemp("batches")
    for name in ("brick", "grass"):
        add_class(place / "data", name, test=0)
    config = tiny_config(place / "data", place / "cache", train__positions=0)
    dataset = load_usable(config, place, print)
    model = build_model(config, 2)
    cache = cached_features(config, model.levels, dataset.train, str(place / "cache"), print)
    return config, model, training_set(config, dataset, cache)


def first(config, model, data, start=0, count=3):
    batches = training_features(config, model.levels, data.records, data.cache, data.train, start)
    return [(features, data.labels[indices]) for features, indices, _ in itertools.islice(batches, count)]


def rotated(config, degrees):
    config = config.copy_and_resolve_references()
    config.data.rotation = degrees
    return config


def test_turned_images_go_through_the_backbone_with_their_labels(prepared):
    config, model, data = prepared
    turned = first(rotated(config, 10.0), model, data)
    images = augmented_batches(
        data.records,
        transform=transform_of(config.data),
        batch_size=config.train.batch_size,
        seed=config.seed,
        degrees=10.0,
    )
    for (features, labels), batch in zip(turned, images, strict=False):
        expected = model.levels.apply(model.levels.variables, jnp.asarray(batch["image"]))
        for a, b in zip(features, expected[model.levels.coarse], strict=True):
            np.testing.assert_array_equal(a, b)
        names = [("brick", "grass")[k] for k in labels]
        assert names == [data.records[i].class_name for i in batch["index"]]


def test_the_same_images_in_the_same_order_as_from_the_cache(prepared):
    """A turn by next to nothing leaves the features as they are cached; by ten degrees it does not."""
    config, model, data = prepared
    cached = first(config, model, data)
    for degrees, same in ((1e-6, True), (10.0, False)):
        for (features, labels), (stored, stored_labels) in zip(
            first(rotated(config, degrees), model, data), cached, strict=True
        ):
            np.testing.assert_array_equal(labels, stored_labels)
            difference = max(np.abs(a - b).max() for a, b in zip(features, stored, strict=True))
            assert (difference < 1e-3) == same


@pytest.mark.parametrize("degrees", [0.0, 10.0])
def test_a_step_has_its_batch_wherever_a_run_starts(prepared, degrees):
    config, model, data = prepared
    config = rotated(config, degrees)
    for a, b in zip(
        first(config, model, data)[2:], first(config, model, data, start=2, count=1), strict=True
    ):
        np.testing.assert_array_equal(a[1], b[1])
        for x, y in zip(a[0], b[0], strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("degrees", [0.0, 1e-6])
def test_a_sample_of_positions_is_of_the_same_images(prepared, degrees):
    config, model, data = prepared
    config = rotated(config, degrees)
    whole = first(config, model, data)
    config.train.positions = 4
    batches = training_features(config, model.levels, data.records, data.cache, data.train, 0)
    seen = []
    for (features, labels), (sampled, indices, grids) in zip(whole, batches, strict=False):
        np.testing.assert_array_equal(data.labels[indices], labels)
        seen.append(grids)
        for maps, part, grid in zip(features, sampled, grids, strict=True):
            assert part.shape[1] * part.shape[2] <= 4
            np.testing.assert_array_equal(part, maps[:, grid.rows][:, :, grid.columns])
    assert len({str(grids) for grids in seen}) > 1  # they move
    later = next(training_features(config, model.levels, data.records, data.cache, data.train, 2))[2]
    assert str(later) == str(seen[2])
