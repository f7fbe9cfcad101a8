"""Near-duplicates of made-up parts are found and held out together; other products are split as ever."""

import collections
import hashlib

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist
from test_split import make

from hgad_jax.data import groups, named_groups, split
from hgad_jax.data.split import hold_out
from hgad_jax.errors import UserError

OPTIONS = {"fraction": 0.2, "min_images": 2, "seed": 0}


def parts(count, each, *, spread=0.2, dimensions=60, seed=0):
    """Descriptors of parts in some exposures, shuffled, and which part each is."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(count), each))
    centres = rng.normal(size=(count, dimensions))
    return (centres[truth] + spread * rng.normal(size=(len(truth), dimensions))).astype(np.float16), truth


@pytest.mark.parametrize(("count", "each"), [(8, 6), (20, 6), (100, 2), (60, 5)])
def test_parts_are_found(count, each):
    descriptors, truth = parts(count, each)
    found = groups.find(descriptors)
    pairs = set(zip(truth.tolist(), found.tolist(), strict=True))
    assert len(pairs) == count, "no part is torn apart"
    assert len(groups.sizes(found)) >= 0.85 * count, "hardly any two are thrown together"


def test_images_that_are_like_no_other_are_alone():
    grouped, truth = parts(50, 6)
    alone, _ = parts(30, 1, seed=1)
    found = groups.find(np.concatenate([grouped, alone]))
    np.testing.assert_array_equal(found, groups.numbered(np.r_[truth, 50 + np.arange(30)]))


def test_a_product_without_groups_has_none():
    descriptors, _ = parts(300, 1)
    assert groups.find(descriptors) is None


@pytest.mark.parametrize("count", [40, 80, 160, 320])
def test_parts_at_any_angle_are_no_groups(count):
    """A ring of images: each has near neighbours, but there is no gap between clusters."""
    rng = np.random.default_rng(0)
    angles = rng.uniform(0, 2 * np.pi, count)
    ring = np.concatenate([np.stack([np.cos(n * angles), np.sin(n * angles)], 1) / n for n in (1, 2, 3)], 1)
    noisy = np.concatenate([ring, 0.15 * rng.normal(size=(count, 40))], 1)
    assert groups.find(noisy.astype(np.float16)) is None


def test_copies_are_no_sign_of_groups_and_are_of_one_group():
    descriptors, _ = parts(100, 1)
    assert groups.find(np.concatenate([descriptors, descriptors])) is None
    descriptors, _ = parts(30, 4)
    once = groups.find(descriptors)
    np.testing.assert_array_equal(groups.find(np.concatenate([descriptors, descriptors])), np.r_[once, once])


@pytest.mark.parametrize("descriptors", [np.zeros((100, 8)), np.ones((1, 8)), parts(5, 6)[0]])
def test_too_few_images_or_all_alike_say_nothing(descriptors):
    assert groups.find(np.asarray(descriptors, np.float16)) is None


def test_clusters_part_by_part_are_those_of_the_whole(monkeypatch):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(400, 5)).astype(np.float32)
    monkeypatch.setattr(groups, "_BLOCK", 37)
    whole = fcluster(linkage(pdist(points), "average"), 0.9, "distance")
    np.testing.assert_array_equal(groups.numbered(groups._clusters(points, 0.9)), groups.numbered(whole))


def test_no_more_than_so_many_are_clustered_together(monkeypatch):
    sizes = []

    def spied(x, original=groups.pdist):
        sizes.append(len(x))
        return original(x)

    monkeypatch.setattr(groups, "pdist", spied)
    monkeypatch.setattr(groups, "_LARGEST", 50)
    points = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    ids = groups._clusters(points, 2.0)
    assert max(sizes) <= 50
    assert sorted(set(ids.tolist())) == list(range(ids.max() + 1))


def test_silhouette_is_that_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    points, truth = parts(12, 5, spread=0.6)
    points = points.astype(np.float32)
    expected = sklearn.silhouette_samples(points.astype(np.float64), truth).mean()
    assert groups._silhouette(points, groups.numbered(truth)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("size", [(8, 8), (3, 5), (1, 1), (10, 7)])
def test_a_descriptor_is_means_of_parts(size):
    level = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    rows, columns = (np.array_split(np.arange(n), min(4, n)) for n in size)
    expected = [[level[:, r][:, :, c].mean((1, 2)) for c in columns] for r in rows]
    expected = np.moveaxis(np.array(expected), 2, 0).reshape(2, -1)
    np.testing.assert_allclose(groups.coarse(level), expected, atol=2e-3)


@pytest.mark.parametrize("seed", range(5))
def test_whole_groups_are_held_out(tmp_path, seed):
    records = make(tmp_path, "tile", range(120))
    ids = np.arange(120) // 6
    train, held = hold_out(records, **OPTIONS | {"seed": seed}, groups=ids)
    assert sorted(train + held) == list(range(120))
    assert not set(ids[train]) & set(ids[held])
    assert len(held) == 24
    assert held != hold_out(records, **OPTIONS | {"seed": seed + 1}, groups=ids)[1]


def test_without_groups_the_split_is_the_same(tmp_path):
    records = make(tmp_path, "nut", [*range(30), *range(5)]) + make(tmp_path, "bolt", range(100, 120))
    ids = np.arange(len(records))
    assert hold_out(records, **OPTIONS, groups=ids) == hold_out(records, **OPTIONS)
    ids[40:43] = 40  # of a bolt: nuts stay where they were
    nuts = [i for i in hold_out(records, **OPTIONS, groups=ids)[1] if i < 35]
    assert nuts == [i for i in hold_out(records, **OPTIONS)[1] if i < 35]


def test_order_does_not_matter(tmp_path):
    records, ids = make(tmp_path, "nut", range(60)), np.arange(60) // 4
    held = {records[i].path for i in hold_out(records, **OPTIONS, groups=ids)[1]}
    order = np.random.default_rng(0).permutation(60)
    shuffled = [records[i] for i in order]
    again = hold_out(shuffled, **OPTIONS, groups=groups.numbered(ids[order]))[1]
    assert {shuffled[i].path for i in again} == held


def test_copies_in_two_groups_make_one_of_them(tmp_path):
    records = make(tmp_path, "nut", [*range(40), 0])
    ids = np.r_[np.arange(40) // 4, 1]  # a copy of an image of group 0
    for seed in range(6):
        held = hold_out(records, **OPTIONS | {"seed": seed}, groups=ids)[1]
        assert len({*range(8), 40} & set(held)) in (0, 9)


@pytest.mark.parametrize("sizes", [(50, 1, 1, 1), (20, 20, 20, 20), (1, 1, 90, 3, 5), (7, 30, 1, 2)])
def test_two_groups_at_least_on_each_side(tmp_path, sizes):
    records, ids = make(tmp_path, "nut", range(sum(sizes))), np.repeat(np.arange(len(sizes)), sizes)
    train, held = hold_out(records, **OPTIONS, groups=ids)
    assert len(set(ids[train])) >= 2
    assert len(set(ids[held])) >= 2


def test_too_few_groups_are_refused(tmp_path):
    records = make(tmp_path, "nut", range(30))
    with pytest.raises(UserError, match=r"Class 'nut' has 3 groups of near-duplicates, expected at least 4"):
        hold_out(records, **OPTIONS, groups=np.arange(30) // 10)


def test_groups_by_name(tmp_path):
    records = make(tmp_path, "nut", range(12))
    found = named_groups.given(r"name:nut(\d)\d?\.png", records, "")
    assert collections.Counter(found)["1"] == 3, "nut1, nut10 and nut11"
    found = named_groups.given(r"name:nut(1)\d", records, "")
    assert collections.Counter(found).most_common(1) == [("1", 2)]
    assert len(set(found)) == 11, "others are alone"


def test_groups_by_csv(tmp_path):
    records = make(tmp_path, "nut", range(6))
    rows = ["nut0.png", str(tmp_path / "nut1.png"), "./nut2.png", "nut3.png", "nut4.png", "nut5.png"]
    lines = [f"{path},{'ab'[i % 2]}" for i, path in enumerate(rows)]
    for folder in (tmp_path, tmp_path / "elsewhere"):
        folder.mkdir(exist_ok=True)
        (folder / "groups.csv").write_text("\n".join(["path,group", *lines, "other.png,c", ""]))
        found = named_groups.given(f"csv:{folder}/groups.csv", records, str(tmp_path))
        assert found == list("ababab")


BAD_CSV = {
    "path,group\nnut0.png,a\n": r"says nothing of 3 of 4 good images: '.*nut1\.png'",
    "file,part\nnut0.png,a\n": "begins with 'file,part', expected a row that names the columns path,group",
    "": "begins with ''",
    "path,group\nnut0.png,a\nnut0.png,b\n": r"row 3: 'nut0.png' is in 'b' here and in 'a' above",
    "path,group\nnut0.png,\n": "row 2: expected a path and a group",
}


@pytest.mark.parametrize("content", BAD_CSV)
def test_a_csv_that_does_not_fit(tmp_path, content):
    (tmp_path / "groups.csv").write_text(content)
    with pytest.raises(UserError, match=BAD_CSV[content]):
        named_groups.given(f"csv:{tmp_path}/groups.csv", make(tmp_path, "nut", range(4)), "")


BAD = {
    "csv:/no/such.csv": "cannot be read .*No such file",
    "name:bolt(\\d)": r"the pattern 'bolt\(\\d\)' matches no name of the 4 good images \('nut0.png'",
    "name:([": "the pattern .* cannot be read .*expected a regular expression",
    "name:nut": "has 0 groups in brackets, expected one",
    "name:(n)(u)": "has 2 groups",
    "name:": "is 'name:', expected 'auto', 'none'",
    "csv:": "is 'csv:', expected 'auto'",
    "auto:": "is 'auto:', expected 'auto'",
    "tiles": "is 'tiles', expected 'auto', 'none', 'name:REGEX'",
}


@pytest.mark.parametrize("value", BAD)
def test_what_is_no_setting(tmp_path, value):
    with pytest.raises(UserError, match=BAD[value]):
        named_groups.given(value, make(tmp_path, "nut", range(4)), "")


def test_large_groups_come_no_sooner_than_small_ones():
    ids, places = [*range(10), *np.repeat(np.arange(10, 20), 12).tolist()], []
    for seed in range(40):
        hashes = [hashlib.sha256(f"{seed} {i}".encode()).hexdigest() for i in range(130)]
        places += [place for place, part in enumerate(split._parts(hashes, ids)) if len(part) == 1]
    assert len(places) == 400
    assert np.mean(places) == pytest.approx(9.5, abs=1), "of 0 to 19"
