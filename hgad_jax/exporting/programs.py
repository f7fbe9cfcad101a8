"""The programs of an artefact: what a run computes, as StableHLO that takes weights as arguments.

They are cut where a run cuts its own, so that XLA compiles the same and gives the same: the evidence of a
batch of images, and the scores of that evidence.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.export
import numpy as np

from hgad_jax.artefact.programs import SCORES, evidence_kind, file_of
from hgad_jax.inference.scorer import Scorer, evidence_of
from hgad_jax.progress_bar import progress_bar
from hgad_jax.runs.model import score_function
from hgad_jax.scoring.constants import of_classes
from hgad_jax.types import abstract_array

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")  # that jax exports for
_LEFT_OUT = "jax_hlo_source_file_canonicalization_regex"  # of the names of source files


def exported(scorer: Scorer, sizes: Sequence[int], platforms: Sequence[str]) -> dict[str, bytes]:
    """The programs by the names of their files.

    Args:
      scorer: of the run.
      sizes: images of a batch that programs are made for: the grouping of images by class in the first layer
        depends on their number, and there is no one program for all.
      platforms: of `PLATFORMS`.
    """
    modes = tuple(scorer.calibration.scores)
    files = {}
    with progress_bar(total=len(sizes) * (len(modes) + 1), desc="exporting", unit="program") as bar:
        for images in sizes:
            maps: Any = None
            for mode in modes:
                function, arguments = _evidence(scorer, mode, images)
                files[file_of(evidence_kind(mode), images)] = _written(function, arguments, platforms)
                maps = maps or jax.eval_shape(function, *arguments)
                bar.update(1)
            function, arguments = _scores(scorer, maps, images)
            files[file_of(SCORES, images)] = _written(function, arguments, platforms)
            bar.update(1)
    return files


def _evidence(scorer: Scorer, mode: str, images: int) -> tuple[Callable, tuple[Any, ...]]:
    leaves, structure = jax.tree.flatten(scorer.weights)
    look, transform = evidence_of(scorer.model, mode, scorer.transform), scorer.transform

    def evidence(weights, images, *class_ids):
        found = look(*jax.tree.unflatten(structure, weights), images, *(class_ids or (None,)))
        return found.log_likelihood, found.negative_entropy, found.class_log_prob, found.class_ids

    rows, side = images * transform.num_tiles, transform.size * transform.detail
    ids = (abstract_array(rows, dtype=np.int32),) if mode == "given" else ()
    return evidence, (_abstract(leaves), abstract_array(rows, side, side, 3, dtype=np.uint8), *ids)


def _scores(scorer: Scorer, evidence: tuple[Any, ...], images: int) -> tuple[Callable, tuple[Any, ...]]:
    leaves, structure = jax.tree.flatten(scorer.calibration.constants)
    of_evidence = score_function(scorer.config)
    likelihood, entropy, _, class_ids = evidence

    def scores(constants, likelihood, entropy, class_ids, boxes):
        own = of_classes(jax.tree.unflatten(structure, constants), class_ids)
        return of_evidence(likelihood, entropy, own, boxes)._asdict()

    boxes = abstract_array(images, 4, dtype=np.int32)
    return scores, (_abstract(leaves), likelihood, entropy, class_ids, boxes)


def _abstract(leaves: Sequence[Any]) -> list[Any]:
    return [abstract_array(*leaf.shape, dtype=leaf.dtype) for leaf in leaves]


@contextlib.contextmanager
def _names_of_files_alone() -> Iterator[None]:
    """Keeps the folders that this package is installed in out of the programs, which name their source."""
    before = getattr(jax.config, _LEFT_OUT)
    jax.config.update(_LEFT_OUT, ".*/")
    try:
        yield
    finally:
        jax.config.update(_LEFT_OUT, before)


def _written(function: Callable, arguments: tuple[Any, ...], platforms: Sequence[str]) -> bytes:
    with _names_of_files_alone():
        program = jax.export.export(jax.jit(function), platforms=list(platforms))(*arguments)
    return bytes(program.serialize())
