"""What becomes of a user's images in training and evaluation: left out, cut into tiles, grouped."""

import json
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from trees import SIDE, add_class, crop, save, texture, tiny_config

from hgad_jax.data import load_dataset
from hgad_jax.errors import UserError
from hgad_jax.evaluation.evaluate import evaluate
from hgad_jax.inference.scorer import load_scorer
from hgad_jax.runs import checkpoints, model
from hgad_jax.training import loop
from hgad_jax.training.batches import training_features
from hgad_jax.training.loop import train

QUICK = {"train__epochs": 1.0, "backbone__taps": ("blocks.4",)}


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


@pytest.fixture
def data(tmp_path):
    for name in ("brick", "grass"):
        add_class(tmp_path / "data", name)
    return tmp_path / "data"


def break_some(data):
    """Corrupt images at the start, in the middle and at the end of what is listed; returns their paths."""
    good = data / "brick/train/good"
    paths = [good / "000.png", good / "05_.png", data / "grass/train/good/zz.png"]
    paths += [data / "brick/test/good/0_.png", data / "grass/test/square/9.png"]
    for path in paths:
        content = (good / "01.png").read_bytes()
        path.write_bytes(content[: len(content) // 2])
    save(data / "grass/ground_truth/square/9_mask.png", np.ones((SIDE, SIDE), np.uint8))
    return paths


def test_training_with_corrupt_images_skipped_is_training_without_them(data, tmp_path):
    plain = train(tiny_config(data, tmp_path / "cache", **QUICK), tmp_path / "plain")
    expected = evaluate(tmp_path / "plain", log=lambda line: None)
    broken = break_some(data)

    with pytest.raises(UserError) as error:
        train(tiny_config(data, tmp_path / "cache", **QUICK), tmp_path / "raised")
    assert "5 files are of one kind" in str(error.value)
    report = tmp_path / "raised" / "problems.txt"
    assert f"All that was found is in {report}." in str(error.value)
    assert all(path.name in report.read_text() for path in broken)
    assert not (tmp_path / "raised" / "config.json").exists(), "so that the config may be changed"

    lines = []
    config = tiny_config(data, tmp_path / "cache", data__on_error="skip", data__workers=2, **QUICK)
    state = train(config, tmp_path / "skipped", log=lines.append)
    assert any(line.startswith("Left out 5 of 41 images that cannot be used: ") for line in lines), lines
    same(state.params, plain.params)
    found = evaluate(tmp_path / "skipped", log=lambda line: None)
    assert found | {"training": None} == expected | {"training": None}, "but for the time it took"


def test_an_image_that_breaks_between_check_and_reading_is_named(data, tmp_path, monkeypatch):
    usable = loop.load_usable

    def then_break(*args, **options):
        dataset = usable(*args, **options)
        (data / "brick/train/good/03.png").write_bytes(b"")
        return dataset

    monkeypatch.setattr(loop, "load_usable", then_break)
    with pytest.raises(UserError, match=r"brick/train/good/03\.png' cannot be read as an image"):
        train(tiny_config(data, tmp_path / "cache", data__on_error="skip", **QUICK), tmp_path / "run")
    left = list((tmp_path / "cache").glob("*/key.json"))
    assert not left, "nothing that looks like a whole cache"


class Stop(Exception):
    """Far enough."""


def test_a_duplicate_in_train_and_test_is_told_and_trained_on(data, tmp_path, monkeypatch):
    def stop(*args):
        raise Stop

    monkeypatch.setattr(loop, "build_model", stop)
    shutil.copy(data / "brick/train/good/01.png", data / "brick/test/good/leak.png")
    lines = []
    with pytest.raises(Stop):
        loop.train(tiny_config(data), tmp_path / "run", log=lines.append)
    (line,) = [line for line in lines if "in train and in test" in line]
    assert "brick/train/good/01.png" in line
    assert "leak.png" in line


@pytest.mark.slow
def test_tiles_of_letterboxed_images_are_trained_on(data, tmp_path):
    save(data / "brick/train/good/long.png", texture("brick")[:SIDE, : 2 * SIDE])
    lines = []
    tiled = {"data__tiles": 2, "data__image_size": 32, "data__resize": "letterbox"}
    loop.train(tiny_config(data, tmp_path / "cache", **tiled, **QUICK), tmp_path / "run", log=lines.append)
    assert any("17 good images to train on, 8 to calibrate on, 4 tiles each" in line for line in lines), lines
    (cache,) = (tmp_path / "cache").glob("*/level0.npy")
    features = np.load(cache, mmap_mode="r")
    assert features.shape[0] == 4 * 25
    assert load_scorer(tmp_path / "run").config.data.tiles == 2


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    """Two textures in one folder, and a run that groups them."""
    place = tmp_path_factory.mktemp("mixture")
    rng = np.random.default_rng(0)
    for i in range(24):
        save(place / f"data/train/good/{i:02}.png", crop(("brick", "grass")[i % 2], rng))
    for i in range(6):
        name = ("brick", "grass")[i % 2]
        save(place / f"data/test/good/{i}_{name}.png", crop(name, rng))
        defective = crop(name, rng)
        defective[20:40, 20:40] = 255
        save(place / f"data/test/square/{i}_{name}.png", defective)
    lines = []
    config = tiny_config(place / "data", place / "cache", data__classes="cluster:2", **QUICK)
    state = train(config, place / "run", log=lines.append)
    return place, config, state, lines


def test_two_textures_become_two_classes(mixture):
    place, _, _, lines = mixture
    assert any("cluster_0: 12, cluster_1: 12" in line for line in lines), lines
    assignment = json.loads((place / "run/clusters.json").read_text())["assignment"]
    for path, name in assignment.items():
        assert name == f"cluster_{int(path[-6:-4]) % 2}", path


def test_new_images_join_the_groups_in_evaluation(mixture):
    place, _, _, _ = mixture
    scorer = load_scorer(place / "run")
    assert scorer.classes == ("cluster_0", "cluster_1")
    results = evaluate(place / "run", log=lambda line: None)
    counts = {name: values["images"] for name, values in results["classes"].items()}
    assert counts == {"cluster_0": 6, "cluster_1": 6}
    assert results["class_accuracy"] >= 0.9


def test_the_groups_are_in_the_checkpoint_and_found_the_same_again(mixture):
    place, config, state, _ = mixture
    with checkpoints.open_manager(place / "run", read_only=True) as manager:
        metadata = checkpoints.read_metadata(manager, checkpoints.latest_step(manager))
    stored = json.loads((place / "run/clusters.json").read_text())["centroids"]
    assert metadata["clusters"] == stored
    assert metadata["classes"] == ["cluster_0", "cluster_1"]
    again = train(config, place / "again")
    same(again.params, state.params)
    assert (place / "again/clusters.json").read_text() == (place / "run/clusters.json").read_text()


def test_a_lost_file_of_groups_is_said(mixture, tmp_path):
    place, _, _, _ = mixture
    shutil.copytree(place / "run", tmp_path / "run")
    (tmp_path / "run/clusters.json").unlink()
    with pytest.raises(UserError, match=r"holds no clusters\.json"):
        evaluate(tmp_path / "run", log=lambda line: None)


def test_the_caches_key_covers_all_that_features_depend_on(data, tmp_path, monkeypatch):
    """Whatever changes the features changes the key; what does not, does not."""
    keys = []
    monkeypatch.setattr(model, "open_or_build", lambda directory, *, key, **rest: keys.append(str(key)))

    levels = SimpleNamespace(weights_hash="weights")

    def key(**changes):
        config = tiny_config(data, **changes)
        model.cached_features(config, levels, load_dataset(config.data).train, str(tmp_path), print)
        return keys[-1]

    plain = key()
    assert key(train__epochs=9.0, cache__dtype="bfloat16", data__workers=2) == plain
    others = [
        key(data__image_size=96),
        key(data__resize="letterbox"),
        key(data__interpolation="lanczos"),
        key(data__tiles=2),
        key(data__tiles=2, data__tile_overlap=0.5),
        key(backbone__taps=("blocks.4", "blocks.2")),
        key(backbone__scales=(1, 2)),
    ]
    levels.weights_hash = "other weights"
    others.append(key())
    levels.weights_hash = "weights"
    save(data / "brick/train/good/00.png", np.zeros((SIDE, SIDE), np.uint8))
    others.append(key())
    assert len({plain, *others}) == 1 + len(others)


def mean_colours(variables, images):
    """In place of a backbone."""
    return (images.reshape(len(images), 4, SIDE // 4, 4, SIDE // 4, 3).mean((2, 4)).astype(np.float32),)


def test_steps_get_cached_features_or_those_of_rotated_images(data, tmp_path):
    levels = SimpleNamespace(
        apply=mean_colours, variables=None, weights_hash="none", sizes=((4, 4, 3),), coarse=slice(None)
    )

    def steps(count, start=0, **changes):
        config = tiny_config(data, data__resize="letterbox", data__detail=1, **changes)
        records = load_dataset(config.data).train
        cache = model.cached_features(config, levels, records, str(tmp_path / "cache"), print)
        chosen = np.arange(2, 20)
        subset = [records[i] for i in chosen]
        source = training_features(config, levels, subset, cache, chosen, start)
        taken = [next(source) for _ in range(count)]
        source.close()
        return cache, [features[0] for features, *_ in taken], [indices for _, indices, _ in taken]

    cache, plain, order = steps(5)
    for features, indices in zip(plain, order, strict=True):
        np.testing.assert_array_equal(features, cache.gather(indices)[0])
    np.testing.assert_array_equal(np.sort(np.concatenate(order)[:18]), np.arange(2, 20))

    _, rotated, same_order = steps(5, data__rotation=5.0)
    np.testing.assert_array_equal(same_order, order)
    near, far = np.abs(np.array(rotated) - plain).mean(), np.ptp(plain, axis=0).mean()
    assert 0 < near < 0.5 * far, "the same images, turned a little"
    _, resumed, _ = steps(3, start=2, data__rotation=5.0, data__workers=2)
    np.testing.assert_array_equal(resumed, rotated[2:])


@pytest.mark.slow
def test_training_on_rotated_images_resumes_exactly(data, tmp_path, monkeypatch):
    config = tiny_config(data, tmp_path / "cache", data__rotation=5.0, train__checkpoint_every=1, **QUICK)
    whole = train(config, tmp_path / "whole")
    make_train_step, calls = loop.make_train_step, []

    def make(*args, **kwargs):
        step = make_train_step(*args, **kwargs)

        def stopping(*arguments):
            calls.append(1)
            if len(calls) == 2:
                raise Stop
            return step(*arguments)

        return stopping

    with monkeypatch.context() as patched:
        patched.setattr(loop, "make_train_step", make)
        with pytest.raises(Stop):
            train(config, tmp_path / "stopped")
    same(train(config, tmp_path / "stopped").params, whole.params)
