"""A page with pictures of the largest groups of near-duplicates, to see whether they are what they should."""

import base64
import html
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from hgad_jax.data.geometry import Transform
from hgad_jax.data.problems import printable
from hgad_jax.data.records import Record, image_name
from hgad_jax.data.transforms import load_image
from hgad_jax.files import write_atomically

_CLASSES, _GROUPS, _IMAGES = 20, 8, 12  # shown: some 200 KB a class at most
_SIDE, _QUALITY = 72, 60
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = "body{font:15px sans-serif;margin:2em}img{margin:1px}div{margin:6px 0}small{color:#666}"


def write(path: Path, ids: np.ndarray, records: Sequence[Record], transform: Transform) -> None:
    """Write the page; without groups there is none, and one of before is taken away.

    Args:
      path: of the HTML file.
      ids: `[N]`, the group of each image.
      records: the images; of at most 20 classes the eight largest groups are shown, twelve images of each.
      transform: how they are read.

    Raises:
      UserError: an image cannot be read.
    """
    sections = []
    for class_name in sorted({record.class_name for record in records}):
        members = np.flatnonzero([record.class_name == class_name for record in records])
        numbers, sizes = np.unique(ids[members], return_counts=True)
        order = np.argsort(-sizes, kind="stable")
        if sizes.max() > 1 and len(sections) < _CLASSES:
            rows = [
                _row([records[i] for i in members[ids[members] == numbers[k]]], transform)
                for k in order[:_GROUPS]
                if sizes[k] > 1
            ]
            sections.append(f"<h2>{_e(class_name)}</h2><p>{_sizes(sizes)}</p>{''.join(rows)}")
    if not sections:
        path.unlink(missing_ok=True)
        return
    write_atomically(
        path,
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>Groups of near-duplicates</title><style>{_STYLE}</style></head><body>"
        "<h1>Groups of near-duplicates among the good images</h1><p>Whole groups are held out. If they are "
        "not what they should be: config.calibration.groups, docs/scoring.md.</p>"
        f"{''.join(sections)}</body></html>\n",
    )


def _e(text: str) -> str:
    return html.escape(printable(text), quote=True)


def _sizes(sizes: np.ndarray) -> str:
    counts = [f"{count} of {size}" for size, count in zip(*np.unique(sizes, return_counts=True), strict=True)]
    return f"{sizes.sum()} images in {len(sizes)} groups: {', '.join(counts[::-1])}."


def _row(records: Sequence[Record], transform: Transform) -> str:
    pictures = "".join(_picture(record, transform) for record in records[:_IMAGES])
    return f"<div><small>{len(records)} images</small><br>{pictures}</div>"


def _picture(record: Record, transform: Transform) -> str:
    name = _e(os.path.basename(image_name(record.path)))
    out = io.BytesIO()
    image = Image.fromarray(load_image(record.path, transform))
    image.resize((_SIDE, _SIDE), Image.Resampling.BOX).save(out, "JPEG", quality=_QUALITY)
    data = base64.b64encode(out.getvalue()).decode()
    return f'<img alt="{name}" title="{name}" src="data:image/jpeg;base64,{data}">'
