"""Groups of near-duplicates of a run: whole ones are held out, they are kept, and they are shown."""

import json

import numpy as np
import pytest
from trees import add_class, crop, save, tiny_config

from hgad_jax.errors import UserError
from hgad_jax.runs import checkpoints, near_duplicates
from hgad_jax.training import loop


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Twelve parts in six exposures, whose names do not tell the part; and a product without groups."""
    root = tmp_path_factory.mktemp("near")
    rng = np.random.default_rng(0)
    order = rng.permutation(72)
    parts = [crop("gravel", rng) for _ in range(12)]
    for i, name in enumerate(order):
        exposure = parts[i // 6] * rng.uniform(0.8, 1.0) + rng.normal(0, 2, (64, 64))
        save(root / "data/tile/train/good" / f"{name:02}.png", exposure.clip(0, 255).astype(np.uint8))
    add_class(root / "data", "brick", good=12, test=0)
    part = np.empty(72, int)
    part[order] = np.arange(72) // 6
    return root, part


def trained(place, name, **changes):
    lines = []
    config = tiny_config(place / "data", place / "cache", **{"train__epochs": 0.0} | changes)
    loop.train(config, place / name, log=lines.append)
    return "\n".join(lines), config


def held_out(place, name, monkeypatch, **changes):
    sets = []

    def spied(*args, original=loop.training_set):
        sets.append(original(*args))
        return sets[-1]

    with monkeypatch.context() as patched:
        patched.setattr(loop, "training_set", spied)
        said, _ = trained(place, name, **changes)
    return sets[0].held_out, said


def test_whole_parts_are_held_out_and_going_on_takes_the_same(place, monkeypatch):
    root, part = place
    held, said = held_out(root, "auto", monkeypatch, train__epochs=1.0)
    assert "tile: 72 good images in 12 groups of near-duplicates, the largest of 6" in said
    assert "brick:" not in said.split("threshold")[0]
    tiles = held[held >= 12] - 12  # brick comes first
    assert sorted(np.bincount(part[tiles])[np.unique(part[tiles])]) == [6, 6]
    content = json.loads((root / "auto/groups.json").read_text())
    assert sorted(map(len, content["groups"])) == [6] * 12
    page = (root / "auto/groups.html").read_text()
    assert page.count("<img") == 8 * 6
    assert len(page) < 250_000
    content["ids"][12:] = np.arange(12, 84).tolist()  # what is kept holds, whatever would be found now
    (root / "auto/groups.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"data\.split"):
        trained(root, "auto", train__epochs=1.0)
    (root / "auto/groups.json").unlink()
    said, _ = trained(root, "auto", train__epochs=1.0)
    assert "nothing to train" in said


def test_none_is_the_split_of_before(place, monkeypatch):
    root, _ = place
    held, said = held_out(root, "none", monkeypatch, calibration__groups="none")
    assert "near-duplicates" not in said
    assert not (root / "none/groups.json").exists()
    auto, _ = held_out(root, "auto2", monkeypatch)
    assert held[held < 12].tolist() == auto[auto < 12].tolist(), "a class without groups"
    assert held.tolist() != auto.tolist()


def test_groups_of_the_user(place, monkeypatch):
    root, part = place
    rows = [f"tile/train/good/{i:02}.png,{p}" for i, p in enumerate(part)]
    rows += [f"brick/train/good/{i:02}.png,{i // 2}" for i in range(12)]
    (root / "groups.csv").write_text("\n".join(["path,group", *rows]))
    held, said = held_out(root, "csv", monkeypatch, calibration__groups=f"csv:{root}/groups.csv")
    assert "brick: 12 good images in 6 groups of near-duplicates, the largest of 2" in said
    assert sorted(np.bincount(held[held < 12] // 2)) in ([0] * n + [2, 2] for n in range(5))


WRONG = {
    "name:bolt(x)": "matches no name of the 84 good images",
    "name:(": "cannot be read",
    "csv:nowhere.csv": "cannot be read",
    r"name:\d\d(\.png)": "Class 'brick' has 12 good images in 1 groups of near-duplicates",
}


@pytest.mark.parametrize("value", WRONG)
def test_what_does_not_fit_is_refused_before_anything_is_made(place, value):
    root, _ = place
    with pytest.raises(UserError, match=WRONG[value]):
        trained(root, "wrong", calibration__groups=value)
    assert not (root / "wrong").exists()


def test_a_damaged_file_is_named(place):
    root, _ = place
    trained(root, "damaged")
    (root / "damaged/groups.json").write_text("{")
    with pytest.raises(UserError, match=r"groups\.json' cannot be read as the run's groups"):
        trained(root, "damaged")


def test_runs_of_before_have_none(place):
    root, _ = place
    settings = {"calibration__groups": "none", "train__epochs": 1.0}
    trained(root, "before", **settings)
    path = root / "before/config.json"
    config = json.loads(path.read_text())
    del config["calibration"]["groups"]
    path.write_text(json.dumps(config))
    assert near_duplicates.load(root / "before/groups.json") is None
    said, _ = trained(root, "before", **settings)
    assert "nothing to train" in said
    with checkpoints.open_manager(root / "before", keep=1) as manager:
        assert checkpoints.newest_metadata(manager)["split"]
