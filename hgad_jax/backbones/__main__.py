"""`python -m hgad_jax.backbones list` and `fetch`: `hgad-jax list backbones` and `fetch` by another door."""

import sys

from hgad_jax.cli import fetch, listing
from hgad_jax.exit_status import DONE, USERS

_COMMANDS = {"list": lambda rest: listing.status(["backbones", *rest]), "fetch": fetch.status}
_USAGE = "usage: python -m hgad_jax.backbones list\n       python -m hgad_jax.backbones fetch NAME"


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns its exit status."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in _COMMANDS:
        return _COMMANDS[name](rest)
    is_help = name in ("-h", "--help")
    print(_USAGE, file=sys.stdout if is_help else sys.stderr)
    return DONE if is_help else USERS


if __name__ == "__main__":
    sys.exit(main())
