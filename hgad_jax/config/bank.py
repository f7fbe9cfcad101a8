"""Keys of a bank of centres: beside a detector, or as its base distribution."""

from hgad_jax.config.key import Key, at_least, each, one_of, passes
from hgad_jax.distributions.centres import KERNELS

_SIZE = at_least(0, 1_000_000)
CANDIDATES = Key(
    200_000, "vectors of a class that its centres are chosen from, at random of all", at_least(1, 10_000_000)
)
PROJECTION = Key(
    64, "dimensions that distances are taken in while centres are chosen; 0: all", at_least(0, 100_000)
)
KERNEL = Key(
    "gaussian", "gaussian: all centres count, by their distance; nearest: the nearest alone", one_of(KERNELS)
)

BANK = {
    "size": Key(
        0, "centres a class of a bank that gives evidence beside the detector; 0: none", _SIZE, before=0
    ),
    "taps": Key(
        (),
        "layers whose maps it is of, of the image in data.detail; (): the backbone's own, but for the first "
        "if there are several",
        each(passes("a layer's name", lambda value: isinstance(value, str))),
    ),
    "candidates": CANDIDATES,
    "projection": PROJECTION,
    "kernel": KERNEL,
}
