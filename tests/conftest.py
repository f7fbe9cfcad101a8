"""Strict settings for every test: eight CPU devices, no silent rank promotion, no network of its own."""

import os

# Before the first import of jax: the tests of data parallelism need several devices.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
