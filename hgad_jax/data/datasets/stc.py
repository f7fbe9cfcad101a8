"""ShanghaiTech Campus: videos of a campus, a scene a class; every frame is an image.

The frames of the training videos are decoded once and kept as JPEG of quality 80, as CFLOW-AD does; the test
frames come as JPEG files, with a label per frame and a mask per pixel in arrays.
"""

import functools
import importlib.util
import io
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from hgad_jax.data.datasets.builder import ImageDataset
from hgad_jax.data.datasets.items import Item, classes_without_masks, files, folders, listed, name_below, stem
from hgad_jax.data.datasets.spec import Picture, Spec, read_file
from hgad_jax.data.records import GOOD
from hgad_jax.errors import UserError

JPEG_QUALITY = 80
_ANOMALY = "anomaly"
PUBLISHED = {"train": 274_515, "test": 42_883}  # frames of all thirteen scenes; per scene nothing was
FRAME_SIZE = (856, 480)  # pixels, width and height


def _train_items(root: str) -> list[Item]:
    return [
        Item(f"training/frames/{stem(path)}", _scene(path), "train", GOOD, path, frames=_probe(path).frames)
        for path in files(os.path.join(root, "training", "videos"), (".avi",))
    ]


def _test_items(root: str) -> list[Item]:
    testing = os.path.join(root, "testing")
    return [
        item
        for folder in folders(os.path.join(testing, "frames"))
        for item in _test_video(root, folder, testing)
    ]


def _test_video(root: str, folder: str, testing: str) -> list[Item]:
    video = os.path.basename(folder)
    frames = files(folder, (".jpg",))
    labels = _array(os.path.join(testing, "test_frame_mask", f"{video}.npy"), len(frames), 1)
    masks = os.path.join(testing, "test_pixel_mask", f"{video}.npy")
    if os.path.isfile(masks):
        _array(masks, len(frames), 3)
    else:
        masks = None
    return [
        Item(name_below(root, path), _scene(folder), "test", _ANOMALY if labels[t] else GOOD, path, masks, t)
        for t, path in enumerate(frames)
    ]


def _scene(path: str) -> str:
    return os.path.basename(path).split("_")[0]


def _array(path: str, length: int, ndim: int) -> np.ndarray:
    """Map an array of a video's frames into memory, without ever unpickling anything."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"'{path}' cannot be read as an array ({error}). Download it again.") from error
    if array.ndim != ndim or len(array) != length:
        raise UserError(
            f"'{path}' has the shape {list(array.shape)}, expected {ndim} dimensions, the first of {length}: "
            "the number of frames of the video of the same name. Download both again."
        )
    return array


def _mask(item: Item) -> bytes | None:
    """The mask of a frame as PNG; None where nothing is marked in a good one."""
    if item.mask is None:
        return None
    marked = np.load(item.mask, mmap_mode="r", allow_pickle=False)[item.frame] != 0
    if item.defect == GOOD and not marked.any():
        return None
    file = io.BytesIO()
    Image.fromarray(marked.astype(np.uint8) * 255).save(file, "PNG")
    return file.getvalue()


class _Video(NamedTuple):
    """What a video's header says."""

    frames: int
    width: int
    height: int


@functools.cache  # asked again by every check of the same run
def _probe(path: str) -> _Video:
    av = _av()
    try:
        with av.open(path) as container:
            stream = container.streams.video[0]
            return _Video(stream.frames, stream.width, stream.height)
    except (av.FFmpegError, OSError, IndexError) as error:
        raise _broken(path, error) from error


def _decoded(item: Item) -> Iterator[Picture]:
    """Decode a video's frames, in order, into JPEG."""
    av = _av()
    try:
        with av.open(item.image) as container:
            container.streams.video[0].thread_type = "AUTO"
            for number, frame in enumerate(container.decode(video=0)):
                file = io.BytesIO()
                frame.to_image().save(file, "JPEG", quality=JPEG_QUALITY)
                yield Picture(f"{item.name}/{number:08}.jpg", file.getvalue(), None)
    except (av.FFmpegError, OSError) as error:
        raise _broken(item.image, error) from error


def _broken(path: str, error: Exception) -> UserError:
    found = getattr(error, "strerror", None) or error
    return UserError(f"'{path}' cannot be decoded as a video ({found}). Download it again.")


def _av() -> Any:
    if importlib.util.find_spec("av") is None:
        raise UserError(
            "The training videos of the dataset 'stc' are decoded with the package av (FFmpeg), which is not "
            "installed: pip install 'hgad_jax[stc]'"
        )
    import av

    return av


def _problems(items: Sequence[Item]) -> list[str]:
    videos = [item.image for item in items if item.split == "train"]
    odd = [path for path in videos if _probe(path)[1:] != FRAME_SIZE]
    problems = [f"no masks for anomalous frames of scene {name}" for name in classes_without_masks(items)]
    if odd:
        problems.append(f"{len(odd)} videos are not of {FRAME_SIZE} pixels: {listed(odd)}")
    for split, published in PUBLISHED.items():
        found = sum(item.frames for item in items if item.split == split)
        if found != published:
            problems.append(f"{found} {split} frames instead of {published}")
    return problems


def _pictures(item: Item) -> Iterator[Picture]:
    if item.split == "train":
        yield from _decoded(item)
    else:
        yield Picture(item.name, read_file(item.image), _mask(item))


class STC(ImageDataset):
    """ShanghaiTech Campus, scenes 01 to 12: there is no ground truth for scene 13."""

    name = "stc"
    spec = Spec(
        title="ShanghaiTech Campus",
        page="https://svip-lab.github.io/dataset/campus_dataset.html",
        licence="for research, see its page",
        citation="""\
@inproceedings{liu2018future,
  title={Future Frame Prediction for Anomaly Detection -- A New Baseline},
  author={Liu, Wen and Luo, Weixin and Lian, Dongze and Gao, Shenghua},
  booktitle={IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year={2018}
}""",
        tree="""\
  training/videos/<scene>_<number>.avi
  testing/frames/<video>/*.jpg
  testing/test_frame_mask/<video>.npy     0 or 1 for each frame
  testing/test_pixel_mask/<video>.npy     [frames, height, width]""",
        classes=tuple(f"{scene:02}" for scene in range(1, 13)),
        is_dataset=lambda folder: os.path.isdir(os.path.join(folder, "training", "videos")),
        items=lambda folder: _train_items(folder) + _test_items(folder),
        problems=_problems,
        suffixes=(".avi", ".jpg", ".npy"),
        pictures=_pictures,
    )
