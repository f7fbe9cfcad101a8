"""Linear layers whose gradients XLA's CPU backend computes fast.

Derived by itself, the backward pass of a dense layer spends half of its time on two things that are not
its mathematics, and both are written out here instead:

- the gradient of a broadcast addition is a sum over leading axes, which the CPU backend threads badly
  (26 to 40 ms on two cores where one needs 3); as a product with a vector of ones it takes 0.9 ms;
- the gradient of a kernel comes with a transposed copy of the wide hidden layer; contracted over the
  vectors with the *narrow* operand on the left, it needs none.

On accelerators both forms are equally good. What has a gradient written out cannot be differentiated forward
(`jax.jvp`, `jax.jacfwd`), only backward.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Float

from hgad_jax.types import Array


def sum_leading(x: jax.Array, ndim: int) -> jax.Array:
    """Sum over all but the last `ndim` axes, as a matrix product with ones."""
    lead, trail = x.shape[: x.ndim - ndim], x.shape[x.ndim - ndim :]
    flat = x.reshape(math.prod(lead), math.prod(trail))
    return (jnp.ones((flat.shape[0],), x.dtype) @ flat).reshape(trail)


def rows(x: Float[Array, "*rows D"]) -> Float[Array, "N D"]:
    """`[..., D]` → `[N, D]`."""
    return x.reshape(-1, x.shape[-1])


def narrow_product(x: Float[Array, "N D"], kernel: Float[Array, "E D"]) -> Float[Array, "N E"]:
    """x `[N, D]` @ kernel.T, kernel `[E, D]`, for few outputs E: just below 64, a CPU has half its speed."""
    width = kernel.shape[0]
    lacking = -width % 64
    if lacking > width // 4:
        return x @ kernel.T
    return (x @ jnp.pad(kernel, ((0, lacking), (0, 0))).T)[:, :width]


@jax.custom_vjp
def dense(
    x: Float[Array, "*rows D"], kernel: Float[Array, "D E"], bias: Float[Array, "*place E"]
) -> Float[Array, "*rows E"]:
    """x @ kernel + bias.

    Args:
      x: `[..., D]`.
      kernel: `[D, E]`.
      bias: `[E]`, or `[h, w, E]` where it depends on the position; broadcast over x's leading axes.

    Returns:
      `[..., E]`.
    """
    product = (rows(x) @ kernel).reshape(*x.shape[:-1], kernel.shape[1])
    return product + jnp.broadcast_to(bias, product.shape)


def _dense_forward(x, kernel, bias):
    return dense(x, kernel, bias), (x, kernel, jnp.empty((0,) * bias.ndim))  # of the bias, the rank only


def _dense_backward(residuals, g):
    x, kernel, rank_of_bias = residuals
    x_rows, g_rows = rows(x), rows(g)
    narrow_output = g_rows.shape[1] < x_rows.shape[1]
    kernel_gradient = (g_rows.T @ x_rows).T if narrow_output else x_rows.T @ g_rows
    return (g_rows @ kernel.T).reshape(x.shape), kernel_gradient, sum_leading(g, rank_of_bias.ndim)


dense.defvjp(_dense_forward, _dense_backward)


@jax.custom_vjp
def dense_beside(
    x: Float[Array, "N D"],
    given: Float[Array, "N T"],
    kernel: Float[Array, "D E"],
    given_kernel: Float[Array, "T E"],
) -> Float[jax.Array, "N E"]:
    """x @ kernel + given @ given_kernel as one product; `given` is no parameter and gets no gradient.

    Two narrow products take longer than the one, in either direction.

    Args:
      x: `[N, D]`.
      given: `[N, T]`.
      kernel: `[D, E]`.
      given_kernel: `[T, E]`.

    Returns:
      `[N, E]`.
    """
    return _dense_beside_forward(x, given, kernel, given_kernel)[0]


def _dense_beside_forward(x, given, kernel, given_kernel):
    both = jnp.concatenate([x, given], axis=1)
    return both @ jnp.concatenate([kernel, given_kernel]), (both, kernel)


def _dense_beside_backward(residuals, g):
    both, kernel = residuals
    kernels = both.T @ g
    return g @ kernel.T, None, kernels[: len(kernel)], kernels[len(kernel) :]


dense_beside.defvjp(_dense_beside_forward, _dense_beside_backward)
