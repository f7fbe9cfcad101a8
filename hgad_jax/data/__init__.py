"""Datasets, the image transform, the input pipeline and the cache of features."""

from typing import Any

from hgad_jax.data.records import Dataset, Record, fingerprint
from hgad_jax.data.selection import select_class
from hgad_jax.errors import UserError

__all__ = ["Dataset", "Record", "fingerprint", "load_dataset"]


def _load_prepared(config: Any) -> Dataset:
    from hgad_jax.data import prepare

    options = prepare.Options(
        root=config.root,
        prepared_dir=config.prepared_dir,
        allow_partial=config.allow_partial,
        follow_links=config.follow_links,
        split_seed=config.split_seed,
    )
    return prepare.load(config.name, options)


def load_dataset(config: Any) -> Dataset:
    """List the images of the dataset a configuration names.

    Args:
        config: its `data` section, with the attributes `name`, `root` and `follow_links`, `class_name`,
            and for the datasets of papers those of `prepare.Options`.

    Raises:
        UserError: an unknown name, or whatever is amiss with the images.
    """
    # Here, since where a model is only loaded there is nothing to list images with.
    from hgad_jax.data import own, prepare

    loaders = {"folder": own.load, **dict.fromkeys(prepare.NAMES, _load_prepared)}
    if config.name not in loaders:
        raise UserError(
            f"config.data.name is '{config.name}', which is no known dataset; known are "
            f"{', '.join(sorted(loaders))}. For your own images: --config.data.name=folder "
            "--config.data.root=DIR"
        )
    return select_class(loaders[config.name](config), config.class_name)
