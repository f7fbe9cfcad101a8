"""The images of a split in the order of their classes, with their ground truth on disk."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from hgad_jax.data import Dataset, Record
from hgad_jax.data.geometry import Box, Transform, mapped, valid_region
from hgad_jax.data.transforms import image_size, load_mask
from hgad_jax.disk import DiskArray
from hgad_jax.errors import UserError


class EvalSet:
    """Records with labels and masks; a context manager, since the masks are in a file.

    Attributes:
      records: sorted by class, else in the dataset's order.
      classes: names; a class's position is its id.
      labels: class ids, int32 `[N]`.
      anomalous: bool `[N]`.
      has_truth: whether all defective pixels of the image are known, bool `[N]`: its class has masks, and it
        is good or has one. Only of groups found by clustering are some without.
      transform: that brings an image to a square.
      mapped: the same transform at the size of masks and maps.
      size: side of its square, of masks and of maps, in pixels.
    """

    def __init__(
        self,
        records: tuple[Record, ...],
        classes: tuple[str, ...],
        transform: Transform,
        directory: Path,
        map_size: int = 0,
    ):
        ids = np.array([classes.index(r.class_name) for r in records], np.int32)
        order = np.argsort(ids, kind="stable")
        self.records = tuple(records[i] for i in order)
        self.classes, self.transform, self.mapped = classes, transform, mapped(transform, map_size)
        self.size = self.mapped.working_size
        self.labels = ids[order]
        self.anomalous = np.array([r.anomalous for r in self.records], bool)
        masked = np.array([r.mask is not None for r in self.records], bool)
        self.has_truth = np.isin(self.labels, np.unique(self.labels[masked])) & (masked | ~self.anomalous)
        self._directory, self._open = directory, ExitStack()

    def __len__(self) -> int:
        return len(self.records)

    def __enter__(self):
        """Reads all masks: one that does not fit is better found before the scoring than after it."""
        shape = (-(-self.size * self.size // 8),)
        self._masks = self._open.enter_context(DiskArray(self._directory, shape, np.uint8))
        with self._open:
            for index, record in enumerate(self.records):
                if record.mask is not None:
                    mask = load_mask(record.mask, self.mapped, image=record.path)
                    self._masks.write(index, np.packbits(mask)[None])
            self._open = self._open.pop_all()  # keeps the file if all went well
        return self

    def __exit__(self, *error):
        self._open.close()

    def mask(self, index: int) -> np.ndarray:
        """The defects of an image, bool `[size, size]`; all false without a mask."""
        if self.records[index].mask is None:
            return np.zeros((self.size, self.size), bool)
        bits = np.unpackbits(self._masks.read(index, index + 1)[0], count=self.size**2)
        return bits.reshape(self.size, self.size).astype(bool)

    def box(self, index: int) -> Box:
        """Where an image lies in the square; around it is what a letterbox leaves."""
        if self.mapped.resize != "letterbox":  # no need to open the file
            return Box(0, 0, self.size, self.size)
        return valid_region(self.mapped, image_size(self.records[index].path))

    def of_class(self, class_id: int) -> range:
        """Indices of a class's images."""
        start, stop = np.searchsorted(self.labels, [class_id, class_id + 1])
        return range(int(start), int(stop))

    def blocks(self, batch_size: int, class_id: int) -> Iterator[tuple[int, int]]:
        """Ranges of at most `batch_size` images that cover a class."""
        indices = self.of_class(class_id)
        for start in range(indices.start, indices.stop, batch_size):
            yield start, min(start + batch_size, indices.stop)


def open_eval_set(
    dataset: Dataset,
    split: str,
    classes: tuple[str, ...],
    transform: Transform,
    directory: Path,
    map_size: int = 0,
) -> EvalSet:
    """The images of a split; its masks are read, and kept in `directory`, when it is entered.

    Args:
      dataset: of the images.
      split: "train" or "test".
      classes: names.
      transform: that brings an image to a square.
      directory: where masks are kept.
      map_size: of masks and maps, see `geometry.mapped`.

    Raises:
      UserError: no such split, no images in it, or of a class that the model does not know.
    """
    if split not in ("train", "test"):
        raise UserError(f"--split={split} is not known, expected test or train.")
    records = dataset.test if split == "test" else dataset.train
    if not records:
        raise UserError(f"{dataset.name} has no images in its {split} split: nothing to evaluate.")
    refuse_unknown(records, classes)
    return EvalSet(records, classes, transform, directory, map_size)


def refuse_unknown(records: Iterable[Record], classes: tuple[str, ...]) -> None:
    """Raises a `UserError` if there are images of a class that the model does not know."""
    unknown = sorted({r.class_name for r in records} - set(classes))
    if unknown:
        raise UserError(
            f"The model does not know the class(es) {', '.join(unknown)}; it was trained on "
            f"{', '.join(classes)}. The dataset has changed since: train anew."
        )
