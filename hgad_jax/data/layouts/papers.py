"""Whether a folder is one of the papers' datasets, which have readers and configs of their own."""

import os
from collections.abc import Collection

from hgad_jax.data.layouts import shell
from hgad_jax.data.records import GOOD

# By the looks of a folder alone; MVTec AD has the layout of everybody's own images, see `is_mvtec_ad`.
_BY_LOOKS = ("btad", "mvtec_3d_rgb", "visa", "stc")
_UNION = ("mvtec_ad", "btad", "mvtec_3d_rgb", "visa")


def recognised(root: str) -> str:
    """What to say of a folder that holds a dataset of a paper; "" if it is none."""
    from hgad_jax.data import prepare  # which reads folders, too
    from hgad_jax.data.datasets.items import locate

    if sum(os.path.isdir(os.path.join(root, name)) for name in _UNION) > 1:
        return _sentence("the union of several papers' datasets", "union", root)
    for name in _BY_LOOKS:
        spec = prepare.spec_of(name)
        if folder := locate(root, spec.is_dataset):
            return _sentence(spec.title, name, folder)
    return ""


def is_mvtec_ad(root: str, classes: Collection[str]) -> str:
    """What to say of a folder whose classes are MVTec AD's, image for image; "" if they are not."""
    from hgad_jax.data import prepare

    spec = prepare.spec_of("mvtec_ad")
    if not classes or not set(classes) <= set(spec.classes):
        return ""
    if not all(os.path.isdir(os.path.join(root, name, "train", GOOD)) for name in classes):
        return ""
    different = spec.problems(spec.items(root))
    if any(line.startswith(f"{name}:") for line in different for name in classes):
        return ""
    return _sentence(spec.title, "mvtec_ad", root)


def _sentence(title: str, name: str, folder: str) -> str:
    options = f"--config=configs/hgad_{name}.py {shell.quoted(f'--config.data.root={folder}')}"
    return f"This looks like {title}, which has a config of its own, with the published split: {options}"
