"""Evaluate, from a checkout: what `hgad-jax eval` is where the package is installed."""

import sys

from hgad_jax.cli.main import run

if __name__ == "__main__":
    run("eval", sys.argv[1:], program="eval.py")
