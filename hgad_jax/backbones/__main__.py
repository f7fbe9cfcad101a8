"""`python -m hgad_jax.backbones list` and `fetch`: `hgad-jax list backbones` and `fetch` by another door."""

import sys

from hgad_jax.cli import fetch, listing

_COMMANDS = {"list": lambda rest: listing.status(["backbones", *rest]), "fetch": fetch.status}


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns its exit status."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in _COMMANDS:
        return _COMMANDS[name](rest)
    print("python -m hgad_jax.backbones list\npython -m hgad_jax.backbones fetch NAME", file=sys.stderr)
    return 0 if name in ("-h", "--help") else 2


if __name__ == "__main__":
    sys.exit(main())
