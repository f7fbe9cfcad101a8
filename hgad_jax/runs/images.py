"""Which images a run is of: what they hold, listed beside it so that others can be told, and by name."""

import collections
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hgad_jax.data import Dataset, Record
from hgad_jax.data.contents import contents, digest
from hgad_jax.data.problems import listed
from hgad_jax.data.records import image_name
from hgad_jax.files import read_text, write_atomically
from hgad_jax.runs.model import cache_directory

FILE = "images.jsonl"
_SHOWN = 5  # names of a kind in a message


class RunImage(NamedTuple):
    """A good image of a run.

    Attributes:
      class_name: the dataset's.
      name: its path below the dataset's folder, for people.
      content: SHA-256 of its file.
    """

    class_name: str
    name: str
    content: str


def run_images(config: Any, dataset: Dataset, directory: Path) -> list[RunImage]:
    """The good images of a run, those to train on and those to calibrate on, in the dataset's order.

    Args:
      config: of the run.
      dataset: with its own classes.
      directory: of the run.

    Raises:
      UserError: an image cannot be read.
    """
    paths = [record.path for record in dataset.train]
    found = contents(paths, cache_directory(config, directory), num_workers=config.data.workers)
    return [
        RunImage(record.class_name, _below(config.data.root, record), content)
        for record, content in zip(dataset.train, found, strict=True)
    ]


def _below(root: str, record: Record) -> str:
    name = image_name(record.path)
    return os.path.relpath(name, root) if root and name.startswith(os.path.join(root, "")) else name


def digests(images: Sequence[RunImage]) -> dict[str, str]:
    """Class → one hash of what its images hold, in their order: which are held out depends on that."""
    classes = collections.defaultdict(list)
    for image in images:
        classes[image.class_name].append(image.content)
    return {name: digest(found) for name, found in classes.items()}


def save(workdir: Path, images: Sequence[RunImage]) -> None:
    """Lists the images of a run in its folder, unless they are listed there."""
    if _load(workdir) != list(images):
        write_atomically(workdir / FILE, "".join(f"{json.dumps(image)}\n" for image in images))


def changes(workdir: Path, then: dict[str, str], now: Sequence[RunImage]) -> Iterator[str]:
    """Says which images are others than those of a checkpoint.

    Args:
      workdir: whose list names those of the checkpoint.
      then: their digests.
      now: the images there are today.
    """
    before = _load(workdir)
    if digests(before) != then:
        classes = sorted(name for name, found in digests(now).items() if then.get(name) != found)
        yield f"other images of {listed(classes)}; {workdir / FILE}, which could name them, is not this run's"
        return
    gone, come = _without(before, now), _without(now, before)
    names = {image.name for image in gone} & {image.name for image in come}
    for what, images in (
        ("replaced", [image for image in come if image.name in names]),
        ("removed", [image for image in gone if image.name not in names]),
        ("added", [image for image in come if image.name not in names]),
        ("under other names, in another class or order", _displaced(before, now, gone, come)),
    ):
        if images:
            yield f"{len(images)} images {what}: {listed((image.name for image in images), _SHOWN)}"


def _without(images: Sequence[RunImage], others: Sequence[RunImage]) -> list[RunImage]:
    """Images whose content is not among the others', or oftener than there, those of one name first."""
    kept = {(image.name, image.content) for image in images} & {(i.name, i.content) for i in others}
    left = collections.Counter(image.content for image in others if (image.name, image.content) not in kept)
    found = []
    for image in images:
        if (image.name, image.content) not in kept:
            left[image.content] -= 1
            if left[image.content] < 0:
                found.append(image)
    return found


def _displaced(
    before: Sequence[RunImage], now: Sequence[RunImage], gone: Sequence[RunImage], come: Sequence[RunImage]
) -> list[RunImage]:
    """Of the images that are there as before, those that are not in their places."""
    left, new = set(gone), set(come)
    pairs = zip([i for i in before if i not in left], [i for i in now if i not in new], strict=True)
    return [
        image for old, image in pairs if (old.class_name, old.content) != (image.class_name, image.content)
    ]


def _load(workdir: Path) -> list[RunImage]:
    """What is listed; nothing where that is no list of ours."""
    try:
        return [RunImage(*json.loads(line)) for line in read_text(workdir / FILE).splitlines()]
    except (OSError, ValueError, TypeError):
        return []
