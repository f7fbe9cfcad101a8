"""A folder in which everything is wrong that can be."""

import zlib
from pathlib import Path

import numpy as np
from PIL import Image

BOMB = (20_000, 20_000)  # pixels; 400 million of one grey are a few kB of PNG


def draw(path: Path, seed: int, size=(24, 18), mode="RGB") -> Path:
    """An image of noise: other seeds, other content."""
    rng = np.random.default_rng(seed)
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(path)
    return path


def draw_mask(path: Path, size=(24, 18), value=255) -> Path:
    mask = np.zeros((size[1], size[0]), np.uint8)
    mask[3:9, 4:12] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)
    return path


def cut_short(path: Path) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def write_bomb(path: Path) -> Path:
    """A PNG of a few kB that decodes to hundreds of MB."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + kind + body + crc

    width, height = BOMB
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + width)) for _ in range(height // 100)) + packer.flush()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
    return path


def good_class(folder: Path, first_seed: int, count: int = 6) -> Path:
    """A sound class with masks and names such as users give."""
    for i in range(count):
        draw(folder / "train" / "good" / f"Bild {i:02} ä.PNG", first_seed + i)
    draw(folder / "test" / "good" / "g.bmp", first_seed + 100)
    for i in range(2):
        draw(folder / "test" / "kratzer tief" / f"{i}.JPG", first_seed + 200 + i)
        draw_mask(folder / "ground_truth" / "kratzer tief" / f"{i}_mask.png", value=1)
    return folder


def break_everything(root: Path) -> dict[str, str]:
    """Two sound classes and one of each trouble: kind → the name that a report must contain."""
    nut = good_class(root / "nut", 0)
    bolt = good_class(root / "bolt", 1000)
    good = nut / "train" / "good"
    cut_short(draw(good / "cut.png", 1))
    cut_short(draw(good / "cut.jpg", 2, size=(200, 200)))
    (good / "zero.png").touch()
    (good / "text.png").write_text("no image")
    draw(good / "x.jpg", 3).rename(good / "jpeg.png")
    write_bomb(good / "bomb.png")
    Image.fromarray(np.ones((9, 9), np.float32)).save(good / "float.tif")
    cut_short(draw(nut / "test" / "good" / "cut_test.png", 4))
    (nut / "train" / "good" / "leaf").symlink_to(root.parent / "nowhere")
    outside = draw(root.parent / "outside" / "1.png", 5)
    (good / "outside.png").symlink_to(outside)
    (root / "empty" / "train" / "good").mkdir(parents=True)
    draw_mask(bolt / "ground_truth" / "kratzer tief" / "orphan_mask.png")
    draw(bolt / "test" / "kratzer tief" / "bare.png", 6)
    draw(bolt / "test" / "riss" / "size.png", 7)
    draw_mask(bolt / "ground_truth" / "riss" / "size_mask.png", size=(24, 19))
    draw(bolt / "test" / "riss" / "blank.png", 8)
    draw_mask(bolt / "ground_truth" / "riss" / "blank_mask.png", value=0)
    leak = bolt / "train" / "good" / "Bild 00 ä.PNG"
    (bolt / "test" / "good" / "leak.png").write_bytes(leak.read_bytes())
    (bolt / "train" / "good" / "twin.png").write_bytes(
        (bolt / "train" / "good" / "Bild 01 ä.PNG").read_bytes()
    )
    return {
        "cut short png": "cut.png",
        "cut short jpg": "cut.jpg",
        "zero bytes": "zero.png",
        "text": "text.png",
        "wrong extension": "jpeg.png",
        "bomb": "bomb.png",
        "32 bit": "float.tif",
        "cut short test image": "cut_test.png",
        "dangling link": "leaf",
        "link out of the root": "outside.png",
        "empty class": "empty/train/good",
        "mask without image": "orphan_mask.png",
        "image without mask": "bare.png",
        "mask of another size": "size_mask.png",
        "blank mask": "blank.png",
        "in train and test": "leak.png",
        "twice in train": "twin.png",
    }


WARNINGS = ("blank mask", "in train and test", "twice in train")
