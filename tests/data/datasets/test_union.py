import pytest
from dataset_trees import TREES, load, shrink

from hgad_jax.data.datasets import btad, mvtec_3d_rgb, mvtec_ad, visa
from hgad_jax.data.records import image_name
from hgad_jax.errors import UserError


@pytest.fixture
def root(tmp_path, monkeypatch):
    shrink(monkeypatch, *TREES)
    for name, (make, _) in TREES.items():
        make(tmp_path / "root" / name)
    return tmp_path / "root"


def test_ids_of_the_whole_union():
    parts = (mvtec_ad, btad, mvtec_3d_rgb, visa)
    classes = [name for part in parts for name in part.PUBLISHED]
    ids = {name: number for number, name in enumerate(classes)}
    assert len(ids) == 40
    assert [
        ids[name] for name in ("bottle", "zipper", "01", "03", "bagel", "tire", "candle", "pipe_fryum")
    ] == [*(0, 14, 15, 17, 18, 27, 28, 39)]


def test_parts_keep_their_order_and_every_image_its_class(root, tmp_path):
    union = load("union", root, tmp_path / "prepared")
    assert union.name == "union"
    assert union.classes == (
        "bottle",
        "grid",
        "zipper",
        "01",
        "02",
        "03",
        "bagel",
        "cable_gland",
        "candle",
        "pcb3",
    )
    parts = [load(name, root, tmp_path / "prepared") for name in TREES]
    assert union.train == sum((part.train for part in parts), ())
    assert union.test == sum((part.test for part in parts), ())
    # The published code trains VisA's images as the first classes and tests them as the last.
    for split in (union.train, union.test):
        for record in split:
            part = image_name(record.path).split("/")[0]
            first = {"mvtec_ad": 0, "btad": 3, "mvtec_3d_rgb": 6, "visa": 8}[part]
            assert first <= union.classes.index(record.class_name) < first + len(TREES[part][1])


def test_a_missing_part_is_named(root, tmp_path):
    (root / "btad").rename(root / "beantech")
    with pytest.raises(UserError, match=r"(?s)'btad' was not prepared.*BTAD can be had from"):
        load("union", root, tmp_path / "prepared")


@pytest.mark.slow
def test_whole_datasets_of_tiny_images(tmp_path):
    root = tmp_path / "root"
    for name, (make, _) in TREES.items():
        published = {"mvtec_ad": mvtec_ad, "btad": btad, "mvtec_3d_rgb": mvtec_3d_rgb, "visa": visa}[name]
        make(root / name, published.PUBLISHED)
    union = load("union", root, tmp_path / "prepared")
    assert len(union.classes) == 40
    assert len(union.train) == 3629 + 1799 + 2656 + 8659
    assert len(union.test) == 1725 + 741 + 1197 + 2162
    assert all((record.mask is not None) == record.anomalous for record in union.test)
