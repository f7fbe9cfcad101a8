"""All tables by name: those of the papers about a system of this package, and a grid of real images."""

import difflib
from types import MappingProxyType

from hgad_jax.errors import UserError
from hgad_jax.reproducing import of_altub, of_cflow, of_hgad
from hgad_jax.reproducing.models import BACKBONES
from hgad_jax.reproducing.of_cflow import CFLOW_COSTS
from hgad_jax.reproducing.of_hgad import HGAD_COSTS
from hgad_jax.reproducing.tables import COMPLEXITY, Column, Table

_ALL_COSTS = (
    HGAD_COSTS
    | CFLOW_COSTS
    | {f"fastflow_{b}": ("fastflow_mvtec_ad", f"{words},bottle") for b, words in BACKBONES.items()}
)
_DETECTORS = ("hgad", "cflow", "fastflow", "padim", "spade", "patchcore")
_ELPV = tuple(
    Column(f"{name}{'_unified' if together else ''}", f"{name}_elpv", together=together)
    for name in _DETECTORS
    for together in (False, True)
)
_OWN = (
    Table(
        "complexity",
        "all detectors on the papers' backbones: parameters, FLOPs, images a second, MB, memory",
        tuple(Column(name, e, w) for name, (e, w) in _ALL_COSTS.items()),
        kind=COMPLEXITY,
    ),
    Table(
        "elpv",
        "no paper: all detectors on the solar cells of ELPV, one model a class and one of both",
        _ELPV,
        dataset="elpv",
        metrics=("image_auroc", "image_ap", "image_f1_max"),
        seeds=(0, 1, 2),
    ),
)
TABLES = MappingProxyType(
    {table.name: table for table in (*of_hgad.TABLES, *of_cflow.TABLES, *of_altub.TABLES, *_OWN)}
)


def table_of(name: str) -> Table:
    """A table by its name.

    Raises:
      UserError: there is none, with the nearest names.
    """
    if name not in TABLES:
        near = difflib.get_close_matches(name, TABLES, n=3)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        raise UserError(f"There is no table {name!r}. {hint}`hgad-jax reproduce list` shows all there are.")
    return TABLES[name]
