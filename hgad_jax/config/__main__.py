"""`python -m hgad_jax.config`: prints every key with default, range and meaning."""

import sys

from hgad_jax.config.show import page
from hgad_jax.exit_status import status_of

if __name__ == "__main__":
    sys.exit(status_of(lambda: print(page(), end="")))
