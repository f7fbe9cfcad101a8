"""`python -m hgad_jax.backbones`: the table of backbones, and fetching their weights."""

import argparse
import sys

from hgad_jax.backbones.catalogue import choose, warn_if_ambiguous
from hgad_jax.backbones.fetch import fetch, hosts_from_environment
from hgad_jax.backbones.table import markdown_table
from hgad_jax.exit_status import status_of


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand; returns the exit status."""
    return status_of(lambda: _run(arguments))


def _run(arguments: list[str] | None) -> None:
    options = _parser().parse_args(arguments)
    if options.command == "list":
        print(markdown_table())
        return
    choice = choose(options.name)
    warn_if_ambiguous(choice)
    fetch(choice, hosts_from_environment(options.hub, options.torchvision), log=print)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hgad_jax.backbones", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="print the table of backbones")
    command = commands.add_parser("fetch", help="download weights into the cache")
    command.add_argument("name", help="such as wide_resnet50_2.tv_in1k")
    command.add_argument("--hub", help="a mirror of the Hugging Face hub (or HGAD_JAX_HUB)")
    command.add_argument("--torchvision", help="a mirror of torchvision's host (or HGAD_JAX_TORCHVISION)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
