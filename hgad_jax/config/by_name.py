"""Lets `--config` take the name of an experiment: as this file, with the name after its colon."""

import os
import warnings
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from hgad_jax.config.experiments import get_config
from hgad_jax.errors import UserError
from hgad_jax.mistyped import unknown_key

__all__ = ["by_file", "get_config", "read"]

_FLAG = "--config"


def by_file(argv: list[str]) -> list[str]:
    """The command line with `--config=NAME:words` as `--config=THIS_FILE:NAME:words`."""
    argv = list(argv)
    for i, argument in enumerate(argv):
        flag, separator, value = argument.partition("=")
        if flag.replace("--", "-") != "-config":
            continue
        if separator:
            argv[i] = f"{_FLAG}={_as_file(value)}"
        elif i + 1 < len(argv):
            argv[i + 1] = _as_file(argv[i + 1])
    return argv


def _as_file(value: str) -> str:
    name = value.partition(":")[0]
    is_file = not name or name.endswith(".py") or os.sep in name or os.path.exists(name)
    return value if is_file else f"{__file__}:{value}"


def read(argv: Sequence[str], *, said_of: str) -> Any:
    """The config that --config and --config.KEY=VALUE name, as `train` reads them.

    Args:
      argv: a command's name and these flags.
      said_of: what an error names that is of no single key.

    Raises:
      UserError: no such experiment, word or key, or a value of another type.
    """
    argv = by_file(list(argv))
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "As of train.", flag_values=values, sys_argv=argv)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of how ml_collections loads the file
        try:
            values(argv)
            return values.config.copy_and_resolve_references()
        except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
            unknown = isinstance(error, KeyError | AttributeError) and unknown_key(argv, values["config"])
            raise UserError(unknown or f"{said_of}: {' '.join(str(error).split())}") from error
