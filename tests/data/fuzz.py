"""Damages image files by a seed and reads each: `fuzz.py COUNT SEED FOLDER` prints how it went, as JSON."""

import io
import json
import sys
import time
import traceback
import warnings
from pathlib import Path

import numpy as np
from kinds import kinds
from peak import peak_mb

from hgad_jax.data.decode import image_size
from hgad_jax.data.geometry import Transform
from hgad_jax.data.transforms import load, load_whole_mask
from hgad_jax.errors import UserError

_TRANSFORM = Transform(32, "short_side_crop", value_range=(-(2.0**31), 2.0**32))


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """A file that is cut, has bits flipped, bytes replaced, or parts moved; mostly near its header."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        near = min(len(data), 64 if rng.random() < 0.6 else len(data))
        place = int(rng.integers(0, max(1, near)))
        match rng.integers(0, 6):
            case 0:
                data = data[:place]
            case 1 if data:
                data[place] ^= 1 << rng.integers(0, 8)
            case 2 if data:
                data[place] = rng.integers(0, 256)
            case 3:
                data[place : place + 4] = rng.bytes(4)
            case 4:
                data[place : place + 4] = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\xff\x7f")[
                    rng.integers(0, 3)
                ]
            case 5:
                data[place:place] = data[: rng.integers(0, 40)]
    return bytes(data)


def read(content: bytes, path: Path | None) -> str:
    """Whether an image is read or refused: "read", "refused", or what else happened.

    Args:
        content: of the file.
        path: to write it to; None to read it from memory.
    """
    try:
        image = io.BytesIO(content)
        if path is not None:
            path.write_bytes(content)
            image = path
        loaded = load(image, _TRANSFORM)
        assert loaded.size == image_size(image)
        assert load_whole_mask(image, image=image).shape == loaded.size
        assert loaded.pixels.shape == (32, 32, 3)
        return "read"
    except UserError as error:
        named = str(error).startswith(f"'{path}' " if path else "The image given ")
        return "refused" if named else f"no name: {error}"
    except Exception:
        return traceback.format_exc()


def main(count: int, seed: int, folder: str) -> None:
    """Print counts, what was neither read nor refused, the longest time (s) and the most memory (MB)."""
    warnings.simplefilter("error")
    whole = [kind.content for kind in kinds()]
    counts, others, slowest = {"read": 0, "refused": 0}, [], 0.0
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        start = time.monotonic()
        path = Path(folder) / "image" if number % 2 else None
        found = read(damaged(whole[number % len(whole)], rng), path)
        slowest = max(slowest, time.monotonic() - start)
        if found in counts:
            counts[found] += 1
        else:
            others.append([number, found])
    print(json.dumps({"counts": counts, "others": others, "slowest": slowest, "most": peak_mb()}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
