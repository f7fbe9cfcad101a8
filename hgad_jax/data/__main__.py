"""`python -m hgad_jax.data`: the commands `hgad-jax check` and `prepare` by another door."""

import sys

from hgad_jax.cli import check, prepare

_COMMANDS = {"check": check.status, "prepare": prepare.status}


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns its exit status."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in _COMMANDS:
        return _COMMANDS[name](rest)
    print(
        "python -m hgad_jax.data check DIR\npython -m hgad_jax.data prepare NAME --root=DIR", file=sys.stderr
    )
    return 0 if name in ("-h", "--help") else 2


if __name__ == "__main__":
    sys.exit(main())
