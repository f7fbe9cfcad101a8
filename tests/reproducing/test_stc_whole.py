"""ShanghaiTech Campus from videos to CFLOW-AD's Table 5, on a made-up tree of three scenes."""

import json

import av
import numpy as np
import pytest
from PIL import Image
from reproducing.small import in_process, small

from hgad_jax.reproducing.all_tables import TABLES
from hgad_jax.reproducing.job import Places
from hgad_jax.reproducing.plan import plan
from hgad_jax.reproducing.reproduce import reproduce
from hgad_jax.reproducing.run import _Running

SIZE = (96, 64)  # pixels, width and height
SCENES = ("01", "02", "13")  # the last without ground truth


def noise(rng, level):
    return np.clip(rng.normal(level, 20, (SIZE[1], SIZE[0], 3)), 0, 255).astype(np.uint8)


def video(path, frames):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def tree(tmp_path):
    """Six frames of training and four of test a scene; in two of these something bright passes."""
    rng = np.random.default_rng(0)
    root = tmp_path / "stc" / "shanghaitech"
    for level, scene in enumerate(SCENES):
        video(
            root / "training" / "videos" / f"{scene}_001.avi",
            [noise(rng, 80 + 20 * level) for _ in range(6)],
        )
    for level, scene in enumerate(SCENES[:2]):
        name = f"{scene}_0014"
        masks = np.zeros((4, SIZE[1], SIZE[0]), np.uint8)
        folder = root / "testing" / "frames" / name
        folder.mkdir(parents=True)
        for t in range(4):
            pixels = noise(rng, 80 + 20 * level)
            if t >= 2:
                pixels[20:50, 30:60] = 255
                masks[t, 20:50, 30:60] = 1
            Image.fromarray(pixels).save(folder / f"{t:03}.jpg")
        for kind, content in (("test_frame_mask", masks.any((1, 2))), ("test_pixel_mask", masks)):
            (root / "testing" / kind).mkdir(exist_ok=True)
            np.save(root / "testing" / kind / f"{name}.npy", content)
    return tmp_path / "stc"


def test_from_videos_to_the_average_over_scenes(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(_Running, "call", in_process(1))
    table = TABLES["cflow_table5"]
    assert len(plan(table).jobs) == 12, "scenes that have ground truth"
    planned = plan(small(table, data__prepared_dir=str(tmp_path / "prepared")), classes=("01", "02"))
    places = Places(tmp_path / "out", str(tree))
    done = reproduce(planned, places, log=lambda line: None, program=["-"], slots=[{}])
    assert done.failed == {}
    content = json.loads((tmp_path / "out" / "cflow_table5.json").read_text())
    for metric in ("image_auroc", "pixel_auroc"):
        found = {
            cell["row"]: cell["mean"]
            for cell in content["cells"]
            if (cell["metric"], cell["state"]) == (metric, "last")
        }
        assert set(found) == {"01", "02", "mean"}
        assert found["mean"] == pytest.approx((found["01"] + found["02"]) / 2)
    assert (
        "12 scenes are averaged, those with ground truth; the paper counts 13"
        in content["differences"]["wrn50"]
    )
    # What is published is an average over all scenes, which two of them are not.
    assert all(cell["published"] is None for cell in content["cells"])
    assert "the paper counts 13" in (tmp_path / "out" / "cflow_table5.md").read_text()
