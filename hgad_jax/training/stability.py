"""What AltUB's stability report is made of: the test set measured while training, in a window of epochs.

Papers print the best of many evaluations on the test set. Mean and deviation over a window say what one gets
without choosing. Nothing here chooses the model of the run, or when it stops; with `eval.keep` states that
are best on the test set are kept beside it. Scores are those of the published protocol, with each image's
class given. `stability_report` makes the report.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from hgad_jax.data.features import FeatureCache
from hgad_jax.data.geometry import mapped, transform_of
from hgad_jax.data.records import Record
from hgad_jax.data.transforms import load_mask
from hgad_jax.metrics.ranking import auroc
from hgad_jax.metrics.region import aupro
from hgad_jax.runs.model import Model, cache_directory, cached_features, evidence_function
from hgad_jax.scoring.published import maps_by
from hgad_jax.training.latents import mean_ks
from hgad_jax.training.stability_report import PREFIX, name_of

_ROUNDING = 1e-9  # of quotients: 0.3 / 0.1 is less than 3
_READ = 32  # images at a time


class Stability:
    """Measures at the ends of epochs inside `config.eval.window`; without one, never."""

    def __init__(
        self,
        config: Any,
        model: Model,
        records: Sequence[Record],
        classes: Sequence[str],
        directory: Path,
        log: Callable[[str], None],
    ):
        self._config, self._model, self._records, self._log = config, model, records, log
        self._directory, self._classes = directory, classes
        self._labels = np.array(
            [classes.index(r.class_name) for r in records if config.eval.window], np.int32
        )
        self._cache: FeatureCache | None = None  # of the test images, once they are needed

    def due(self, step: int, steps_per_epoch: float) -> bool:
        """Whether a step is the last one of an epoch inside the window that is to be measured."""
        window = self._config.eval.window
        if not window:
            return False
        every = self._config.eval.every

        def evaluations(step: int) -> int:
            return int(step / steps_per_epoch / every + _ROUNDING)

        number = evaluations(step)
        inside = window[0] - _ROUNDING <= number * every <= window[1] + _ROUNDING
        return number > evaluations(step - 1) and inside

    def measure(self, params: Any, constants: Any) -> dict[str, float]:
        """Image AUROC, pixel AUROC and AUPRO on the test set now, for the log of metrics.

        Of each class by itself, and the mean over the classes that have them.
        """
        if self._cache is None:
            directory = cache_directory(self._config, self._directory)
            self._cache = cached_features(
                self._config, self._model.levels, self._records, directory, self._log
            )
            self._evidence = evidence_function(self._model)
        parts = []
        for start in range(0, len(self._records), _READ):
            rows = np.arange(start, min(start + _READ, len(self._records)))
            evidence = self._evidence(params, constants, self._cache.gather(rows), self._labels[rows])
            own = np.asarray(evidence.class_log_prob)[np.arange(len(rows)), self._labels[rows]]
            terms = (evidence.log_likelihood, evidence.negative_entropy)
            number = len(terms[0]) - self._model.levels.detailed  # no paper has a bank
            parts.append((*jax.device_get([term[:number] for term in terms]), own))
        likelihood, entropy = (
            [np.concatenate(level) for level in zip(*(p[i] for p in parts), strict=True)] for i in (0, 1)
        )
        own = np.concatenate([p[2] for p in parts])
        values = {
            int(k): self._of_class(self._labels == k, likelihood, entropy, own)
            for k in np.unique(self._labels)
        }
        names = sorted({name for found in values.values() for name in found})
        mean = {n: float(np.mean([found[n] for found in values.values() if n in found])) for n in names}
        of_classes = {
            name_of(self._classes[k], n): value for k, found in values.items() for n, value in found.items()
        }
        ks = self._ks(params, constants) if self._config.eval.normality else {}
        return {PREFIX + name: value for name, value in (mean | ks).items()} | of_classes

    def _ks(self, params: Any, constants: Any) -> dict[str, float]:
        """How normal the latents of good test images are; nothing without such images."""
        assert self._cache is not None
        good = np.flatnonzero([not record.anomalous for record in self._records])
        parts = [good[start : start + _READ] for start in range(0, len(good), _READ)]
        batches = ((self._cache.gather(rows), self._labels[rows]) for rows in parts)
        found = mean_ks(self._model.detector, params, constants, batches)
        return {} if found is None else {"ks": found}

    def _of_class(self, chosen, likelihood, entropy, own) -> dict[str, float]:
        published = self._model.detector.published
        transform = mapped(transform_of(self._config.data), self._config.scoring.map_size)
        likelihood, entropy = ([level[chosen] for level in term] for term in (likelihood, entropy))
        maps = maps_by(published, likelihood, entropy, transform.size, self._config.scoring.terms)
        records = [self._records[int(i)] for i in np.flatnonzero(chosen)]
        scores = published.image(maps, own[chosen])
        found = {"image_auroc": auroc(np.array([r.anomalous for r in records]), scores)}
        if any(r.mask for r in records):
            nothing = np.zeros(maps.shape[1:], bool)
            masks = [load_mask(r.mask, transform, image=r.path) if r.mask else nothing for r in records]
            found["pixel_auroc"] = auroc(np.stack(masks), maps)
            found["pixel_aupro"] = aupro(np.stack(masks), maps)
        return {name: value for name, value in found.items() if value is not None}
