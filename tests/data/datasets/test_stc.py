import importlib.util
import io
import pickle

import av
import numpy as np
import pytest
from dataset_trees import load, pack
from PIL import Image

from hgad_jax.data.datasets import stc
from hgad_jax.data.geometry import Transform
from hgad_jax.data.records import image_name, read_image_file
from hgad_jax.data.transforms import load_image, load_mask
from hgad_jax.errors import UserError

SIZE = (48, 32)  # pixels, width and height
TRAIN = {"01_001": 3, "01_002": 2, "12_001": 2, "13_001": 4}  # frames
TEST = {"01_0014": 3, "12_0142": 2}


def record_video(path, count, *, size=SIZE):
    """A video whose frame t is grey of the value 40·t, as AVI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for t in range(count):
            pixels = np.full((size[1], size[0], 3), 40 * t, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Two scenes with ground truth and one without; frame 1 of each test video is anomalous."""
    monkeypatch.setattr(stc, "FRAME_SIZE", SIZE)
    monkeypatch.setattr(stc, "PUBLISHED", {"train": sum(TRAIN.values()), "test": sum(TEST.values())})
    root = tmp_path / "shanghaitech"
    for name, count in TRAIN.items():
        record_video(root / "training" / "videos" / f"{name}.avi", count)
    testing = root / "testing"
    for kind in ("test_frame_mask", "test_pixel_mask"):
        (testing / kind).mkdir(parents=True)
    for name, count in TEST.items():
        folder = testing / "frames" / name
        folder.mkdir(parents=True)
        for t in range(count):
            Image.new("RGB", SIZE, (30 * t,) * 3).save(folder / f"{t:03}.jpg")
        masks = np.zeros((count, SIZE[1], SIZE[0]), np.uint8)
        masks[1, :, : SIZE[0] // 2] = 1
        np.save(testing / "test_frame_mask" / f"{name}.npy", np.arange(count) == 1)
        np.save(testing / "test_pixel_mask" / f"{name}.npy", masks)
    return root


def test_every_training_frame_is_an_image_of_its_scene(tree, tmp_path):
    dataset = load("stc", tree, tmp_path / "prepared")
    assert dataset.classes == ("01", "12")
    assert [(r.class_name, image_name(r.path)) for r in dataset.train] == [
        (video[:2], f"stc/training/frames/{video}/{t:08}.jpg")
        for video in ("01_001", "01_002", "12_001")
        for t in range(TRAIN[video])
    ]
    greys = [load_image(r.path, Transform(8))[4, 4, 0] for r in dataset.train]
    np.testing.assert_allclose(greys, [0, 40, 80, 0, 40, 0, 40], atol=3)
    size = Image.open(io.BytesIO(read_image_file(dataset.train[0].path))).size
    assert size == SIZE


def test_training_frames_are_jpeg_of_quality_80(tree, tmp_path):
    dataset = load("stc", tree, tmp_path / "prepared")
    expected = io.BytesIO()
    Image.new("RGB", SIZE).save(expected, "JPEG", quality=80)
    with (
        Image.open(io.BytesIO(read_image_file(dataset.train[0].path))) as found,
        Image.open(expected) as reference,
    ):
        assert found.format == "JPEG"
        assert found.quantization == reference.quantization


@pytest.mark.parametrize("packed", [False, True])
def test_labels_and_masks_of_test_frames(tree, tmp_path, packed):
    root = (
        pack(tree, tmp_path / "root" / "shanghaitech.tar.gz", top="shanghaitech").parent if packed else tree
    )
    dataset = load("stc", root, tmp_path / "prepared")
    found = [(r.class_name, image_name(r.path), r.defect, r.mask is not None) for r in dataset.test]
    assert found == [
        ("01", "stc/testing/frames/01_0014/000.jpg", "good", False),
        ("01", "stc/testing/frames/01_0014/001.jpg", "anomaly", True),
        ("01", "stc/testing/frames/01_0014/002.jpg", "good", False),
        ("12", "stc/testing/frames/12_0142/000.jpg", "good", False),
        ("12", "stc/testing/frames/12_0142/001.jpg", "anomaly", True),
    ]
    frame = (tree / "testing" / "frames" / "01_0014" / "001.jpg").read_bytes()
    assert read_image_file(dataset.test[1].path) == frame, "as it was, not compressed again"
    mask = load_mask(dataset.test[1].mask, Transform(4), image=dataset.test[1].path)
    np.testing.assert_array_equal(mask, np.repeat([[True, True, False, False]], 4, 0))


def test_pixels_marked_in_a_good_frame_are_kept(tree, tmp_path):
    path = tree / "testing" / "test_pixel_mask" / "01_0014.npy"
    masks = np.load(path)
    masks[2, 0, 0] = 1
    np.save(path, masks)
    record = load("stc", tree, tmp_path / "prepared").test[2]
    assert record.defect == "good"
    assert load_mask(record.mask, Transform(32), image=record.path).sum() == 1


def test_other_numbers_of_frames_are_refused_before_anything_is_decoded(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(stc, "PUBLISHED", {"train": 274_515, "test": 42_883})
    monkeypatch.setattr(stc, "FRAME_SIZE", (856, 480))
    monkeypatch.setattr(stc, "_decoded", lambda item: pytest.fail("decoded"))
    with pytest.raises(UserError) as error:
        load("stc", tree, tmp_path / "prepared")
    for line in (
        "11 train frames instead of 274515",
        "5 test frames instead of 42883",
        "4 videos are not of (856, 480) pixels",
        "01_001.avi",
    ):
        assert line in str(error.value)


def test_without_the_decoder_the_extra_is_named(tree, tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "av" else find_spec(name))
    stc._probe.cache_clear()
    with pytest.raises(UserError, match=r"pip install 'hgad_jax\[stc\]'"):
        load("stc", tree, tmp_path / "prepared")


@pytest.mark.parametrize("raw", [False, True])
def test_arrays_are_never_unpickled(tree, tmp_path, raw):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    path = tree / "testing" / "test_frame_mask" / "01_0014.npy"
    if raw:  # NumPy reads a pickle of any name, if it may
        path.write_bytes(pickle.dumps(Trap()))
    else:
        np.save(path, np.array([Trap(), None, None], object), allow_pickle=True)
    with pytest.raises(UserError, match=r"01_0014\.npy' cannot be read as an array"):
        load("stc", tree, tmp_path / "prepared")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("kind", ["test_frame_mask", "test_pixel_mask"])
def test_arrays_of_another_length_are_refused(tree, tmp_path, kind):
    path = tree / "testing" / kind / "01_0014.npy"
    np.save(path, np.load(path)[:-1])
    with pytest.raises(UserError, match=rf"{kind}/01_0014\.npy' has the shape \[2.*the first of 3"):
        load("stc", tree, tmp_path / "prepared", allow_partial=True)


def test_missing_labels_are_named(tree, tmp_path):
    (tree / "testing" / "test_frame_mask" / "12_0142.npy").unlink()
    with pytest.raises(UserError, match=r"test_frame_mask/12_0142\.npy' cannot be read"):
        load("stc", tree, tmp_path / "prepared")


@pytest.mark.parametrize("content", [b"", b"no video" * 99])
def test_videos_that_cannot_be_decoded_are_named(tree, tmp_path, content):
    (tree / "training" / "videos" / "12_001.avi").write_bytes(content)
    stc._probe.cache_clear()
    with pytest.raises(UserError, match=r"12_001\.avi' cannot be decoded as a video"):
        load("stc", tree, tmp_path / "prepared")


def test_a_video_cut_short_is_a_difference(tree, tmp_path, caplog):
    path = tree / "training" / "videos" / "01_001.avi"
    whole = path.read_bytes()
    path.write_bytes(whole[: [i for i in range(len(whole)) if whole[i : i + 4] == b"00dc"][2]])
    stc._probe.cache_clear()
    with pytest.raises(UserError, match=r"(?s)01_001.*frames although its header says 3.*allow_partial"):
        load("stc", tree, tmp_path / "prepared")
    dataset = load("stc", tree, tmp_path / "prepared", allow_partial=True)
    left = len([r for r in dataset.train if "/01_001/" in image_name(r.path)])
    assert 1 <= left < 3
    assert f"01_001': {left} frames although its header says 3" in caplog.text
