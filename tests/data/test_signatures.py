"""Files are known by their first bytes, whatever their names say."""

import numpy as np
import pytest
from PIL import Image

from hgad_jax.data.signatures import image_format

WRITTEN = {
    "PNG": ("PNG", {}),
    "JPEG": ("JPEG", {}),
    "GIF": ("GIF", {}),
    "BMP": ("BMP", {}),
    "TIFF": ("TIFF", {}),
    "big TIFF": ("TIFF", {"big_tiff": True}),
    "WebP": ("WEBP", {}),
    "JPEG 2000": ("JPEG2000", {}),
    "PNM": ("PPM", {}),
}
BYTES = {
    "HEIC": b"\0\0\0\x18ftypheic",
    "AVIF": b"\0\0\0\x18ftypavif",
    "JPEG XL": b"\xff\x0a\x7a",
    "OpenEXR": b"\x76\x2f\x31\x01\x02",
    "Photoshop": b"8BPS\0\x01",
    "DICOM": bytes(128) + b"DICM",
    "NumPy": b"\x93NUMPY\x01\0",
    "TIFF": b"MM\0*\0\0\0\x08",
}
NONE = {
    "empty": b"",
    "text": b"BMW\nII\n",
    "portable": b"Pictures of a part",
    "page": b"<html>",
    "zip": b"PK\x03\x04",
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_pillow_writes(name, tmp_path):
    kind, options = WRITTEN[name]
    path = tmp_path / "x"
    Image.fromarray(np.eye(9, dtype=np.uint8) * 200).save(path, kind, **options)
    assert image_format(path) == name.removeprefix("big ")


@pytest.mark.parametrize(("expected", "start"), [*BYTES.items(), *((None, start) for start in NONE.values())])
def test_first_bytes(expected, start, tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(start + bytes(99) * (expected is not None))
    assert image_format(path) == expected


def test_what_is_not_there(tmp_path):
    assert image_format(tmp_path / "x") is None
    assert image_format(tmp_path) is None
