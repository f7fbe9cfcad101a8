"""The models of a server: opened, warm, swapped for newer ones while requests go on."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hgad_jax.data.geometry import Transform
from hgad_jax.errors import UserError
from hgad_jax.inference.predictor import Predictor

SIZES = (1, 2, 4, 8)  # images of a batch: a program is compiled for each
_SPARE = 4  # a batch may be filled up by one image of so many, which costs less than a batch more


class Model(NamedTuple):
    """A model that is served.

    Attributes:
      name: that requests choose it by.
      path: that it was opened from, and will be again.
      predictor: that decides.
      generation: how often it has been loaded.
      opened: when, seconds since 1970.
    """

    name: str
    path: str
    predictor: Predictor
    generation: int
    opened: float

    @property
    def transform(self) -> Transform:
        """That brings an image to what the model sees."""
        return self.predictor.scorer.transform

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names; a class's position is its id."""
        return self.predictor.scorer.classes

    @property
    def needs_class(self) -> bool:
        """Whether the class of an image has to be named."""
        return self.predictor.scorer.mode == "given" and len(self.classes) > 1


def open_model(path: str | Path, **settings: Any) -> Predictor:
    """A trained model from where it lies.

    Args:
      path: of a run or an artefact.
      **settings: `classes`, `threshold` and `false_alarm_rate`, as `Predictor.load` takes them.

    Raises:
      UserError: there is none, it cannot be read, or the settings do not fit it.
    """
    return Predictor.load(path, **settings)


def named_paths(given: Sequence[str]) -> dict[str, str]:
    """Names and paths of models from the command line: `PATH` (named "default") or `NAME=PATH`.

    Raises:
      UserError: none, or two of one name.
    """
    found: dict[str, str] = {}
    for text in given:
        name, is_named, path = text.partition("=")
        # A path with "=" in it has a "/" before, or it could not be told from a name.
        if not is_named or "/" in name:
            name, path = "default", text
        if not name or not path or not name.isprintable() or len(name) > 64:
            raise UserError(f"--model={text}: expected PATH, or NAME=PATH with a short name.")
        if name in found:
            raise UserError(
                f"Two models are named '{name}': {found[name]} and {path}. Name them: --model=NAME=PATH"
            )
        found[name] = path
    if not found:
        raise UserError("Which model? hgad-jax serve RUN, with RUN the folder of a trained run.")
    return found


def batch_of(waiting: int, sizes: Sequence[int] = SIZES) -> tuple[int, int]:
    """How many of the images that wait go into the next batch, and its size, for which there is a program.

    Args:
      waiting: images, at least 1.
      sizes: of batches, rising.
    """
    fits = [size for size in sizes if size <= waiting]
    above = next((size for size in sizes if size >= waiting), None)
    if above is not None and (not fits or (above - waiting) * _SPARE <= above):
        return waiting, above
    return fits[-1], fits[-1]


def warm_up(
    predictor: Predictor,
    log: Callable[[str], None] = lambda line: None,
    *,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Compiles what requests will need, so that none of them waits for it.

    All sizes of batches for images whose class comes from where the model's mode says. Images whose class is
    named, where it need not be, are scored one by one: one program more.

    Args:
      predictor: that will be asked.
      log: gets a line for each that took long.
      stopped: asked between two whether to leave it.
    """
    scorer = predictor.scorer
    side = scorer.transform.working_size * scorer.transform.detail
    square = np.zeros((side, side, 3), np.uint8)
    mode_id = 0 if scorer.mode == "given" else None
    programs = [(size, mode_id) for size in SIZES] + ([(1, 0)] if mode_id is None else [])
    for size, class_id in programs:
        if stopped():
            return
        start = time.monotonic()
        predictor.decide([square] * size, [(side, side)] * size, class_id, batch_size=size)
        seconds = time.monotonic() - start
        if seconds > 1:
            log(f"compiled for batches of {size} in {seconds:.0f} s")


class Models:
    """The models by name; one of them is swapped at a time, whole.

    Args:
      paths: of each name.
      log: gets lines for the user.
      open_it: from a path to a predictor.

    Raises:
      UserError: a model cannot be opened.
    """

    def __init__(
        self,
        paths: Mapping[str, str],
        log: Callable[[str], None] = lambda line: None,
        open_it: Callable[[str], Predictor] = open_model,
    ):
        self._open, self._log = open_it, log
        self._loading = threading.Lock()
        self._models = {n: Model(n, path, open_it(path), 1, time.time()) for n, path in paths.items()}

    def __iter__(self) -> Iterator[Model]:
        return iter(list(self._models.values()))

    @property
    def names(self) -> list[str]:
        """Of all."""
        return list(self._models)

    def get(self, name: str | None) -> Model | None:
        """A model by its name; None: the only one, or the one named "default". None if there is none such."""
        if name is None:
            name = self.names[0] if len(self._models) == 1 else "default"
        return self._models.get(name)

    def warm_up(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Compiles the programs of all, unless it is stopped before."""
        for model in self._models.values():
            warm_up(
                model.predictor,
                lambda line, name=model.name: self._log(f"model {name}: {line}"),
                stopped=stopped,
            )

    def reload(self, name: str) -> Model:
        """Opens a model anew from its path, warms it up and puts it in the place of the one before.

        What has begun with the one before ends with it.

        Raises:
          UserError: it cannot be opened; the one before stays.
        """
        with self._loading:
            before = self._models[name]
            predictor = self._open(before.path)
            warm_up(predictor, lambda line: self._log(f"model {name}: {line}"))
            after = before._replace(predictor=predictor, generation=before.generation + 1, opened=time.time())
            self._models[name] = after
            return after
