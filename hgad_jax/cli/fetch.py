"""`hgad-jax fetch NAME`: downloads a backbone's published weights into the cache."""

import argparse
import sys
from collections.abc import Sequence

from hgad_jax.exit_status import status_of


def main() -> None:
    """Runs the command."""
    sys.exit(status(sys.argv[1:]))


def status(arguments: Sequence[str]) -> int:
    """Runs it and returns the exit status."""
    return status_of(lambda: _fetch(_parser().parse_args(arguments)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hgad-jax fetch", description="Downloads published weights into the cache."
    )
    parser.add_argument("name", help="such as wide_resnet50_2.tv_in1k; hgad-jax list backbones has all")
    parser.add_argument("--hub", help="a mirror of the Hugging Face hub (or HGAD_JAX_HUB)")
    parser.add_argument("--torchvision", help="a mirror of torchvision's host (or HGAD_JAX_TORCHVISION)")
    return parser


def _fetch(args: argparse.Namespace) -> None:
    from hgad_jax.backbones.catalogue import choose, warn_if_ambiguous
    from hgad_jax.backbones.fetch import fetch, hosts_from_environment

    choice = choose(args.name)
    warn_if_ambiguous(choice)
    fetch(choice, hosts_from_environment(args.hub, args.torchvision), log=print)
