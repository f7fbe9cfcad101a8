"""Images of two textures in one folder come apart again."""

import numpy as np
import pytest
import sklearn.cluster

from hgad_jax.data import clusters
from hgad_jax.errors import UserError

RNG = np.random.default_rng(0)
CENTRES = np.array([[0, 0, 5], [5, 0, 0], [0, 5, 0]], np.float32)
TRUE = np.array([1, 1, 0, 2, 1, 0, 2, 0, 2, 2, 1, 0] * 5)
POINTS = (CENTRES[TRUE] + 0.3 * RNG.standard_normal((60, 3))).astype(np.float32)


@pytest.mark.parametrize(("setting", "expected"), [("given", None), ("cluster:1", 1), ("cluster:15", 15)])
def test_setting(setting, expected):
    assert clusters.num_clusters(setting) == expected


@pytest.mark.parametrize("setting", ["cluster", "cluster:0", "cluster:-2", "cluster:2.5", "kmeans:3", ""])
def test_other_settings_are_refused(setting):
    with pytest.raises(UserError, match=r"config\.data\.classes is .*'cluster:K'"):
        clusters.num_clusters(setting)


def test_pooled_levels_have_length_one_each():
    levels = [RNG.standard_normal((4, 3, 5, 6)), 100 * RNG.standard_normal((4, 2, 2, 3))]
    pooled = clusters.pool(levels)
    assert pooled.shape == (4, 9)
    assert pooled.dtype == np.float32
    expected = levels[1].mean((1, 2))
    expected /= np.sqrt((expected**2).sum(1))[:, None]
    np.testing.assert_allclose(pooled[:, 6:], expected, rtol=1e-5)
    assert np.isfinite(clusters.pool([np.zeros((1, 2, 2, 3))])).all()


def test_groups_are_numbered_by_their_first_image():
    centroids = clusters.fit(POINTS, 3, seed=0)
    ids = clusters.assign(centroids, POINTS)
    assert ids.dtype == np.int32
    order = {1: 0, 0: 1, 2: 2}  # true class → in order of appearance
    np.testing.assert_array_equal(ids, [order[k] for k in TRUE])
    assert clusters.class_names(3) == ("cluster_0", "cluster_1", "cluster_2")


def test_the_same_seed_gives_the_same_groups():
    noise = RNG.standard_normal((50, 4)).astype(np.float32)
    np.testing.assert_array_equal(clusters.fit(noise, 5, seed=3), clusters.fit(noise, 5, seed=3))


def test_assignment_is_scikit_learns():
    noise = RNG.standard_normal((200, 4)).astype(np.float32)
    means = sklearn.cluster.KMeans(7, n_init=1, random_state=0).fit(noise)
    new = RNG.standard_normal((100, 4)).astype(np.float32)
    np.testing.assert_array_equal(
        clusters.assign(means.cluster_centers_, new), means.predict(new).astype(np.int32)
    )


def test_more_groups_than_images_are_refused():
    with pytest.raises(UserError, match="asks for 3 groups, but there are only 2 different images"):
        clusters.fit(np.eye(2, dtype=np.float32).repeat(4, 0), 3, seed=0)


def test_large_sets_are_fitted_on_a_part(monkeypatch):
    monkeypatch.setattr(clusters, "_FIT_ON", 24)
    ids = clusters.assign(clusters.fit(POINTS, 3, seed=0), POINTS)
    assert all(len(set(ids[k == TRUE])) == 1 for k in range(3))


def test_centroids_come_back_from_the_file_exactly(tmp_path):
    path = str(tmp_path / "clusters.json")
    assert clusters.load(path) is None
    centroids = clusters.fit(POINTS, 3, seed=0)
    clusters.save(path, centroids, {"a.png": "cluster_0"})
    np.testing.assert_array_equal(clusters.load(path), centroids)
    for content in ("", "{}", '{"centroids": [1, 2]}', '{"centroids": [[1], [1, 2]]}'):
        (tmp_path / "clusters.json").write_text(content)
        with pytest.raises(UserError, match=r"clusters\.json' cannot be read"):
            clusters.load(path)
