"""The couplings' hand-written gradient is that of the plain formulas, derived by JAX in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_flow_properties import CLAMP, H, W, blocks

from hgad_jax.flows import coupling, flow
from hgad_jax.flows.position import axis_codes, position_map


def plain_block(params, rotation, code, x):
    """The formulas at the head of `coupling.py`, as they stand there."""
    passive = x.shape[-1] - x.shape[-1] // 2
    kernel, x1, x2 = params.passive_kernel, x[..., :passive], x[..., passive:]
    if code is not None:
        code = jnp.broadcast_to(code, (*x.shape[:-1], code.shape[-1]))
        kernel = jnp.concatenate([kernel, params.condition_kernel])
        subnet_input = jnp.concatenate([x1, code], axis=-1)
    else:
        subnet_input = x1
    raw = jnp.maximum(subnet_input @ kernel + params.hidden_bias, 0) @ params.out_kernel + params.out_bias
    raw_scale, raw_shift = jnp.split(raw, 2, axis=-1)
    s, g = CLAMP * jnp.tanh(0.1 * raw_scale), 0.2 * jnp.log1p(jnp.exp(params.gamma / 2))
    u = jnp.concatenate([x1, x2 * jnp.exp(s) + 0.1 * raw_shift], axis=-1)
    return (g * u + params.offset) @ rotation.T, s.sum(-1) + jnp.log(g).sum()


def plain_flow(params, rotations, x):
    code = None
    if params.condition_kernel is not None:
        code = position_map(axis_codes(H, W, params.condition_kernel.shape[1]))
    log_det = 0
    for k in range(len(rotations)):
        x, of_block = plain_block(jax.tree.map(lambda p, k=k: p[k], params), rotations[k], code, x)
        log_det = log_det + of_block
    return x, log_det


def gradients(forward, arguments):
    """Of a scalar that depends on every output in another way, with respect to parameters and features."""
    rng = np.random.default_rng(4)
    weights = [rng.normal(size=arguments[-1].shape[:n]) for n in (4, 3)]

    def scalar(params, rotations, x):
        z, log_det = forward(params, rotations, x)
        parts = (
            jnp.sum(jnp.asarray(w, z.dtype) * jnp.sin(y)) for w, y in zip(weights, (z, log_det), strict=True)
        )
        return sum(parts)

    return jax.jit(jax.value_and_grad(scalar, (0, 2)))(*arguments)


@pytest.mark.parametrize("condition", [True, False])
@pytest.mark.parametrize("channels", [6, 7, 112])
def test_gradients_are_those_of_the_plain_formulas(channels, condition):
    params, rotations = blocks(channels)
    if not condition:
        params = params._replace(condition_kernel=None)
    params = params._replace(out_kernel=params.out_kernel / np.float32(np.sqrt(channels)))
    x = np.random.default_rng(1).normal(size=(4, H, W, channels)).astype(np.float32)
    value, ours = gradients(functools.partial(flow.forward, clamp=CLAMP), (params, rotations, x))
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, rotations, x))
        expected_value, expected = gradients(plain_flow, exact)
        expected = jax.tree.map(np.asarray, expected)
    np.testing.assert_allclose(value, expected_value, rtol=1e-4, atol=1e-4)
    for (path, a), e in zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(expected), strict=True):
        scale = np.abs(e).max()
        assert scale > 0
        np.testing.assert_allclose(a, e, atol=1e-4 * scale, err_msg=jax.tree_util.keystr(path))


def test_gradient_is_the_same_in_a_loop_over_blocks():
    """`forward` unrolls its blocks when it is differentiated; a scan of the same blocks must agree."""
    params, rotations = blocks(7)
    x = np.random.default_rng(1).normal(size=(4, H, W, 7)).astype(np.float32)

    def scanned(params, rotations, x):
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *flow.blocks_at(params, (H, W)))

        def body(carry, layer):
            y, of_block = coupling.forward(*layer, carry[0], clamp=CLAMP)
            return (y, carry[1] + of_block), None

        return jax.lax.scan(body, (x, jnp.zeros(x.shape[:-1])), (stacked, rotations))[0]

    ours = gradients(functools.partial(flow.forward, clamp=CLAMP), (params, rotations, x))
    for a, e in zip(
        jax.tree.leaves(ours), jax.tree.leaves(gradients(scanned, (params, rotations, x))), strict=True
    ):
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-4)
