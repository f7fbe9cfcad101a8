import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hgad_jax.flows.linear import dense, dense_beside, sum_leading


def plain_dense(x, kernel, bias):
    product = x @ kernel
    return product + jnp.broadcast_to(bias, product.shape)


@pytest.fixture(params=[(5, 7), (7, 5)], ids=["wider", "narrower"])
def arguments(request):
    """x [4, 2, 3, D], kernel [D, E] and weights of the outputs; both ways the kernel's gradient is taken."""
    d, e = request.param
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=s).astype(np.float32) for s in ((4, 2, 3, d), (d, e), (4, 2, 3, e)))


@pytest.mark.parametrize("bias_lead", [(), (2, 3)])
def test_dense_and_its_gradients_equal_plain_autodiff(arguments, bias_lead):
    x, kernel, weights = arguments
    bias = np.random.default_rng(1).normal(size=(*bias_lead, kernel.shape[1])).astype(np.float32)

    def outputs_and_gradients(layer):
        def scalar(*args):
            y = layer(*args)
            return jnp.sum(weights * jnp.sin(y)), y

        (_, y), gradients = jax.jit(jax.value_and_grad(scalar, (0, 1, 2), has_aux=True))(x, kernel, bias)
        return y, *gradients

    for a, e in zip(outputs_and_gradients(dense), outputs_and_gradients(plain_dense), strict=True):
        assert a.shape == e.shape
        np.testing.assert_allclose(a, e, atol=2e-5)


def test_dense_gradients_under_jit_and_vmap(arguments):
    x, kernel, weights = arguments
    bias = np.ones(kernel.shape[1], np.float32)

    def loss(layer):
        return lambda x, w: jnp.sum(w * layer(x, kernel, bias) ** 2)

    actual = jax.jit(jax.vmap(jax.grad(loss(dense))))(x, weights)
    np.testing.assert_allclose(
        actual, jax.vmap(jax.grad(loss(plain_dense)))(x, weights), atol=1e-3, rtol=1e-5
    )


@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
def test_sum_leading(ndim):
    x = np.random.default_rng(0).normal(size=(50, 4, 3, 5)).astype(np.float32)
    expected = np.asarray(x, np.float64).sum(axis=tuple(range(4 - ndim)))
    actual = jax.jit(sum_leading, static_argnums=1)(x, ndim)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, atol=2e-5)


def test_dense_beside_is_two_products_and_leaves_out_one_gradient():
    rng = np.random.default_rng(0)
    shapes = {"x": (6, 3), "given": (6, 4), "kernel": (3, 5), "given_kernel": (4, 5)}
    arguments = [rng.normal(size=shape).astype(np.float32) for shape in shapes.values()]

    def scalar(x, given, kernel, given_kernel, layer=dense_beside):
        return jnp.sum(jnp.sin(layer(x, given, kernel, given_kernel)))

    def plain(x, given, kernel, given_kernel):
        return x @ kernel + given @ given_kernel

    np.testing.assert_allclose(dense_beside(*arguments), plain(*arguments), atol=1e-5)
    ours = jax.grad(scalar, (0, 1, 2, 3))(*arguments)
    expected = jax.grad(lambda *args: scalar(*args, layer=plain), (0, 1, 2, 3))(*arguments)
    for name, a, e in zip(shapes, ours, expected, strict=True):
        np.testing.assert_allclose(a, np.zeros_like(e) if name == "given" else e, atol=1e-5, err_msg=name)
