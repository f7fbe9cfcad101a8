"""The folder of what is kept between runs and can be made again."""

import os
from pathlib import Path

_VARIABLE = "HGAD_JAX_CACHE"


def cache_root() -> Path:
    """`$HGAD_JAX_CACHE`; without that variable, `hgad_jax` in the user's cache folder."""
    root = os.environ.get(_VARIABLE)
    if not root:
        user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        root = Path(user) / "hgad_jax"
    return Path(root).expanduser()
