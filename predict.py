"""Score new images, from a checkout: what `hgad-jax predict` is where the package is installed."""

import sys

from hgad_jax.cli.main import run

if __name__ == "__main__":
    run("predict", sys.argv[1:], program="predict.py")
