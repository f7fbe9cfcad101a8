"""`hgad-jax config`: every setting with its default, range and meaning, as in docs/config.md."""

import argparse
import sys
from collections.abc import Sequence

from hgad_jax.config.show import page
from hgad_jax.exit_status import status_of


def main() -> None:
    """Runs the command."""
    sys.exit(status(sys.argv[1:]))


def status(arguments: Sequence[str]) -> int:
    """Runs it and returns the exit status."""

    def run():
        argparse.ArgumentParser(prog="hgad-jax config", description="Prints every setting.").parse_args(
            arguments
        )
        print(page(), end="")

    return status_of(run)
