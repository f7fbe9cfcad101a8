"""Which float32 products are computed with all their bits.

A CPU multiplies all bits. GPUs since Ampere keep 11 bits of each factor unless told otherwise (TF32), TPUs 8
(bfloat16). All are asked for where products are few or large numbers cancel: the backbones, so that one
device sees the same features as another, resizing, smoothing, SPADE's and PaDiM's distances.

The flows and their first layer are left to the device. A block is invertible however its products are
rounded, and docs/gpu.md has what the rounding does to likelihoods. `JAX_DEFAULT_MATMUL_PRECISION=highest`
asks for all bits there too.
"""

from jax import lax

EXACT = lax.Precision.HIGHEST
