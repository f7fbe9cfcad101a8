"""Which images are meant, how each is known, and what of earlier predictions is left out."""

import json
import os

import numpy as np
import pytest
from trees import save

from hgad_jax.errors import UserError
from hgad_jax.inference.inputs import list_images, state_of
from hgad_jax.inference.prediction_files import output_name

BLANK = np.zeros((4, 4), np.uint8)
RESULTS = {"format": 2, "thresholds": {}, "outputs": {}}


def paths(*inputs):
    return [image.path for image in list_images(inputs).images]


def test_an_image_is_one_however_it_is_spelled(tmp_path, monkeypatch):
    save(tmp_path / "real" / "a.png", BLANK)
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path / "real")
    absolute = str(tmp_path / "real" / "a.png")
    spelled = ["a.png", "./a.png", "../real/a.png", absolute, "../link/a.png", "*.png"]
    files = {image.file for spelling in spelled for image in list_images([spelling]).images}
    assert files == {absolute}
    assert len({output_name(file) for file in files}) == 1
    assert paths(*spelled) == ["a.png"], "shown as it was first spelled"


def test_equal_spellings_in_other_folders_are_other_images(tmp_path, monkeypatch):
    found = []
    for line in ("line1", "line2"):
        save(tmp_path / line / "000.png", BLANK)
        monkeypatch.chdir(tmp_path / line)
        found += list_images(["."]).images
    assert [image.path for image in found] == ["./000.png"] * 2
    assert len({image.file for image in found}) == len({output_name(image.file) for image in found}) == 2


def test_a_link_that_names_another_image_today_is_known_by_its_own_name(tmp_path):
    for name in ("1.png", "2.png"):
        save(tmp_path / name, np.full((4, 4), int(name[0]) * 50, np.uint8))
    (tmp_path / "newest.png").symlink_to("1.png")
    before = list_images([str(tmp_path / "newest.png")]).images[0]
    state = state_of(before.file)
    os.utime(tmp_path / "2.png", ns=(1, 1))
    (tmp_path / "newest.png").unlink()
    (tmp_path / "newest.png").symlink_to("2.png")
    assert list_images([str(tmp_path / "newest.png")]).images == [before]
    assert state_of(before.file) != state


def test_a_state_tells_sizes_and_times_apart_to_the_nanosecond(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"12345")
    states = set()
    for time in (0, 1, 10**18, 10**18 + 1):
        os.utime(path, ns=(time, time))
        states.add(state_of(str(path)))
    assert len(states) == 4
    assert state_of(str(path)) == ("5", "2001-09-09T01:46:40.000000001Z")


def results(folder, content=RESULTS):
    """A folder as predict.py leaves it, with files of its own in it and of the user's beside them."""
    for name in ("heatmaps/x-0123456789abcdef.png", "heatmaps/scale.png", "maps/x-0123456789abcdef.png"):
        save(folder / name, BLANK)
    for name in ("scores.csv", "unreadable.txt"):
        (folder / name).write_text("")
    (folder / "predict.json").write_text(content if isinstance(content, str) else json.dumps(content))
    mine = ["a.png", "maps/b.png", "heatmaps/deep/scale.png", "line/x-0123456789abcdef.png", "maps/scale.png"]
    for name in mine:
        save(folder / name, BLANK)
    return sorted(str(folder / name) for name in mine)


def test_what_earlier_predictions_wrote_is_left_out_and_nothing_else(tmp_path, monkeypatch):
    mine = results(tmp_path / "in" / "out")
    save(tmp_path / "in" / "b.png", BLANK)
    found = list_images([str(tmp_path / "in")])
    assert sorted(image.path for image in found.images) == [str(tmp_path / "in" / "b.png"), *mine]
    assert (found.others, found.written) == (0, 3)
    everything = list_images([str(tmp_path / "in" / "**" / "*.png")])
    assert (len(everything.images), everything.written) == (6, 3)
    monkeypatch.chdir(tmp_path / "in" / "out" / "heatmaps")
    assert paths(".", "x-0123456789abcdef.png") == ["./deep/scale.png"]


def test_results_of_older_versions_are_left_out_too(tmp_path):
    results(tmp_path, {"step": 1, "thresholds": {}, "outputs": {}})
    assert list_images([str(tmp_path)]).written == 3


@pytest.mark.parametrize("content", ["", "{", "[]", '{"of": "another program"}'])
def test_a_file_of_that_name_that_is_not_ours_hides_nothing(tmp_path, content):
    results(tmp_path, content)
    found = list_images([str(tmp_path)])
    assert (len(found.images), found.written) == (8, 0)


def test_only_results_are_no_images_and_it_says_so(tmp_path):
    results(tmp_path / "out")
    with pytest.raises(UserError, match=r"No images but 2 that predict\.py wrote in .*expected files ending"):
        list_images([str(tmp_path / "out" / "heatmaps" / "*.png")])


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save(tmp_path / "in" / "a.png", BLANK)
    assert paths("~/in") == paths("~/in/*.png") == paths("~/in/a.png") == [str(tmp_path / "in" / "a.png")]
