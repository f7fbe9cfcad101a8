"""Flags that do not exist, named with those that were probably meant."""

import difflib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import flags

_CONFIG = "--config."
_OTHERS = ("absl.", "ml_collections.")  # modules whose flags are no flags of ours


def unknown_flag(error: flags.UnrecognizedFlagError) -> str:
    """What to tell of a flag that the command does not have."""
    name = error.flagname
    own = sorted(
        flag.name
        for module, defined in flags.FLAGS.flags_by_module_dict().items()
        for flag in defined
        if not module.startswith(_OTHERS) and "." not in flag.name
    )
    meant = _close(name, own) or _close(name.removeprefix("no"), own)
    hint = f"Did you mean --{meant[0]}? " if meant else ""
    return f"There is no flag --{name}. {hint}The flags are {', '.join(f'--{flag}' for flag in own)}."


def unknown_key(argv: Sequence[str], config: flags.Flag) -> str:
    """What to tell of the first key given that a config does not have; "" if there is none.

    Args:
      argv: the command line, with a file behind `--config`.
      config: the flag that reads that file.
    """
    files = [after for before, after in itertools.pairwise(argv) if before == "--config"]
    files += [a.partition("=")[2] for a in argv if a.startswith("--config=")]
    given = [argument for argument in argv if argument.startswith(_CONFIG)]
    if not files or not given:
        return ""
    known = list(_keys(config.parser.parse(files[-1]) or {}))
    sections = {key.rpartition(".")[0] for key in known}
    for argument in given:
        key = argument.removeprefix(_CONFIG).partition("=")[0]
        if key not in known and key not in sections:
            meant = " or ".join(f"{_CONFIG}{near}" for near in _nearest(key, known))
            return f"{argument}: unknown key." + (f" Did you mean {meant}?" if meant else "")
    return ""


def _nearest(key: str, known: Sequence[str]) -> list[str]:
    """Keys of the same name in other sections, else those that are written much alike."""
    name = key.rpartition(".")[2]
    same = [other for other in known if other.rpartition(".")[2] == name]
    return same or _close(key, known)


def _close(name: str, known: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(name, known, 1)


def _keys(config: Mapping[str, Any]) -> Iterator[str]:
    for key, value in config.items():
        if hasattr(value, "items"):
            yield from (f"{key}.{below}" for below in _keys(value))
        else:
            yield key
