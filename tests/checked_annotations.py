"""Importing this has the annotations of the mathematics, shapes among them, checked at every call.

In the test run alone: to users they cost nothing. Before the first import of these rooms.
"""

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

ROOMS = ("detectors", "distributions", "flows", "metrics", "resize", "scoring")

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as type checkers have it
install_import_hook([f"hgad_jax.{room}" for room in ROOMS], f"{__name__}.checked")
