"""The mesh of all devices of all processes, and how arrays get onto it.

One axis, `data`: batches are split over it, everything else is replicated. One device is a mesh of one, so
that there is one program for all.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P


def data_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh with the one axis `data` over the `jax.Device`s given (all of all processes, if none are).

    Processes one after the other: each one's rows of a batch are a slice of it.
    """
    devices = sorted(devices or jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))


def shard_batch(mesh: Mesh, batch: Any) -> Any:
    """Puts host arrays on the mesh, split along their first axis.

    Every process is given the whole batch and copies the rows of its own devices only: arrays that are read
    when they are indexed, as memory maps are, cost no more than those rows.
    """
    return _place(batch, NamedSharding(mesh, P("data")))


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Puts a copy of every leaf on each device; every process has to give the same values."""
    return _place(tree, NamedSharding(mesh, P()))


def _place(tree: Any, sharding: NamedSharding) -> Any:
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def place(leaf):
        if _is_placed(leaf, sharding):
            return leaf
        array = np.asarray(leaf)
        # `device_put` would compare the whole array between processes first.
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(place, tree)


def _is_placed(leaf: Any, sharding: NamedSharding) -> bool:
    return isinstance(leaf, jax.Array) and leaf.sharding.is_equivalent_to(sharding, leaf.ndim)


def shard_rows(mesh: Mesh, rows: Any, batch_size: int) -> Any:
    """Puts this process's slice of a batch of `batch_size` on the mesh."""
    sharding = NamedSharding(mesh, P("data"))

    def place(leaf):
        return jax.make_array_from_process_local_data(sharding, leaf, (batch_size, *leaf.shape[1:]))

    return jax.tree.map(place, rows)


def per_image(
    function: Callable, *, replicated: int, mesh: Mesh | None = None, together: int = 1
) -> Callable:
    """Spreads a function of independent images over all devices; compiled once for each shape.

    Args:
      function: `(*replicated, *batched, **static)` → pytree of `[B, ...]`, row i of row i alone.
      replicated: how many of its first arguments are not batched; they are put on all devices once for as
        long as they are the same arrays.
      mesh: over whose axis `data` rows are split; if None, of all devices of all processes.
      together: so many rows following each other stay on one device, as the tiles of an image must.

    Returns:
      A function of the same arguments on the host or on devices. Rows are filled up with copies of the last
      one to a multiple of the devices, and what comes of these is cut off. Every process that has devices in
      the mesh has to call it, and gets the whole result.
    """

    @functools.cache
    def compiled(mesh: Mesh, count: int, **static):
        gather = mesh.is_multi_process

        def local(*arguments):
            result = function(*arguments, **static)
            return jax.lax.all_gather(result, "data", tiled=True) if gather else result

        specs = (P(),) * replicated + (P("data"),) * count
        out = P() if gather else P("data")
        return jax.jit(jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=out, check_vma=False))

    given, placed = [], ()  # the last replicated arguments, and where they are

    def place(on, fixed):
        nonlocal given, placed
        leaves = jax.tree.leaves(fixed)
        if all(_is_placed(leaf, NamedSharding(on, P())) for leaf in leaves):
            return fixed  # and not kept: parameters in training are donated to the next step
        if len(leaves) != len(given) or any(a is not b for a, b in zip(leaves, given, strict=True)):
            given, placed = leaves, replicate(on, fixed)
        return placed

    def call(*arguments, **static):
        on = mesh or data_mesh()
        fixed, batched = arguments[:replicated], arguments[replicated:]
        count = len(jax.tree.leaves(batched)[0])
        missing = -count % (on.size * together)
        if missing:
            rows = np.minimum(np.arange(count + missing), count - 1)
            batched = jax.tree.map(lambda leaf: np.asarray(leaf)[rows], batched)
        run = compiled(on, len(batched), **static)
        result = run(*place(on, fixed), *shard_batch(on, batched))
        return jax.tree.map(lambda leaf: leaf[:count], result) if missing else result

    return call
