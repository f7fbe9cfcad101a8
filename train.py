"""Train, from a checkout: what `hgad-jax train` is where the package is installed."""

import sys

from hgad_jax.cli.main import run

if __name__ == "__main__":
    run("train", sys.argv[1:], program="train.py")
