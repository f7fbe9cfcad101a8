"""`hgad-jax list [KIND]`: what there is of each kind of part, and the experiments by name."""

import argparse
import sys
from collections.abc import Callable, Sequence

from hgad_jax.exit_status import status_of


def _experiments() -> str:
    from hgad_jax.config import EXPERIMENTS

    return "\n".join(
        f"{name:18} {experiment.detector:9} on {experiment.dataset}"
        + (", published settings" if experiment.paper else "")
        for name, experiment in sorted(EXPERIMENTS.items())
    )


def _backbones() -> str:
    from hgad_jax.backbones.table import markdown_table

    return markdown_table()


def _names(module: str, table: str) -> Callable[[], str]:
    def names() -> str:
        import importlib

        return "\n".join(getattr(importlib.import_module(module), table))

    return names


KINDS: dict[str, Callable[[], str]] = {
    "experiments": _experiments,
    "backbones": _backbones,
    "detectors": _names("hgad_jax.detectors", "DETECTORS"),
    "flows": _names("hgad_jax.flows", "FLOWS"),
    "bases": _names("hgad_jax.distributions", "BASES"),
    "datasets": _names("hgad_jax.config.words", "CLASSES"),
    "combinations": _names("hgad_jax.scoring.combination", "COMBINATIONS"),
    "metrics": _names("hgad_jax.evaluation.measure", "COLUMNS"),
}


def main() -> None:
    """Runs the command."""
    sys.exit(status(sys.argv[1:]))


def status(arguments: Sequence[str]) -> int:
    """Runs it and returns the exit status."""

    def run():
        parser = argparse.ArgumentParser(prog="hgad-jax list", description="Lists what there is of a kind.")
        parser.add_argument(
            "kind", nargs="?", choices=KINDS, help="without it, all but backbones, a long table"
        )
        print(_text(parser.parse_args(arguments).kind))

    return status_of(run)


def _text(kind: str | None) -> str:
    if kind:
        return KINDS[kind]()
    short = [name for name in KINDS if name != "backbones"]
    return (
        "\n\n".join(f"{name}\n{KINDS[name]()}" for name in short) + "\n\nbackbones: hgad-jax list backbones"
    )
