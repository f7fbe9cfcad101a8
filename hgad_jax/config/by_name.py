"""Lets `--config` take the name of an experiment: as this file, with the name after its colon."""

import os

from hgad_jax.config.experiments import get_config

__all__ = ["by_file", "get_config"]

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
