"""Images that cannot be used end a run with one error that names them all, or are left out with a count."""

import json

import pytest
from broken import WARNINGS, break_everything, draw, draw_mask, good_class, write_bomb

from hgad_jax.data import folder, screen
from hgad_jax.data.geometry import Transform
from hgad_jax.data.screen import screened
from hgad_jax.errors import UserError


def run(dataset, directory, *, on_error="raise", transform=None, **options):
    lines = []
    result = screened(
        dataset,
        transform=transform or Transform(16),
        on_error=on_error,
        num_workers=2,
        directory=str(directory),
        log=lines.append,
        **options,
    )
    return result.dataset, lines


@pytest.fixture
def broken_tree(tmp_path):
    root = tmp_path / "parts"
    return root, break_everything(root)


def test_every_trouble_but_warnings_is_raised_by_name(broken_tree, tmp_path):
    root, names = broken_tree
    with pytest.raises(UserError) as listing:
        folder.load(str(root))
    with pytest.raises(UserError) as decoding:
        run(folder.load(str(root), on_error="skip"), tmp_path / "cache")
    message = f"{listing.value}\n{decoding.value}"
    for kind, name in names.items():
        assert (name in message) == (kind not in WARNINGS), kind
    assert "on_error=skip" in str(listing.value)
    assert "on_error=skip" in str(decoding.value)


def test_everything_sound_is_kept_when_the_rest_is_skipped(broken_tree, tmp_path):
    root, names = broken_tree
    dataset, lines = run(folder.load(str(root), on_error="skip"), tmp_path / "cache", on_error="skip")
    assert dataset.classes == ("bolt", "nut")
    kept = [record.path for record in dataset.train + dataset.test]
    for kind, name in names.items():
        path = name.replace("size_mask.png", "riss/size.png")
        assert any(p.endswith(path) for p in kept) == (kind in WARNINGS), kind
    assert len([r for r in dataset.train if r.class_name == "nut"]) == 6
    assert any(line.startswith("Left out 9 of ") for line in lines), lines
    (leak,) = [line for line in lines if "in train and in test" in line]
    assert "leak.png" in leak


def test_a_sound_dataset_is_returned_as_it_is(tmp_path):
    good_class(tmp_path / "root" / "nut", 0)
    dataset = folder.load(str(tmp_path / "root"))
    assert run(dataset, tmp_path / "cache") == (dataset, [])


def test_nothing_is_decoded_a_second_time_unless_a_file_changes(tmp_path, monkeypatch):
    nut = good_class(tmp_path / "root" / "nut", 0)
    dataset = folder.load(str(tmp_path / "root"))
    calls = []
    inspect = screen.inspect
    monkeypatch.setattr(screen, "inspect", lambda *args: calls.append(args) or inspect(*args))
    (nut / "train" / "good" / "Bild 00 ä.PNG").write_bytes(b"")
    for _ in range(2):
        with pytest.raises(UserError, match="Bild 00"):
            run(dataset, tmp_path / "cache")
    assert len(calls) == 9 + 1, "but the one that could not be read"
    draw_mask(nut / "ground_truth" / "kratzer tief" / "0_mask.png", size=(9, 9))
    with pytest.raises(UserError, match="0_mask"):
        run(dataset, tmp_path / "cache")
    assert len(calls) == 9 + 1 + 9


def test_a_disk_that_is_back_is_seen(tmp_path, monkeypatch):
    """Permissions, and a network's disk that did not answer, change neither size nor time of a file."""
    good_class(tmp_path / "root" / "nut", 0)
    dataset = folder.load(str(tmp_path / "root"))
    read = screen.read_image_file

    def refusing(image):
        if image.endswith("Bild 00 ä.PNG"):
            raise UserError(f"'{image}' cannot be read: Permission denied. Mend or remove it.")
        return read(image)

    with monkeypatch.context() as patched:
        patched.setattr(screen, "read_image_file", refusing)
        with pytest.raises(UserError, match="Permission denied"):
            run(dataset, tmp_path / "cache")
    for _ in range(2):
        assert run(dataset, tmp_path / "cache") == (dataset, [])


def test_a_damaged_record_of_an_earlier_start_is_made_anew(tmp_path):
    nut = good_class(tmp_path / "root" / "nut", 0)
    (nut / "train" / "good" / "Bild 00 ä.PNG").write_bytes(b"")
    dataset = folder.load(str(tmp_path / "root"))
    expected = run(dataset, tmp_path / "cache", on_error="skip")
    (path,) = (tmp_path / "cache").iterdir()
    for content in ("", "[]", '{"errors": 3}', json.dumps({"errors": []})):
        path.write_text(content)
        assert run(dataset, tmp_path / "cache", on_error="skip") == expected


def test_a_class_that_loses_all_its_images_is_left_out(tmp_path):
    good_class(tmp_path / "root" / "nut", 0)
    write_bomb(tmp_path / "root" / "bolt" / "train" / "good" / "1.png")
    draw(tmp_path / "root" / "bolt" / "test" / "good" / "1.png", 9)
    dataset, lines = run(folder.load(str(tmp_path / "root")), tmp_path / "cache", on_error="skip")
    assert dataset.classes == ("nut",)
    assert not any(record.class_name == "bolt" for record in dataset.test)
    assert any("1 classes without any good training image: 'bolt'" in line for line in lines)


def test_nothing_left_is_an_error(tmp_path):
    write_bomb(tmp_path / "root" / "bolt" / "train" / "good" / "1.png")
    with pytest.raises(UserError, match="none of the good training images can be used"):
        run(folder.load(str(tmp_path / "root")), tmp_path / "cache", on_error="skip")


def test_a_crop_tells_how_many_images_lose_more_than_a_tenth(tmp_path):
    nut = good_class(tmp_path / "root" / "nut", 0)
    draw(nut / "train" / "good" / "square.png", 9, size=(20, 20))
    draw(nut / "train" / "good" / "long.png", 10, size=(40, 10))
    dataset = folder.load(str(tmp_path / "root"))
    _, lines = run(dataset, tmp_path / "cache", transform=Transform(16, "short_side_crop"))
    assert "from 10 of 11 images, 75% from '" in lines[0]
    assert "long.png" in lines[0]
    assert run(dataset, tmp_path / "cache", transform=Transform(16, "letterbox"))[1] == []


def test_where_nothing_can_be_kept_it_is_checked_all_the_same(tmp_path):
    nut = good_class(tmp_path / "root" / "nut", 0)
    (nut / "train" / "good" / "Bild 00 ä.PNG").write_bytes(b"")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Bild 00"):
        run(folder.load(str(tmp_path / "root")), tmp_path / "file" / "cache")


def test_masks_among_images_are_refused_or_left_out(tmp_path):
    nut = good_class(tmp_path / "root" / "nut", 0)
    sound = folder.load(str(tmp_path / "root"))
    draw(nut / "train" / "good" / "x.jpg", 9)
    draw_mask(nut / "train" / "good" / "x.png")
    draw_mask(nut / "train" / "good" / "part_label.png")
    dataset = folder.load(str(tmp_path / "root"))
    with pytest.raises(UserError, match=r"2 images are masks: .*part_label\.png', '.*x\.png'"):
        run(dataset, tmp_path / "cache")
    kept, lines = run(dataset, tmp_path / "cache", on_error="skip")
    assert {record.path for record in kept.train} - {record.path for record in sound.train} == {
        str(nut / "train" / "good" / "x.jpg")
    }
    assert any("Left out 2 of 12 images" in line for line in lines)


def test_a_file_lists_everything_and_goes_when_all_is_mended(tmp_path):
    nut = good_class(tmp_path / "root" / "nut", 0)
    for i in range(9):
        (nut / "train" / "good" / f"{i}.png").write_bytes(b"")
        (nut / "train" / "good" / f"twin{i}.png").write_bytes(draw(tmp_path / "x.png", 500 + i).read_bytes())
        (nut / "test" / "good" / f"twin{i}.png").write_bytes((tmp_path / "x.png").read_bytes())
    report = tmp_path / "run" / "problems.txt"
    dataset = folder.load(str(tmp_path / "root"))
    with pytest.raises(UserError) as error:
        run(dataset, tmp_path / "cache", report_file=report)
    assert str(error.value).count(".png'") < 9
    assert f"All that was found is in {report}." in str(error.value)
    text = report.read_text()
    assert all(f"{i}.png' cannot be read" in text for i in range(9))
    assert all(f"test/good/twin{i}.png" in text for i in range(9))
    _, lines = run(dataset, tmp_path / "cache", on_error="skip", report_file=report)
    (line,) = [line for line in lines if "in train and in test" in line]
    assert "and 6 more. Take one of each away. All that was found is in" in line
    for i in range(9):
        (nut / "train" / "good" / f"{i}.png").unlink()
        (nut / "test" / "good" / f"twin{i}.png").unlink()
    run(folder.load(str(tmp_path / "root")), tmp_path / "cache", report_file=report)
    assert not report.exists()


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_too_few_different_images_of_a_class(on_error, tmp_path):
    good = good_class(tmp_path / "root" / "nut", 0, count=4) / "train" / "good"
    (good / "twin.png").write_bytes((good / "Bild 00 ä.PNG").read_bytes())
    dataset = folder.load(str(tmp_path / "root"))
    assert run(dataset, tmp_path / "cache", on_error=on_error, classes_given=True)[0] == dataset
    unreadable = b"" if on_error == "skip" else (good / "Bild 02 ä.PNG").read_bytes()
    (good / "Bild 03 ä.PNG").write_bytes(unreadable)
    with pytest.raises(UserError, match="Class 'nut' has 3 different good images, expected at least 4"):
        run(folder.load(str(tmp_path / "root")), tmp_path / "cache", on_error=on_error, classes_given=True)
