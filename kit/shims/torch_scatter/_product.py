"""Products by group, with what torch's lack: forward mode, and gradients under vmap."""

from typing import Any

import torch
from torch import Tensor


def multiplied(src: Tensor, index: Tensor, dim: int, groups: int) -> Tensor:
    """The product of each group; ``index`` has the shape of ``src``.

    The second derivative takes the zeros of a group as fixed.
    """
    if torch.compiler.is_compiling():  # which cannot trace a function with a forward mode of its own
        return _product(src, index, dim, groups)
    found: Tensor = _Product.apply(src, index, dim, groups)
    return found


def _product(src: Tensor, index: Tensor, dim: int, groups: int) -> Tensor:
    shape = [*src.shape[:dim], groups, *src.shape[dim + 1 :]]
    return src.new_ones(shape).scatter_reduce(dim, index, src, "prod")


def _others(src: Tensor, index: Tensor, dim: int, groups: int) -> Tensor:
    """For each element the product of the others of its group."""
    zero = src == 0
    filled = src.masked_fill(zero, 1)
    shape = [*src.shape[:dim], groups, *src.shape[dim + 1 :]]
    zeros = zero.new_zeros(shape, dtype=torch.int64).scatter_add(dim, index, zero.long()).gather(dim, index)
    found = multiplied(filled, index, dim, groups).gather(dim, index) / filled
    return found.masked_fill(zeros > zero, 0)


class _Product(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(src: Tensor, index: Tensor, dim: int, groups: int) -> Tensor:
        return _product(src, index, dim, groups)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        src, index, ctx.dim, ctx.groups = inputs
        ctx.save_for_backward(src, index)
        ctx.save_for_forward(src, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        src, index = ctx.saved_tensors
        return grad.gather(ctx.dim, index) * _others(src, index, ctx.dim, ctx.groups), None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *none: None) -> Tensor:
        src, index = ctx.saved_tensors
        part = tangent * _others(src, index, ctx.dim, ctx.groups)
        shape = [*src.shape[: ctx.dim], ctx.groups, *src.shape[ctx.dim + 1 :]]
        return part.new_zeros(shape).scatter_add(ctx.dim, index, part)
