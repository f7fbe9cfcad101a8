"""Scoring with tiles and with a letterbox, from the images to the map at their own size."""

import jax
import numpy as np
import pytest
from PIL import Image
from trees import SIDE, add_class, crop, tiny_config

from hgad_jax.data import load_dataset
from hgad_jax.data.tiles import blend, cut
from hgad_jax.data.transforms import load_image
from hgad_jax.inference.labelled import scored_batches
from hgad_jax.inference.predictor import Predictor
from hgad_jax.scoring.combination import COMBINATIONS
from hgad_jax.scoring.constants import of_classes
from hgad_jax.training.loop import train


def predictor_of(place, **changes):
    for name in ("brick", "grass"):
        add_class(place / "data", name)
    train(
        tiny_config(place / "data", train__epochs=0.0, backbone__taps=("blocks.4",), **changes), place / "run"
    )
    return Predictor.load(place / "run")


@pytest.fixture(scope="module")
def tiled(tmp_path_factory):
    return predictor_of(tmp_path_factory.mktemp("tiled"), data__tiles=2, scoring__batch_size=9)


def test_a_tiled_image_is_scored_from_its_blended_map(tiled):
    """Tile by tile and blended by the data package."""
    scorer = tiled.scorer
    assert scorer.transform.working_size == 112
    record = load_dataset(scorer.config.data).test[4]
    tiles = cut(load_image(record.path, scorer.transform), scorer.transform)
    found = tiled(record.path)
    assert found.map.shape == (SIDE, SIDE)
    k = scorer.classes.index(found.class_name)
    ids = np.full(4, k, np.int32)
    evidence = scorer.evidence(tiles, ids)
    constants = of_classes(scorer.calibration.constants, ids)
    maps = COMBINATIONS[scorer.config.scoring.pixel_map](
        evidence.log_likelihood, evidence.negative_entropy, constants, SIDE
    )
    whole = blend(np.asarray(maps), scorer.transform)
    np.testing.assert_allclose(scorer.calibrated(evidence).maps[0], whole, rtol=1e-4, atol=1e-4)
    pieces, term = [], constants.log_likelihood
    for level, values in enumerate(evidence.log_likelihood):  # each by itself, of all tiles
        mean, deviation = (part[level][:, None, None] for part in (term.level_mean, term.level_deviation))
        above = np.sort(np.ravel((mean - values) / deviation))
        pieces.append(above[-int(np.ceil(0.01 * above.size)) :].mean())
    standard = (np.array(pieces) - constants.image.mean[0]) / constants.image.deviation[0]
    assert list(found.evidence.values()) == pytest.approx(standard.tolist(), rel=1e-3, abs=1e-3)
    assert found.score == pytest.approx(np.logaddexp.reduce(standard), rel=1e-3)


def test_the_tiles_of_an_image_have_one_class(tiled):
    scorer = tiled.scorer
    rng = np.random.default_rng(0)
    brick, grass = (
        crop(name, rng).repeat(3, -1).reshape(SIDE, SIDE, 3).repeat(2, 0).repeat(2, 1)  # in detail
        for name in ("brick", "grass")
    )
    mixed = np.stack([brick, brick, brick, grass, grass, grass, grass, brick])
    evidence = scorer.evidence(mixed)
    summed = np.asarray(evidence.class_log_prob).reshape(2, 4, 2).sum(1)
    assert np.asarray(evidence.class_ids).tolist() == summed.argmax(1).repeat(4).tolist()
    alone = [int(scorer.evidence(np.stack([tile] * 4)).class_ids[0]) for tile in (brick, grass)]
    assert alone == [0, 1], "else nothing is tested"


def test_tiled_images_score_alone_as_in_batches(tiled):
    scorer = tiled.scorer
    records = load_dataset(scorer.config.data).test
    assert len(scorer.calibration.scores["given"].image) == 8, "images, not tiles"
    scores, places = np.zeros(len(records)), []
    for place, found, scored_as in scored_batches(scorer, records):
        scores[place] = found.image
        places.append((place.start, len(scored_as), found.maps.shape[1:]))
    assert places == [(i, 2, (112, 112)) for i in range(0, 12, 2)], "two images of four tiles a batch"
    for i in (0, 7, 11):
        assert tiled(records[i].path).score == pytest.approx(scores[i], rel=1e-5, abs=1e-5)


def test_a_letterbox_leaves_its_padding_out(tmp_path):
    predictor = predictor_of(tmp_path, data__resize="letterbox")
    scorer = predictor.scorer
    image = np.asarray(Image.fromarray(crop("brick", np.random.default_rng(1))).resize((100, 50)))
    found = predictor(image)
    assert found.map.shape == (50, 100)
    assert np.isfinite(found.map).all()
    evidence = scorer.evidence(load_image(image, scorer.transform)[None])
    scores = jax.device_get(scorer.calibrated(evidence, scorer.boxes([(50, 100)])))
    assert found.score == pytest.approx(scores.image[0], rel=1e-5)
    everything = jax.device_get(scorer.calibrated(evidence))
    assert everything.image[0] > scores.image[0], "black bars are an anomaly to a model of textures"
