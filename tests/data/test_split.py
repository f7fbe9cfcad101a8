"""Good images are held out class by class, by content."""

import random
from pathlib import Path

import pytest

from hgad_jax.data import Record
from hgad_jax.data.split import hold_out
from hgad_jax.errors import UserError


def make(folder, class_name, contents):
    """One file per content, named so that the order of names says nothing of the content."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for i, content in enumerate(contents):
        path = folder / f"{class_name}{i}.png"
        path.write_bytes(str(content).encode())
        records.append(Record(str(path), class_name, "train", "good"))
    return records


def split(records, fraction=0.2, min_images=2, seed=0):
    """Paths to train on and paths held out."""
    train, held = hold_out(records, fraction=fraction, min_images=min_images, seed=seed)
    assert sorted(train + held) == list(range(len(records)))
    assert train == sorted(train)
    assert held == sorted(held)
    return {records[i].path for i in train}, {records[i].path for i in held}


@pytest.mark.parametrize(
    ("count", "fraction", "min_images", "expected"),
    [
        (20, 0.2, 2, 4),
        (21, 0.2, 2, 5),  # rounded up
        (20, 0.1, 6, 6),  # at least so many
        (8, 0.2, 10, 4),  # but never more than half
        (9, 0.01, 10, 4),
        (4, 0.2, 2, 2),
        (5, 0.01, 2, 2),
        (9, 0.0, 10, 0),  # none, as papers train
    ],
)
def test_number_held_out(tmp_path, count, fraction, min_images, expected):
    train, held = split(make(tmp_path, "nut", range(count)), fraction, min_images)
    assert (len(train), len(held)) == (count - expected, expected)


def test_each_class_by_itself(tmp_path):
    nuts, bolts = make(tmp_path, "nut", range(40)), make(tmp_path, "bolt", range(100, 110))
    _, held = split(nuts + bolts, 0.25)
    assert sum("nut" in path for path in held) == 10
    assert sum("bolt" in path for path in held) == 3
    assert held == split(nuts, 0.25)[1] | split(bolts, 0.25)[1], "a class's split depends on that class alone"


def test_order_and_names_of_files_do_not_matter(tmp_path):
    records = make(tmp_path / "a", "nut", range(30))
    expected = split(records)
    shuffled = records.copy()
    random.Random(0).shuffle(shuffled)
    assert split(shuffled) == expected
    renamed = make(tmp_path / "b", "nut", reversed(range(30)))

    def held_contents(records):
        return {Path(path).read_text() for path in split(records)[1]}

    assert held_contents(renamed) == held_contents(records)


def test_seeds(tmp_path):
    records = make(tmp_path, "nut", range(30))
    assert split(records, seed=3) == split(records, seed=3)
    assert split(records, seed=3) != split(records, seed=4)


@pytest.mark.parametrize("seed", range(5))
def test_duplicates_stay_on_one_side(tmp_path, seed):
    records = make(tmp_path, "nut", [i % 7 for i in range(40)])
    train, held = split(records, 0.3, seed=seed)
    contents = [{Path(path).read_text() for path in side} for side in (train, held)]
    assert contents[0]
    assert len(contents[1]) >= 2
    assert not contents[0] & contents[1]


def test_too_few_images(tmp_path):
    enough = make(tmp_path, "nut", range(10))
    few = make(tmp_path, "bolt", range(20, 23))
    with pytest.raises(UserError, match=r"Class 'bolt' has 3 different good images.*bolt0\.png.*at least 4"):
        split(enough + few)


def test_copies_of_few_images_are_too_few(tmp_path):
    with pytest.raises(UserError, match="Class 'nut' has 3 different good images"):
        split(make(tmp_path, "nut", [1, 2, 3] * 10))


def test_a_missing_file_is_named(tmp_path):
    records = make(tmp_path, "nut", range(10))
    (tmp_path / "nut4.png").unlink()
    with pytest.raises(UserError, match=r"nut4\.png' cannot be read: No such file"):
        split(records)
