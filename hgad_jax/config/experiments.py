"""Experiments by name: a detector on a dataset. `configs/` has a file for each with what it reached."""

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import ml_collections

from hgad_jax.config import cflow, fastflow, hgad, padim, patchcore, spade
from hgad_jax.config.key import Key
from hgad_jax.config.recipe import Changes, Recipe, make
from hgad_jax.errors import UserError

RECIPES: dict[str, Recipe] = {
    "hgad": hgad.RECIPE,
    "cflow": cflow.RECIPE,
    "fastflow": fastflow.RECIPE,
    "padim": padim.RECIPE,
    "spade": spade.RECIPE,
    "patchcore": patchcore.RECIPE,
}


class Experiment(NamedTuple):
    """A detector on a dataset."""

    detector: str  # in RECIPES
    dataset: str
    paper: bool = False  # whether published settings are taken unless others are asked for
    changes: Changes = MappingProxyType({})
    paper_changes: Changes = MappingProxyType({})  # with published settings alone


_U_FLOW = {"detector.condition_channels": 0}  # CFLOW-AD without its condition

EXPERIMENTS: dict[str, Experiment] = {
    "folder": Experiment("hgad", "folder"),
    **{f"{name}_folder": Experiment(name, "folder") for name in RECIPES},
    **{f"{name}_elpv": Experiment(name, "elpv") for name in RECIPES},
    **{
        f"hgad_{dataset}": Experiment("hgad", dataset)
        for dataset in ("mvtec_ad", "btad", "mvtec_3d_rgb", "visa", "union")
    },
    "hgad_stc": Experiment("hgad", "stc", changes={"cache.dtype": "bfloat16"}),  # 270,000 frames
    **{
        f"{name}_mvtec_ad": Experiment(name, "mvtec_ad", paper=True)
        for name in ("cflow", "fastflow", "padim", "patchcore", "spade")
    },
    "cflow_stc": Experiment("cflow", "stc", paper=True),
    "fastflow_btad": Experiment("fastflow", "btad", paper=True),
    "uflow_folder": Experiment("cflow", "folder", changes=_U_FLOW),
    "uflow_elpv": Experiment("cflow", "elpv", changes=_U_FLOW),
    # Of all classes, as Table 2 of the paper, where CFLOW-AD itself has another side for some.
    "uflow_mvtec_ad": Experiment(
        "cflow", "mvtec_ad", paper=True, changes=_U_FLOW, paper_changes={"data.image_size": 512}
    ),
}


def add_keys(added: Mapping[str, Key]) -> None:
    """Adds keys of a part from outside of the package to every detector that is composed of parts."""
    for recipe in RECIPES.values():
        section = recipe.sections["detector"]
        if "flow" in section:
            section |= added


def get_config(experiment: str, argument: str | None = None) -> ml_collections.ConfigDict:
    """The config of an experiment.

    Args:
      experiment: its name, such as "hgad_folder"; words may follow a colon, as in "cflow_mvtec_ad:screw".
      argument: these words, if they do not.

    Raises:
      UserError: no such experiment, or a word that is not known.
    """
    name, _, words = experiment.partition(":")
    if name not in EXPERIMENTS:
        near = difflib.get_close_matches(name, EXPERIMENTS, n=3)
        raise UserError(
            f"--config={name} is no file and no experiment. "
            + (f"Did you mean {' or '.join(near)}? " if near else "")
            + f"Known are {', '.join(sorted(EXPERIMENTS))}."
        )
    chosen = EXPERIMENTS[name]
    return make(
        RECIPES[chosen.detector],
        words if argument is None else argument,
        dataset=chosen.dataset,
        paper=chosen.paper,
        changes=chosen.changes,
        paper_changes=chosen.paper_changes,
    )
