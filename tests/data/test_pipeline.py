import threading
import time

import numpy as np
import pytest
from PIL import Image

from hgad_jax.data import pipeline
from hgad_jax.data.geometry import Transform
from hgad_jax.data.pipeline import image_batches, process_slice, training_indices
from hgad_jax.data.records import Record
from hgad_jax.errors import UserError


@pytest.fixture
def records(tmp_path):
    """Eleven images whose grey is ten times their index."""
    paths = [tmp_path / f"{i}.png" for i in range(11)]
    for i, path in enumerate(paths):
        Image.new("L", (5, 9), 10 * i).save(path)
    return [Record(str(path), "nut", "train", "good") for path in paths]


def assert_same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], other[name])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_are_in_order_and_of_one_shape(records, num_workers):
    batches = list(image_batches(records, transform=Transform(6), batch_size=4, num_workers=num_workers))
    assert len(batches) == 3
    for batch in batches:
        assert {name: (a.dtype, a.shape) for name, a in batch.items()} == {
            "image": (np.uint8, (4, 6, 6, 3)),
            "index": (np.int32, (4,)),
            "valid": (np.bool_, (4,)),
        }
    valid = np.concatenate([batch["valid"] for batch in batches])
    np.testing.assert_array_equal(valid, [True] * 11 + [False])
    np.testing.assert_array_equal(np.concatenate([b["index"] for b in batches])[valid], np.arange(11))
    images = np.concatenate([batch["image"] for batch in batches])
    np.testing.assert_array_equal(images[:, 2, 3, 1], [*range(0, 110, 10), 0])


@pytest.mark.parametrize("start", [1, 2, 3, 9])
def test_start_goes_on_where_another_run_stopped(records, start):
    whole = list(image_batches(records, transform=Transform(6), batch_size=4))
    assert_same(
        image_batches(records, transform=Transform(6), batch_size=4, num_workers=2, start=start),
        whole[start:],
    )


def test_no_records_give_no_batches():
    assert list(image_batches([], transform=Transform(6), batch_size=4, num_workers=2)) == []


@pytest.mark.parametrize("num_workers", [0, 2])
def test_unreadable_image_is_named(records, num_workers):
    with open(records[6].path, "wb"):
        pass
    batches = image_batches(records, transform=Transform(6), batch_size=4, num_workers=num_workers)
    assert next(batches)["valid"].all()
    with pytest.raises(UserError, match=r"6\.png' cannot be read as an image"):
        next(batches)


def test_images_are_decoded_by_several_threads_at_once(records, monkeypatch):
    together = threading.Barrier(2, timeout=20)  # breaks unless two threads wait at the same time

    def load(path, transform):
        together.wait()
        return np.zeros((transform.size, transform.size, 3), np.uint8)

    monkeypatch.setattr(pipeline, "load_image", load)
    assert len(list(image_batches(records[:8], transform=Transform(6), batch_size=4, num_workers=2))) == 2


def test_threads_end_with_the_iterator(records):
    before = threading.active_count()
    batches = image_batches(records, transform=Transform(6), batch_size=4, num_workers=3)
    next(batches)
    batches.close()
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


@pytest.mark.parametrize(("num_examples", "batch_size"), [(10, 4), (7, 7), (3, 8), (1, 2)])
def test_every_epoch_is_a_permutation_and_nothing_is_dropped(num_examples, batch_size):
    order = training_indices(num_examples, batch_size=batch_size, seed=0)
    batches = [order[step] for step in range(num_examples * 5)]
    assert all(batch.shape == (batch_size,) and batch.dtype == np.int64 for batch in batches)
    epochs = np.concatenate(batches).reshape(-1, num_examples)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(num_examples), (len(epochs), 1)))


def test_epochs_and_seeds_differ_and_the_same_seed_does_not():
    first, again, other = (training_indices(100, batch_size=100, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first[3], again[3])
    assert (first[0] != first[1]).any()
    assert all((first[i] != other[j]).any() for i in range(4) for j in range(4))


def test_order_depends_on_the_step_alone():
    whole = training_indices(10, batch_size=4, seed=3)
    expected = [whole[step] for step in range(20)]
    for start in range(20):
        resumed = training_indices(10, batch_size=4, seed=3)
        np.testing.assert_array_equal([resumed[step] for step in range(start, 20)], expected[start:])
    assert whole[10**9].shape == (4,)


def test_order_is_the_same_on_every_machine():
    np.testing.assert_array_equal(training_indices(5, batch_size=6, seed=7)[1], [4, 3, 2, 0, 0, 3])


@pytest.mark.parametrize(("num_examples", "batch_size"), [(0, 4), (4, 0)])
def test_nothing_to_train_on_is_refused(num_examples, batch_size):
    with pytest.raises(ValueError, match="at least one"):
        training_indices(num_examples, batch_size=batch_size, seed=0)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("start", [0, 1, 3, 11, 20])
def test_tiles_are_examples_in_order(records, num_workers, start):
    transform = Transform(6, tiles=2)
    batches = list(
        image_batches(records, transform=transform, batch_size=4, num_workers=num_workers, start=start)
    )
    valid = np.concatenate([batch["valid"] for batch in batches]) if batches else np.zeros(0, bool)
    assert valid.sum() == max(0, 44 - 4 * start)
    if batches:
        index = np.concatenate([batch["index"] for batch in batches])[valid]
        np.testing.assert_array_equal(index, np.arange(4 * start, 44))
        images = np.concatenate([batch["image"] for batch in batches])[valid]
        assert images.shape[1:] == (6, 6, 3)
        np.testing.assert_array_equal(images[:, 2, 3, 1], index // 4 * 10)


@pytest.mark.parametrize("process_count", [1, 2, 3, 6])
def test_slices_of_all_processes_are_the_batch_of_one(process_count):
    whole = training_indices(10, batch_size=6, seed=3)
    parts = [
        training_indices(10, batch_size=6, seed=3, process_index=i, process_count=process_count)
        for i in range(process_count)
    ]
    for step in range(12):
        np.testing.assert_array_equal(np.concatenate([part[step] for part in parts]), whole[step])


@pytest.mark.parametrize("arguments", [(2, 2), (-1, 2), (0, 0), (0, 4)])
def test_slices_that_are_none_are_refused(arguments):
    index, count = arguments
    with pytest.raises(ValueError, match="process"):
        process_slice(6, process_index=index, process_count=count)
