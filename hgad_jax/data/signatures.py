"""What a file is by its first bytes, whatever its suffix says; and which kinds of files are read."""

import os
import re

# The kinds that are read, with their suffixes. JPEG goes by four names: Windows saves .jfif, and .jpe is in
# the standard's own list.
SUFFIXES = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "WebP": (".webp",),
}
LENGTH = 132  # bytes that tell
_SIGNATURES = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM.{4}\0{4}",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "WebP": rb"RIFF.{4}WEBP",
    "HEIC": rb".{4}ftyp(hei[cxms]|hev[cx]|mif1|msf1)",
    "AVIF": rb".{4}ftypavi[fs]",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "JPEG XL": rb"\0\0\0\x0cJXL |\xff\x0a",
    "PNM": rb"P[1-7]\s",
    "OpenEXR": rb"\x76\x2f\x31\x01",
    "Photoshop": rb"8BPS",
    "DICOM": rb".{128}DICM",
    "NumPy": rb"\x93NUMPY",
}
_PATTERNS = {name: re.compile(pattern, re.DOTALL) for name, pattern in _SIGNATURES.items()}


def image_format(path: str | os.PathLike) -> str | None:
    """The format of an image by its content; None for what is no image, or cannot be read."""
    try:
        with open(path, "rb") as file:
            return format_of(file.read(LENGTH))
    except OSError:
        return None


def format_of(start: bytes) -> str | None:
    """The same by the first `LENGTH` bytes."""
    return next((name for name, pattern in _PATTERNS.items() if pattern.match(start)), None)
