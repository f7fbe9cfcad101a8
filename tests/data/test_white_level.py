"""What is white in images of more than 8 bits: found once for a dataset, said, and the same everywhere."""

import json

import numpy as np
import pytest
from PIL import Image
from trees import add_class, save, tiny_config

from hgad_jax.data import transforms, white_level
from hgad_jax.data.__main__ import main
from hgad_jax.data.geometry import Transform
from hgad_jax.data.screen import screened
from hgad_jax.data.transforms import load, load_image, load_mask
from hgad_jax.errors import UserError
from hgad_jax.runs.model import load_usable

pytestmark = pytest.mark.filterwarnings("ignore:the load_module")  # ml_collections'

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)  # of a camera of 12 bits


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_camera_of_12_bits_has_256_greys(tmp_path, suffix):
    path = save(tmp_path / f"ramp.{suffix}", RAMP)
    assert len(np.unique(load_image(path, Transform(64)))) == 17, "scaled from the full range"
    found = load_image(path, Transform(64, white_level=4095))
    np.testing.assert_array_equal(found[..., 0], np.floor(RAMP * 255.0 / 4095 + 0.5))
    assert len(np.unique(found)) == 256


def test_the_full_range_is_scaled_as_ever():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    found, clipped = white_level.to_eight_bits(values, Transform(1), "x")
    np.testing.assert_array_equal(found, (values.astype(int) + 128) // 257)
    assert clipped == 0


@pytest.mark.parametrize("white", [255, 1023, 4095, 16383, 65535, 3000])
def test_values_above_white_are_white_and_counted(white):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    found, clipped = white_level.to_eight_bits(values, Transform(1, white_level=white), "x")
    np.testing.assert_array_equal(found, np.minimum(np.floor(values * 255.0 / white + 0.5), 255))
    assert clipped == 65535 - white
    colours = np.stack([values] * 3, -1)
    of_colours, clipped = white_level.to_eight_bits(colours, Transform(1, white_level=white), "x")
    np.testing.assert_array_equal(of_colours, np.stack([found] * 3, -1))
    assert clipped == 3 * (65535 - white)


@pytest.mark.parametrize(
    ("highest", "white"),
    [
        *[((), 0), ((0,), 255), ((255,), 255), ((256,), 1023), ((3, 1023), 1023), ((1024, 2), 4095)],
        *[((4095,), 4095), ((4096,), 16383), ((16383,), 16383), ((16384,), 65535), ((65535, 1), 65535)],
    ],
)
def test_white_is_the_least_that_holds_all(highest, white):
    assert white_level.found(highest) == white


def test_values_of_other_types_are_scaled_by_the_range_that_is_set():
    values = np.array([[-1.0, 0.0, 0.5, 1.0, 2.0]], np.float32)
    transform = Transform(1, value_range=(0.0, 1.0))
    found, clipped = white_level.to_eight_bits(values, transform, "x")
    np.testing.assert_array_equal(found, [[0, 0, 128, 255, 255]])
    assert clipped == 2
    signed = np.array([[-1000, 0, 3000]], np.int16)
    found, _ = white_level.to_eight_bits(signed, Transform(1, value_range=(-1000.0, 3000.0)), "x")
    np.testing.assert_array_equal(found, [[0, 64, 255]])
    for bad in (np.nan, np.inf):
        with pytest.raises(UserError, match="x has pixels that are not finite"):
            white_level.to_eight_bits(np.full((2, 2), bad), transform, "x")
        with pytest.raises(UserError, match="has pixels that are not finite"):
            load_mask(np.full((2, 2), bad), transform, image=np.zeros((2, 2), np.uint8))


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (np.int16, "16-bit integer"),
        (np.int32, "32-bit integer"),
        (np.uint32, "32-bit unsigned integer"),
        (np.float32, "32-bit float"),
        (np.float64, "64-bit float"),
        (np.int64, "64-bit integer"),
    ],
)
def test_without_a_range_they_are_refused_with_the_key(dtype, name):
    expected = rf"has {name} pixels.*Convert it to 8 or 16.*--config\.data\.value_range"
    with pytest.raises(UserError, match=expected):
        load_image(np.ones((4, 4), dtype), Transform(4))


def test_the_range_is_told_when_values_are_clipped(monkeypatch):
    lines = []
    monkeypatch.setattr(transforms, "warn_once", lambda message, *args: lines.append(message % args))
    assert load(np.full((2, 3), 2000, np.uint16), Transform(2, white_level=1023)).clipped == 6
    assert "6 of 6 values are above the white level 1023" in lines[0]
    assert load(np.full((2, 3), 2.0), Transform(2, value_range=(0.0, 1.0))).clipped == 6
    assert "outside of data.value_range" in lines[1]
    assert load(np.full((2, 3), 1023, np.uint16), Transform(2, white_level=1023)).clipped == 0
    assert len(lines) == 2


@pytest.fixture
def camera(tmp_path):
    """Two products photographed with 12 bits; one defect is brighter than any good image."""
    for number, name in enumerate(("nut", "bolt")):
        rng = np.random.default_rng(number)
        for i in range(6):
            image = rng.integers(0, 1000 + 2000 * number, (24, 24)).astype(np.uint16)
            save(tmp_path / "data" / name / "train" / "good" / f"{i}.png", image)
    save(tmp_path / "data" / "nut" / "test" / "glare" / "0.png", np.full((24, 24), 9000, np.uint16))
    return tmp_path / "data"


def usable(root, place, **changes):
    lines = []
    config = tiny_config(root, place / "cache", **changes)
    dataset = load_usable(config, place / "run", lines.append, to_train=True)
    about = ("White is", "images have values", "16-bit pixels")
    return config, dataset, [line for line in lines if any(text in line for text in about)]


def test_white_is_found_in_good_training_images_and_said_by_check_and_training(camera, tmp_path, capsys):
    config, dataset, lines = usable(camera, tmp_path)
    assert config.data.white_level == 4095
    assert len(dataset.train) == 12
    said, warned = lines
    assert said.startswith(
        "Note: White is 4095 (12 bits) in images of 16 bits, the least that holds them all"
    )
    assert "the highest value in 12 good training images is 2999" in said
    assert "1 images have values above the white level, 4095" in warned
    assert "glare/0.png" in warned
    assert usable(camera, tmp_path)[2] == lines, "from what was kept of the first time, too"
    assert main(["check", str(camera)]) == 1, "a warning"
    report = " ".join(capsys.readouterr().out.split())
    assert said in report
    assert "1 images have values above the white level, 4095" in report
    main(["check", str(camera), "--config.data.white_level=9000"])
    report = capsys.readouterr().out
    assert "White is 9000 (no camera's full range) in images of 16 bits, as config.data" in report
    assert "above the white level" not in report


def test_a_level_that_is_given_is_taken(camera, tmp_path):
    config, _, lines = usable(camera, tmp_path, data__white_level=1023)
    assert config.data.white_level == 1023
    assert "White is 1023 (10 bits)" in lines[0]
    assert "7 images have values above the white level, 1023" in lines[1]


def test_what_is_left_out_does_not_decide(camera, tmp_path):
    broken = camera / "bolt" / "train" / "good" / "0.png"
    Image.fromarray(np.full((24, 24), 60_000, np.uint16)).save(broken)
    assert usable(camera, tmp_path)[0].data.white_level == 65535
    broken.write_bytes(broken.read_bytes()[:60])
    assert usable(camera, tmp_path, data__on_error="skip")[0].data.white_level == 4095


def test_deep_images_of_a_model_of_8_bit_images_are_refused_by_all_alike(tmp_path, capsys):
    root = tmp_path / "data"
    add_class(root, "brick", test=1)
    path = save(root / "brick" / "test" / "good" / "deep.png", RAMP)
    with pytest.raises(UserError) as told:
        usable(root, tmp_path)
    with pytest.raises(UserError) as loaded:
        load_image(path, Transform(8, white_level=0))
    assert "16-bit pixels, and what is white in them is unknown" in str(loaded.value)
    assert str(loaded.value) in str(told.value)
    config, dataset, _ = usable(root, tmp_path, data__on_error="skip")
    assert config.data.white_level == 0
    assert str(path) not in [record.path for record in dataset.test]
    assert main(["check", str(root)]) == 1
    assert str(loaded.value) in " ".join(capsys.readouterr().out.split())
    assert usable(root, tmp_path, data__white_level=4095)[0].data.white_level == 4095


def test_images_of_8_bits_need_no_white(tmp_path, capsys):
    add_class(tmp_path / "data", "brick")
    config, _, lines = usable(tmp_path / "data", tmp_path)
    assert lines == []
    assert config.data.white_level == 0
    main(["check", str(tmp_path / "data")])
    assert "White" not in capsys.readouterr().out


def test_other_types_with_a_range(tmp_path, capsys):
    root = tmp_path / "data"
    for i in range(4):
        image = np.random.default_rng(i).random((24, 24), np.float32) - (i == 3)
        save(root / "nut" / "train" / "good" / f"{i}.tif", image)
    with pytest.raises(UserError, match="32-bit float pixels"):
        usable(root, tmp_path)
    _, dataset, lines = usable(root, tmp_path, data__value_range=(0.0, 1.0))
    assert len(dataset.train) == 4
    assert "1 images have values outside of config.data.value_range" in lines[0]
    assert "3.tif" in lines[0]
    assert main(["check", str(root), "--config.data.value_range=(-1.0,1.0)"]) == 0
    assert "No problems found" in capsys.readouterr().out


def test_a_run_does_not_go_on_with_another_white(camera, tmp_path):
    config, _, _ = usable(camera, tmp_path)
    (tmp_path / "run" / "config.json").write_text(json.dumps(config.to_dict()))
    assert usable(camera, tmp_path)[0].data.white_level == 4095
    save(camera / "nut" / "train" / "good" / "bright.png", np.full((24, 24), 5000, np.uint16))
    expected = r"run whose white level is 4095; that of .* now is 16383\. Put .*data\.white_level=4095"
    with pytest.raises(UserError, match=expected):
        usable(camera, tmp_path)
    assert usable(camera, tmp_path, data__white_level=4095)[0].data.white_level == 4095


def test_the_transform_says_what_is_white_where_a_run_is_evaluated(camera, tmp_path):
    """Runs of before there was a level have the full range; nothing is found anew."""
    from hgad_jax.data import folder

    dataset = folder.load(str(camera))
    for white in (65535, 1023):
        lines = []
        result = screened(
            dataset,
            transform=Transform(8, white_level=white),
            on_error="raise",
            num_workers=0,
            directory=str(tmp_path / "cache"),
            log=lines.append,
        )
        assert result.white_level == white
        assert sum("above the white level" in line for line in lines) == (white == 1023)
        assert not any("White is" in line for line in lines)


@pytest.mark.parametrize(("name", "value"), [("max_pixels", 5), ("value_range", (0.0, 1.0))])
def test_what_was_kept_of_another_setting_is_not_used(camera, tmp_path, name, value):
    usable(camera, tmp_path)
    changes = {f"data__{name}": value}
    if name == "max_pixels":
        with pytest.raises(UserError, match="is too large"):
            usable(camera, tmp_path, **changes)
    else:
        usable(camera, tmp_path, **changes)
        assert len(list((tmp_path / "cache").iterdir())) == 2
