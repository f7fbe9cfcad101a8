"""Small trees in the layouts of the papers' datasets, with the irregularities of the real ones."""

import csv
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from hgad_jax.data import prepare
from hgad_jax.data.datasets.items import Counts
from hgad_jax.data.datasets.spec import compare_with


def draw(path: Path, *, size=(12, 8), mode="RGB", seed=0) -> Path:
    """An image of noise; its content depends on its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"RGB": (3,), "L": ()}[mode]
    rng = np.random.default_rng([seed, *path.name.encode(), *path.parent.name.encode()])
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], *channels), np.uint8)).save(path)
    return path


def mark(path: Path, *, size=(12, 8), value=255) -> Path:
    """A mask whose left half is defective."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((size[1], size[0]), np.uint8)
    mask[:, : size[0] // 2] = value
    Image.fromarray(mask).save(path)
    return path


MVTEC_AD = {"bottle": Counts(3, 1, 3), "grid": Counts(2, 1, 2), "zipper": Counts(2, 1, 2)}


def mvtec_ad(root: Path, classes=MVTEC_AD) -> Path:
    """Grey classes among colour ones; a licence file and a readme as in the archives."""
    for name, counts in classes.items():
        mode = "L" if name in ("grid", "screw", "zipper") else "RGB"
        for i in range(counts.train):
            draw(root / name / "train" / "good" / f"{i:03}.png", mode=mode)
        for i in range(counts.good):
            draw(root / name / "test" / "good" / f"{i:03}.png", mode=mode, seed=1)
        for i in range(counts.defective):
            defect = "broken_large" if i % 2 else "bent"
            draw(root / name / "test" / defect / f"{i // 2:03}.png", mode=mode)
            mark(root / name / "ground_truth" / defect / f"{i // 2:03}_mask.png")
        (root / name / "readme.txt").write_text("terms")
        (root / name / "test" / "bent" / "Thumbs.db").write_bytes(b"none of ours")
    return root


BTAD = {"01": Counts(2, 1, 2), "02": Counts(2, 1, 1), "03": Counts(3, 2, 1)}


def btad(root: Path, classes=BTAD) -> Path:
    """`ok` and `ko`; bmp images in 01 and 03, masks of bmp in 03 only; 03 is not square."""
    for name, counts in classes.items():
        size = (16, 12) if name == "03" else (8, 8)
        image, mask = {"01": ("bmp", "png"), "02": ("png", "png"), "03": ("bmp", "bmp")}[name]
        for i in range(counts.train):
            draw(root / name / "train" / "ok" / f"{i:04}.{image}", size=size)
        for i in range(counts.good):
            draw(root / name / "test" / "ok" / f"{i:04}.{image}", size=size)
        for i in range(counts.defective):
            draw(root / name / "test" / "ko" / f"{i:04}.{image}", size=size)
            mark(root / name / "ground_truth" / "ko" / f"{i:04}.{mask}", size=size)
    return root


MVTEC_3D_RGB = {"bagel": Counts(2, 1, 2), "cable_gland": Counts(2, 1, 1)}


def mvtec_3d_rgb(root: Path, classes=MVTEC_3D_RGB) -> Path:
    """Colour, depth and ground truth side by side; a validation split; masks of good images; values of 1."""
    for name, counts in classes.items():
        kinds = [("train", "good", counts.train), ("validation", "good", 2), ("test", "good", counts.good)]
        for split, defect, count in [*kinds, ("test", "hole", counts.defective)]:
            for i in range(count):
                folder = root / name / split / defect
                draw(folder / "rgb" / f"{i:03}.png")
                (folder / "xyz").mkdir(exist_ok=True)
                (folder / "xyz" / f"{i:03}.tiff").write_bytes(b"depth")
                if split == "test":
                    mark(folder / "gt" / f"{i:03}.png", value=0 if defect == "good" else 1)
    return root


VISA = {"candle": Counts(2, 1, 2), "pcb3": Counts(2, 2, 1)}


def visa(root: Path, classes=VISA, *, rows=()) -> Path:
    """Names of four and three digits, .JPG, masks with small values, a table with paths below the root."""
    table = [["object", "split", "label", "image", "mask"]]
    for name, counts in reversed(classes.items()):  # the table's order is not that of the ids
        data = f"{name}/Data"
        for i in range(counts.defective):
            image, mask = f"{data}/Images/Anomaly/{i:03}.JPG", f"{data}/Masks/Anomaly/{i:03}.png"
            draw(root / image)
            mark(root / mask, value=i + 1)
            table.append([name, "test", "anomaly", image, mask])
        for i in reversed(range(counts.train + counts.good)):
            image = f"{data}/Images/Normal/{i:04}.JPG"
            draw(root / image)
            table.append([name, "train" if i < counts.train else "test", "normal", image, ""])
    (root / "split_csv").mkdir(parents=True)
    with open(root / "split_csv" / "1cls.csv", "w", newline="") as file:
        csv.writer(file).writerows([*table, *rows])
    return root


TREES = {
    "mvtec_ad": (mvtec_ad, MVTEC_AD),
    "btad": (btad, BTAD),
    "mvtec_3d_rgb": (mvtec_3d_rgb, MVTEC_3D_RGB),
    "visa": (visa, VISA),
}


def shrink(monkeypatch, *names: str) -> None:
    """Let the published datasets be as small as the trees made here."""
    for name in names:
        builder = prepare._builder(name)
        classes = TREES[name][1]
        spec = builder.spec._replace(problems=compare_with(classes), classes=tuple(classes))
        monkeypatch.setattr(builder, "spec", spec)


def load(name: str, root, prepared: Path, **options):
    options = {"root": str(root), "prepared_dir": str(prepared), **options}
    return prepare.load(name, prepare.Options(**options))


def pack(folder: Path, archive: Path, *, top: str = "") -> Path:
    """Pack what is in a folder, below a folder `top` of the archive if one is named."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    members = [(path, (Path(top) / path.relative_to(folder)).as_posix()) for path in files]
    archive.parent.mkdir(parents=True, exist_ok=True)
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for path, name in members:
                packed.write(path, name)
    else:
        compression = archive.suffix[1:] if archive.suffix[1:] in ("gz", "xz", "bz2") else ""
        with tarfile.open(archive, f"w:{compression}") as packed:
            for path, name in members:
                packed.add(path, name)
    return archive


def member(name: str, **fields) -> tuple[tarfile.TarInfo, io.BytesIO]:
    """One member of a tar file."""
    info = tarfile.TarInfo(name)
    content = b"content"
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, io.BytesIO(content)
