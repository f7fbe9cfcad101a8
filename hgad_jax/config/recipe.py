"""From the words of a user to a config: keys of the detector, its presets, its backbones."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import ml_collections

from hgad_jax.config.common import COMMON, SEED
from hgad_jax.config.key import Key
from hgad_jax.config.words import CLASSES, Words, parse
from hgad_jax.types import Config

Changes = Mapping[str, Any]  # of keys joined by dots, such as {"train.epochs": 8.0}
Sections = Mapping[str, dict[str, Key]]

PLAIN = {"backbone.equalize": 0.0, "backbone.neighbours": ()}  # maps as all papers have them
PAPER = {"scoring.protocol": "paper", "calibration.fraction": 0.0}  # they train on all good images
TEXT = "text"  # a preset on top of `paper`: as the paper's text has it where the released code is otherwise
LITE = "tf_efficientnet_lite0"  # the backbone that needs no download


class Asked(NamedTuple):
    """What a config is asked for."""

    dataset: str
    words: Words
    is_paper: bool  # whether the published settings are wanted

    @property
    def class_name(self) -> str:
        """Of the one class; "" for all."""
        return self.words.class_name


class Recipe(NamedTuple):
    """How the configs of a detector are made.

    Attributes:
      sections: keys that it has besides the common ones, in the sections `detector`, `loss` and so on.
      defaults: what it changes in the common ones.
      presets: name → changes; applied in this order, those that are asked for.
      backbones: name → changes; without one asked for, the common default.
      paper_backbone: taken where an experiment or a preset is the paper's and no other is named.
    """

    sections: Sections
    defaults: Changes
    presets: Mapping[str, Callable[[Asked], Changes]]
    backbones: Mapping[str, Callable[[Asked], Changes]]
    paper_backbone: str = ""


def keys(recipe: Recipe) -> Sections:
    """All keys of a detector's configs, section by section."""
    return {**COMMON, **recipe.sections}


def make(
    recipe: Recipe,
    argument: str = "",
    *,
    dataset: str = "folder",
    paper: bool = False,
    changes: Changes = MappingProxyType({}),
    paper_changes: Changes = MappingProxyType({}),
) -> Config:
    """The config of a detector.

    Args:
      recipe: the detector's.
      argument: words, separated by commas, in any order: presets, a backbone, a class of the dataset.
      dataset: `config.data.name`.
      paper: whether the preset `paper` is taken where neither it nor `default` is named; `text` takes it.
      changes: made last.
      paper_changes: made then, with published settings alone.

    Raises:
      UserError: a word that is not known.
    """
    words = parse(
        argument,
        presets=("default", *recipe.presets),
        backbones=(LITE, *recipe.backbones),
        classes=CLASSES[dataset],
    )
    named = {"paper", TEXT} & {*words.presets}
    is_paper = bool(named) or (paper and "default" not in words.presets)
    asked = Asked(dataset, words, is_paper)
    wanted = {*words.presets, *(["paper"] if is_paper else [])}
    backbone = words.backbone or (recipe.paper_backbone if paper or is_paper else "")
    config = _defaults(keys(recipe))
    steps = [
        recipe.defaults,
        {"data.name": dataset, "data.class_name": words.class_name},
        *(change(asked) for name, change in recipe.presets.items() if name in wanted),
        recipe.backbones[backbone](asked) if backbone in recipe.backbones else {},
        dict(changes),
        dict(paper_changes) if is_paper else {},
    ]
    for step in steps:
        config.update_from_flattened_dict(step)
    return config


def _defaults(sections: Sections) -> Config:
    config = ml_collections.ConfigDict({"seed": SEED.default})
    for section, of_section in sections.items():
        config[section] = ml_collections.ConfigDict({name: key.default for name, key in of_section.items()})
    return config


def weights(name: str, taps: tuple[str, ...], **detector: Any) -> Callable[[Asked], Changes]:
    """The changes for a backbone whose weights are fetched by `hgad_jax.backbones fetch` beforehand."""
    changes = {"backbone.name": name, "backbone.taps": taps, "backbone.source": "cache"}
    return lambda asked: changes | {f"detector.{key}": value for key, value in detector.items()}
