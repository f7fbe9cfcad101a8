"""What a table is: its columns, each of which says how its models are made."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from hgad_jax.config.words import CLASSES

NONE: Mapping[str, str] = MappingProxyType({})
GRID, COMPLEXITY, NORMALITY = "grid", "complexity", "normality"


class Column(NamedTuple):
    """One column of a table, or one of its models.

    Attributes:
      name: by which --columns chooses it.
      experiment: of `hgad_jax.config`.
      words: of the experiment, besides the class.
      settings: keys of the config and their values, as flags have them.
      together: one model of all classes, instead of one each.
      figures: the published figures that belong beside it, a name of `hgad_jax.papers.figures`; "" for none.
      of_class: words for some classes instead of `words`.
      set_for: further settings for some classes.
      window: first and last epoch that are averaged; () where the last and the best are told.
      row: in tables whose rows are no classes: the figures' row.
    """

    name: str
    experiment: str
    words: str = ""
    settings: Mapping[str, str] = NONE
    together: bool = False
    figures: str = ""
    of_class: Mapping[str, str] = NONE
    set_for: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    window: tuple[int, int] | tuple[()] = ()
    row: str = ""


class Table(NamedTuple):
    """A table or a figure of a paper.

    Attributes:
      name: by which `reproduce` takes it.
      where: in which paper.
      columns: what is run.
      dataset: a name of `config.words.CLASSES`.
      classes: of it, those of the table; () for all.
      metrics: that the table is about.
      seeds: that are run unless others are asked for.
      kind: `GRID`, `COMPLEXITY` or `NORMALITY`.
      note: what a reader should know.
      cannot: why it is not run; "" where it is.
      report: whether each run's report is the result, as of figures.
      command: of `hgad-jax`, that it is run by.
    """

    name: str
    where: str
    columns: tuple[Column, ...] = ()
    dataset: str = "mvtec_ad"
    classes: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("image_auroc", "pixel_auroc")
    seeds: tuple[int, ...] = (0,)
    kind: str = GRID
    note: str = ""
    cannot: str = ""
    report: bool = False
    command: str = "reproduce"

    @property
    def all_classes(self) -> tuple[str, ...]:
        """Those of the table, in the dataset's order."""
        return self.classes or CLASSES[self.dataset]
