"""What the datasets' builders have in common: find the files, check them, store them in array_record.

TFDS's own writer keeps a split in memory up to 1 GB and needs TensorFlow beyond; here examples are written as
they come, in the order they are listed.
"""

import contextlib
import errno
import functools
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, cast

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from hgad_jax.data.datasets import archives, index
from hgad_jax.data.datasets.items import Item, listed, locate, paths, refuse_links
from hgad_jax.data.datasets.spec import Spec
from hgad_jax.errors import UserError
from hgad_jax.progress_bar import progress_bar

_SHARD_EXAMPLES = 4096  # per file
_WRITER = "group_size:1,uncompressed"  # each example can be read alone; images are compressed already
_SHARD_FILE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}"  # how many there will be is not known before


class ImageDataset(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder that reads what the user downloaded, as archives or unpacked, and asks no network.

    Args:
        allow_partial: store other images than the published ones too; what differs is kept with them.
        follow_links: allow symbolic links that leave the user's folder.
        kwargs: as TFDS's builders take; `data_dir` is where datasets are stored.
    """

    VERSION = tfds.core.Version("1.0.0")
    code_path = None  # where TFDS would look for checksums of downloads, which there are none of

    spec: ClassVar[Spec]

    def __init__(self, *, allow_partial: bool = False, follow_links: bool = False, **kwargs: Any):
        self._allow_partial, self._follow_links = allow_partial, follow_links
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.spec.title,
            homepage=self.spec.page,
            license=self.spec.licence,
            citation=self.spec.citation,
            disable_shuffling=True,
            features=features.FeaturesDict(
                {
                    "image": features.Image(doc="as its file holds it"),
                    "mask": features.Sequence(features.Image(shape=(None, None, 1)), doc="none or one"),
                    "label": features.ClassLabel(names=list(self.spec.classes)),
                    "defect": features.Text(doc="'good', or the defect's name"),
                    "name": features.Text(doc="path below the dataset's folder"),
                }
            ),
        )

    @property
    def MANUAL_DOWNLOAD_INSTRUCTIONS(self) -> str:
        """What TFDS tells whoever builds without the files."""
        return f"{self.spec.title}: {self.spec.page}\n{self.spec.tree}"

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        root = os.fspath(dl_manager.manual_dir)
        folder = self._unpacked(root)
        items = self.spec.items(folder)
        found = self.spec.problems(items)
        if found and not self._allow_partial:
            raise UserError(self._differs(root, found))
        if not self._follow_links:
            refuse_links(folder, paths(items))
        items = [item for item in items if item.class_name in self.spec.classes]
        self._check_space(items)
        self._bar = progress_bar(
            total=sum(item.frames for item in items),
            desc=f"preparing {self.name}",
            unit="image",
            disable=None,
        )
        source = index.source_key(root, source_suffixes(self.spec))
        self._index = index.Index(self.name, "", source, found, {})
        self._fingerprint = index.Fingerprint(self.name, str(self.version))
        return {
            split: self._generate_examples(split, [item for item in items if item.split == split])
            for split in dict.fromkeys(item.split for item in items)
        }

    def _check_space(self, items: Sequence[Item]) -> None:
        needed = sum(os.path.getsize(path) for path in set(paths(items)))
        if needed > shutil.disk_usage(self.data_path).free:  # said now, not after hours
            raise OSError(errno.ENOSPC, f"{needed / 1e6:.0f} MB are needed there")

    def _generate_examples(self, split: str, items: Iterable[Item]) -> Iterator[tuple[int, dict[str, Any]]]:
        entries = self._index.splits.setdefault(split, [])
        for item in items:
            before = len(entries)
            for name, image, mask in self.spec.pictures(item):
                self._fingerprint.update(split, name, item.class_name, item.defect, image, mask or b"")
                entries.append(index.Entry(name, item.class_name, item.defect, mask is not None))
                self._bar.update()
                yield (
                    len(entries) - 1,
                    {
                        "image": image,
                        "mask": [] if mask is None else [mask],
                        "label": item.class_name,
                        "defect": item.defect,
                        "name": name,
                    },
                )
            self._check_count(item, len(entries) - before)

    def _check_count(self, item: Item, found: int) -> None:
        """Take note of a video that is shorter or longer than its header says."""
        if found == item.frames:
            return
        self._index.differences.append(
            f"'{item.name}': {found} frames although its header says {item.frames}"
        )
        if not self._allow_partial:
            raise UserError(self._differs(item.image, self._index.differences))

    def _generate_splits(self, dl_manager: Any, download_config: Any) -> list[tfds.core.SplitInfo]:
        del download_config
        with tempfile.TemporaryDirectory(dir=self.data_path) as self._unpack_dir:
            generators = self._split_generators(dl_manager)
            if not generators:
                raise UserError(self._not_found(os.fspath(dl_manager.manual_dir)))
            with self._bar:
                splits = [self._write_split(split, examples) for split, examples in generators.items()]
        index.write(os.fspath(self.data_path), self._index._replace(fingerprint=str(self._fingerprint)))
        return splits

    def _write_split(self, split: str, examples: Iterator[tuple[int, dict[str, Any]]]) -> tfds.core.SplitInfo:
        template = self._get_filename_template(split).replace(template=_SHARD_FILE)
        lengths, num_bytes = [], 0
        features = cast(tfds.features.FeaturesDict, self.info.features)  # as `_info` has made them
        while shard := [*itertools.islice(examples, 1)]:
            path = template.sharded_filepath(shard_index=len(lengths), num_shards=None)
            lengths.append(0)
            with _writing(os.fspath(path)) as write:
                for _, example in itertools.chain(shard, itertools.islice(examples, _SHARD_EXAMPLES - 1)):
                    data = features.serialize_example(example)
                    write(data)
                    lengths[-1] += 1
                    num_bytes += len(data)
        return tfds.core.SplitInfo(
            name=split, shard_lengths=lengths, num_bytes=num_bytes, filename_template=template
        )

    def _unpacked(self, root: str) -> str:
        """Find the dataset's folder; if there are only archives, unpack them into the unfinished dataset."""
        if folder := locate(root, self.spec.is_dataset):
            return folder
        for archive in archives.archives(root):
            archives.unpack(archive, self._unpack_dir, self.spec.suffixes)
        if folder := locate(self._unpack_dir, self.spec.is_dataset):
            return folder
        raise UserError(self._not_found(root))

    def _not_found(self, root: str) -> str:
        spec = self.spec
        return (
            f"'{root}' does not hold {spec.title}: found {listed(sorted(os.listdir(root)))}. It can be had "
            f"from {spec.page} (licence: {spec.licence}). Put the archive there, or what is in it. "
            f"Expected:\n{spec.tree}"
        )

    def _differs(self, root: str, found: Sequence[str]) -> str:
        return (
            f"'{root}' differs from the published {self.spec.title}:\n"
            + "\n".join(f"  {line}" for line in found)
            + f"\nDownload it again from {self.spec.page}, or use these images all the same, knowing that no "
            "figure can be compared with published ones: --config.data.allow_partial=True (prepare: "
            "--allow-partial)"
        )

    def _log_download_bytes(self) -> None:
        """Keep TFDS from printing to standard output; ours is for results."""

    def _log_download_done(self) -> None:
        """As above."""


@contextlib.contextmanager
def _writing(path: str) -> Iterator[Callable[[bytes], None]]:
    """Open a file of examples; give the function that appends one.

    Raises:
        OSError: the disk refuses it, on the way or when the last bytes are brought there.
    """
    writer = ArrayRecordWriter(path, _WRITER)

    def attempt(action: Callable[..., None], *args: bytes) -> None:
        try:
            action(*args)
        except RuntimeError as error:  # all that array_record raises, with the system's text in its own
            stated = str(error).splitlines()[0]
            numbers = (number for number in errno.errorcode if os.strerror(number) in stated)
            raise OSError(next(numbers, errno.EIO), stated) from error

    try:
        yield functools.partial(attempt, writer.write)
    finally:
        attempt(writer.close)


def source_suffixes(spec: Spec) -> tuple[str, ...]:
    """Suffixes of the files that the user may have downloaded."""
    return (*spec.suffixes, *archives.SUFFIXES)
