"""The labelled images of a run, where they are now."""

from collections.abc import Callable
from pathlib import Path

from hgad_jax.data import Dataset
from hgad_jax.errors import UserError
from hgad_jax.files import expanded
from hgad_jax.inference.scorer import Scorer
from hgad_jax.runs import workdir
from hgad_jax.runs.model import load_usable


def run_dataset(
    scorer: Scorer, directory: Path, log: Callable[[str], None], *, root: str | Path = ""
) -> Dataset:
    """Lists the dataset that a run was trained on, in its classes, every image decoded once.

    Args:
      scorer: of the run.
      directory: of the run.
      log: gets lines for the user.
      root: where the dataset is now; "" for where it was.

    Raises:
      UserError: whatever is wrong with the images; where it speaks of keys of configs, which are no flags
        here, with what to do instead.
    """
    config = scorer.config.copy_and_resolve_references()
    if root:
        config.data.root = str(expanded(root))
    try:
        return scorer.regrouped(load_usable(config, directory, log))
    except UserError as error:
        if "config." not in str(error):
            raise
        place = directory / workdir.CONFIG_FILE
        raise UserError(
            f"{error}\nKeys that begin with config. are no flags of this command but kept in {place}. If the "
            "images have been moved, say to where with --root=DIR, in place of config.data.root. Other keys "
            "may be changed in that file, or by train.py with the new places, which does not train anew."
        ) from error
