"""Which kinds of TIFF files are read right: the format leaves so much open that Pillow reads some wrongly."""

from collections.abc import Iterator

import numpy as np
from PIL.TiffImagePlugin import TiffImageFile

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIPS, _SAMPLES, _STRIP_ROWS, _PLANAR = 273, 277, 278, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _FORMAT = 322, 323, 324, 339
_MIN_IS_WHITE, _GREY, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6  # of the tag Photometric
_OTHERS = {8: "CIELab", 9: "ICCLab", 10: "ITULab", 32803: "a raw sensor", 32844: "LogL", 32845: "LogLuv"}
_UNCOMPRESSED, _JPEG = 1, 7
_UNSIGNED = 1  # of the tag SampleFormat


def corrected(opened: TiffImageFile, values: np.ndarray) -> np.ndarray:
    """Pixels of more than 8 bits as the file means them: 0 is black, and of the type that it has."""
    if values.dtype == np.uint16:
        return 65535 - values if _is_inverted(opened) else values
    if values.dtype == np.int32 and _sample_format(opened) == _UNSIGNED:
        return values.view(np.uint32)
    return values.astype(np.int16) if values.dtype == np.int32 and _bits(opened) == 16 else values


def tiff_problem(opened: TiffImageFile) -> str:
    """What would not be read right and how to mend it, to follow the file's name; "" if nothing."""
    problem = next(_problems(opened), "")
    return (
        problem
        and f"is a TIFF file with {problem}, which is not read. Save it as png, or as grey or RGB TIFF."
    )


def _problems(opened: TiffImageFile) -> Iterator[str]:
    tags = opened.tag_v2
    colours, compression = tags.get(_PHOTOMETRIC, _MIN_IS_WHITE), tags.get(_COMPRESSION, _UNCOMPRESSED)
    bits, planes = _bits(opened), tags.get(_PLANAR, 1) == 2 and tags.get(_SAMPLES, 1) > 1
    if colours not in (_MIN_IS_WHITE, _GREY, _RGB, _PALETTE, _CMYK, _YCBCR):
        yield f"pixels of {_OTHERS.get(colours, f'the kind {colours}')}"
    if colours == _YCBCR and compression != _JPEG:
        yield "YCbCr pixels that are not compressed as JPEG"
    if bits == 8 and _sample_format(opened) != _UNSIGNED:
        yield "signed pixels of 8 bits"
    if bits > 8 and colours not in (_GREY, _RGB) and not _is_inverted(opened):
        yield f"{bits}-bit pixels that are neither grey nor RGB with 0 for black"
    if planes and (bits > 8 or colours not in (_RGB, _CMYK)):
        yield "its colours or its alpha stored plane by plane"
    if opened.mode in ("I", "F") and tags.prefix == b"MM" and compression != _UNCOMPRESSED:
        yield "compressed pixels of high byte first"
    if _parts_lacking(opened, planes):
        yield "parts of its image lacking"


def _is_inverted(opened: TiffImageFile) -> bool:
    """Whether 0 is white in an image of 16 bits; of fewer bits Pillow itself makes 0 black."""
    return opened.tag_v2.get(_PHOTOMETRIC, _MIN_IS_WHITE) == _MIN_IS_WHITE and opened.mode.startswith("I;16")


def _bits(opened: TiffImageFile) -> int:
    return max(opened.tag_v2.get(_BITS, (1,)))


def _sample_format(opened: TiffImageFile) -> int:
    return max(opened.tag_v2.get(_FORMAT, (_UNSIGNED,)))


def _parts_lacking(opened: TiffImageFile, planes: bool) -> bool:
    """Whether a file lists fewer strips or tiles than its image has; Pillow would leave the rest black."""
    tags = opened.tag_v2
    width, height = tags[_WIDTH], tags[_HEIGHT]
    if _STRIPS in tags:
        listed, across, rows = tags[_STRIPS], 1, tags.get(_STRIP_ROWS, height)
    else:
        listed, across, rows = tags[_TILES], -(-width // tags[_TILE_WIDTH]), tags[_TILE_HEIGHT]
    return len(listed) < across * -(-height // rows) * (tags.get(_SAMPLES, 1) if planes else 1)
