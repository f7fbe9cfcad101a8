"""Datasets of the papers: found where the user put them, stored once, listed from then on."""

import contextlib
import functools
import glob
import importlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from absl import logging

from hgad_jax.data.records import Dataset, Record, build_dataset
from hgad_jax.errors import UserError
from hgad_jax.files import cache_root, default_cache_root, disk_errors, expanded, locked

_BUILDERS = {
    "mvtec_ad": "MVTecAD",
    "btad": "BTAD",
    "mvtec_3d_rgb": "MVTec3DRGB",
    "visa": "VisA",
    "stc": "STC",
    "elpv": "ELPV",
}
NAMES = (*_BUILDERS, "union")


class Options(NamedTuple):
    """What the user may say about a dataset.

    Attributes:
        root: folder with what was downloaded, archives or unpacked; or with a folder of the dataset's
            name in which that is.
        prepared_dir: where prepared datasets are kept; "" is `datasets` in the user's cache.
        allow_partial: accept other images than the published ones.
        follow_links: allow symbolic links that leave the root.
        split_seed: for datasets without a split of their own.
    """

    root: str = ""
    prepared_dir: str = ""
    allow_partial: bool = False
    follow_links: bool = False
    split_seed: int = 0


def load(name: str, options: Options) -> Dataset:
    """List a dataset of `NAMES`, after preparing it where that was not done before; decodes nothing.

    Raises:
        UserError: whatever is amiss with the user's files or the prepared ones.
    """
    from hgad_jax.data.datasets import union  # with its fellows only where they are wanted

    if name == "union":
        return union.load(lambda part: _load(part, options, within=True))
    return _load(name, options)


def _load(name: str, options: Options, *, within: bool = False) -> Dataset:
    builder = _builder(name)
    spec = builder.spec
    _show_licence(spec.title, spec.page, spec.licence)
    directory = directory_of(options)
    folder = os.path.join(directory, name, str(builder.VERSION))
    # Once it is prepared, what it was made from is not needed.
    root = _root(name, spec, options.root, within=within, prepared=os.path.isdir(folder))
    stored = _stored(builder, root, directory, folder, options)
    if stored.differences and not options.allow_partial:
        raise UserError(
            f"The prepared dataset '{folder}' differs from the published {spec.title}:\n  "
            + "\n  ".join(stored.differences)
            + "\nDelete that folder to prepare it from a whole download, or use it all the same, knowing "
            "that no figure can be compared with published ones: --config.data.allow_partial=True (prepare: "
            "--allow-partial)"
        )
    if stored.differences:
        logging.warning(
            "%s differs from what was published, figures cannot be compared: %s",
            *(name, "; ".join(stored.differences)),
        )
    return _dataset(name, spec, spec.assign(stored.records(folder), options.split_seed), folder)


def _dataset(name: str, spec: Any, records: Sequence[Record], folder: str) -> Dataset:
    """Make the dataset of some records, with the classes that can be trained on, in their order."""
    trainable = {record.class_name for record in records if record.split == "train"}
    classes = [class_name for class_name in spec.classes if class_name in trainable]
    if not classes:
        raise UserError(
            f"The prepared dataset '{folder}' has no good training images. Delete that folder and prepare it "
            f"anew from more of what {spec.page} offers."
        )
    left_out = sorted({record.class_name for record in records} - trainable)
    if left_out:
        logging.warning("%s: classes without training images are left out: %s", name, left_out)
    chosen = [record for record in records if record.class_name in trainable]
    return build_dataset(name, chosen, good_folders=dict.fromkeys(classes, folder))


@functools.cache  # once a process
def _show_licence(title: str, page: str, licence: str) -> None:
    logging.warning("%s (%s): licence %s.", title, page, licence)


def spec_of(name: str) -> Any:
    """What is known of a dataset of `NAMES` but the union: title, page, how its folder looks."""
    return _builder(name).spec


def _builder(name: str) -> Any:
    return getattr(importlib.import_module(f"hgad_jax.data.datasets.{name}"), _BUILDERS[name])


def _root(name: str, spec: Any, root: str, *, within: bool, prepared: bool) -> str | None:
    """The folder with the user's files; None where there is none any more, or none is needed."""
    if not root and not within and not prepared:
        root = spec.default_root()
    if not root:
        return None
    root = str(expanded(root))
    below = os.path.join(root, name)
    chosen = below if within or _is_download(below) else root
    return chosen if os.path.isdir(chosen) and os.listdir(chosen) else None


def _is_download(folder: str) -> bool:
    """Whether there is anything in a folder but what was prepared: that may be kept beside the archives."""
    from hgad_jax.data.datasets.index import UNFINISHED

    names = os.listdir(folder) if os.path.isdir(folder) else []
    return any(not name.startswith(UNFINISHED) and not re.fullmatch(r"\d+\.\d+\.\d+", name) for name in names)


def directory_of(options: Options) -> str:
    """The folder in which prepared datasets are kept."""
    return str(expanded(options.prepared_dir) if options.prepared_dir else cache_root() / "datasets")


def _stored(builder: Any, root: str | None, directory: str, folder: str, options: Options) -> Any:
    """What is stored of a dataset, prepared now if need be."""
    from hgad_jax.data.datasets import index
    from hgad_jax.data.datasets.builder import source_suffixes

    stored = index.read(folder)
    if stored is None:
        if root is None:
            raise UserError(_missing(builder, options.root) + _elsewhere(builder, folder))
        with _locked(directory, builder.name):
            stored = index.read(folder) or _prepare(builder, root, directory, folder, options)
    elif root is not None and stored.source != index.source_key(root, source_suffixes(builder.spec)):
        raise UserError(
            f"'{folder}' was prepared from other files than those in '{root}' now. Delete it to prepare the "
            "dataset anew, or keep both, in another config.data.prepared_dir. (Where the downloaded "
            "files are not needed any more, leave config.data.root empty.)"
        )
    return stored


def _prepare(builder: Any, root: str, directory: str, folder: str, options: Options) -> Any:
    import tensorflow_datasets as tfds

    from hgad_jax.data.datasets import index

    for leftover in glob.glob(os.path.join(glob.escape(directory), builder.name, f"{index.UNFINISHED}*")):
        shutil.rmtree(leftover, ignore_errors=True)  # a killed preparation's, since we hold the lock
    made = builder(data_dir=directory, allow_partial=options.allow_partial, follow_links=options.follow_links)
    config = tfds.download.DownloadConfig(
        manual_dir=root,
        try_download_gcs=False,
        register_checksums=False,
        compute_stats=tfds.download.ComputeStatsMode.SKIP,
    )
    with tempfile.TemporaryDirectory() as downloads:  # TFDS insists on one
        made.download_and_prepare(download_config=config, download_dir=downloads)
    return index.read(folder)


def _missing(builder: Any, root: str) -> str:
    spec = builder.spec
    found = f"'{root}' is no folder with it" if root else "config.data.root is empty"
    return (
        f"The dataset '{builder.name}' was not prepared yet, and {found}. {spec.title} can be had from "
        f"{spec.page} (licence: {spec.licence}). Then: --config.data.root=FOLDER (prepare: --root=FOLDER), "
        f"which holds the archive, or unpacked:\n{spec.tree}"
    )


def _elsewhere(builder: Any, folder: str) -> str:
    """Where earlier versions, which did not ask HGAD_JAX_CACHE, kept the dataset, if they did."""
    before = default_cache_root() / "datasets" / builder.name / str(builder.VERSION)
    if not before.is_dir():
        return ""
    return f"\nOr move the one that an earlier version has prepared: mv '{before}' '{folder}'"


@contextlib.contextmanager
def _locked(directory: str, name: str) -> Iterator[None]:
    """Hold the right to prepare a dataset."""
    waiting = functools.partial(logging.warning, "Another process prepares %s: waiting for it.", name)
    with disk_errors(
        f"The dataset cannot be prepared in '{directory}'",
        otherwise="choose another folder: config.data.prepared_dir (prepare: --prepared-dir)",
    ):
        os.makedirs(directory, exist_ok=True)
        with locked(os.path.join(directory, f".{name}.lock"), waiting=waiting):
            yield
