"""Torch's DataLoader with Pillow, doing the same work as `hgad_jax.data.pipeline.image_batches`."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image


class Images(torch.utils.data.Dataset):
    """Images decoded by Pillow, turned to RGB and squashed bilinearly, as PyTorch's users write it."""

    def __init__(self, paths: Sequence[str], size: int):
        self.paths, self.size = list(paths), size

    def __len__(self) -> int:
        """The number of images."""
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        """uint8 `[size, size, 3]`."""
        with Image.open(self.paths[index]) as image:
            resized = image.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.asarray(resized).copy())


def make_loader(paths: Sequence[str], *, size: int, batch_size: int, num_workers: int):
    """A loader whose worker processes outlive an epoch, so that their start is not counted."""
    return torch.utils.data.DataLoader(
        Images(paths, size),
        batch_size=batch_size,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )


def batches(loader) -> Iterator[np.ndarray]:
    """One epoch: uint8 `[B, size, size, 3]`."""
    for batch in loader:
        yield batch.numpy()
