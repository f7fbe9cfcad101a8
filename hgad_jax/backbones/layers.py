"""Layers that several families share. Batch normalisation is folded into the convolutions before them.

Parameters are initialised with zeros: they come from weights files, or from `weights.random_params`. Kernels
may be bfloat16: their inputs are rounded to it, and everything else is computed and kept in float32.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from hgad_jax.backbones import winograd
from hgad_jax.backbones.depthwise import Padding, depthwise_conv
from hgad_jax.precision import EXACT

Activation = Callable[[jax.Array], jax.Array]
PaddingRule = Callable[..., Padding]


def same_padding(size: tuple[int, int], *, kernel: int, stride: int) -> Padding:
    """TensorFlow's "SAME" padding: ceil(size / stride) outputs, the odd zero at the bottom and the right.

    Args:
      size: (height, width) of a map, any positive numbers of pixels.
      kernel: side of the kernel in pixels.
      stride: step in pixels.

    Returns:
      ((top, bottom), (left, right)) in pixels.
    """

    def along(pixels: int) -> tuple[int, int]:
        total = max((-(-pixels // stride) - 1) * stride + kernel - pixels, 0)
        return total // 2, total - total // 2

    return along(size[0]), along(size[1])


def symmetric_padding(size: tuple[int, int], *, kernel: int, stride: int) -> Padding:
    """PyTorch's usual padding of an odd kernel: (kernel − 1) / 2 zeros on every side."""
    del size, stride
    side = (kernel - 1) // 2
    return (side, side), (side, side)


class Dense(nn.Module):
    """A linear layer, or a convolution of kernel 1, [..., I] -> [..., channels]."""

    channels: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Multiply."""
        kernel = self.param("kernel", nn.initializers.zeros, (x.shape[-1], self.channels))
        x = product(x, kernel)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.channels,))
            x = x + bias.reshape((1,) * (x.ndim - 1) + (-1,))
        return x


def dense(channels: int, name: str, *, use_bias: bool = True) -> Dense:
    """Name a linear layer."""
    return Dense(channels, use_bias, name=name)


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[..., I] and [I, O] -> [..., O] in float32, multiplied in the dtype of the kernel."""
    return jnp.matmul(x.astype(kernel.dtype), kernel, precision=EXACT, preferred_element_type=jnp.float32)


def convolve(x: jax.Array, kernel: jax.Array, *, stride: int, padding: Padding) -> jax.Array:
    """[B, H, W, I] and [k, l, I, O] -> [B, h, w, O] in float32, multiplied in the dtype of the kernel."""
    return lax.conv_general_dilated(
        x.astype(kernel.dtype),
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=EXACT,
        preferred_element_type=jnp.float32,
    )


class Conv(nn.Module):
    """A convolution with a bias, [B, H, W, I] -> [B, ceil(H / stride), ceil(W / stride), channels]."""

    channels: int
    kernel: int
    stride: int
    padding: PaddingRule = symmetric_padding

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolve."""
        shape = (self.kernel, self.kernel, x.shape[-1], self.channels)
        kernel = self.param("kernel", nn.initializers.zeros, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.channels,))
        if self.kernel == 1:  # a matrix product, which CPUs do faster
            x = x[:, :: self.stride, :: self.stride]
            return product(x, kernel[0, 0]) + bias[None, None, None]
        padding = self.padding(x.shape[1:3], kernel=self.kernel, stride=self.stride)
        if self.stride == 1 and self.has_variable(winograd.COLLECTION, "kernel"):
            ready = self.get_variable(winograd.COLLECTION, "kernel")
            return winograd.convolve(x, ready, padding=padding) + bias[None, None, None]
        return convolve(x, kernel, stride=self.stride, padding=padding) + bias[None, None, None]


class DepthwiseConv(nn.Module):
    """A depthwise convolution with a bias, [B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), C]."""

    kernel: int
    stride: int
    padding: PaddingRule = same_padding

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolve."""
        channels = x.shape[-1]
        kernel = self.param("kernel", nn.initializers.zeros, (self.kernel, self.kernel, channels))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        padding = self.padding(x.shape[1:3], kernel=self.kernel, stride=self.stride)
        return depthwise_conv(x, kernel, stride=self.stride, padding=padding) + bias[None, None, None]


class SqueezeExcite(nn.Module):
    """Scales every channel by a gate computed from the means of all channels (Hu et al., 2018)."""

    channels: int  # between the two layers
    activation: Activation
    gate: Activation

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        means = x.mean(axis=(1, 2), keepdims=True)
        gates = dense(x.shape[-1], "expand")(self.activation(dense(self.channels, "reduce")(means)))
        return x * self.gate(gates)


class Scale(nn.Module):
    """A batch normalisation that could not be folded: x · scale + bias, for each channel."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        return x * scale[None, None, None] + bias[None, None, None]


def hard_sigmoid(x: jax.Array) -> jax.Array:
    """relu6(x + 3) / 6, elementwise."""
    return jnp.clip(x + 3, 0, 6) / 6


def hard_swish(x: jax.Array) -> jax.Array:
    """x · relu6(x + 3) / 6, elementwise."""
    return x * hard_sigmoid(x)
