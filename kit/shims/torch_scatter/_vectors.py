"""Short vectors on the CPU, where each call of torch takes longer than its work: reduced in as few as there can be.

What has a gradient can be differentiated again.
"""

import math
from typing import Any, Optional

import torch
from torch import Tensor

from . import _rows
from ._index import Index


def pays(src: Tensor, at: Index) -> bool:
    """Is ``src`` a vector of not too many numbers?"""
    return (
        src.dim() == 1
        and 0 < src.size(0) < _rows.LARGE
        and at.groups > 0
        and src.dtype in (torch.float32, torch.float64)
        and src.device.type == "cpu"
        and _rows.eager(src)
    )


def _with_gradient(src: Tensor) -> bool:
    return src.requires_grad and torch.is_grad_enabled()


def segments(src: Tensor, at: Index, how: str) -> Tensor:
    """The "sum" or "mean" of groups between pointers."""
    return _Segments.apply(src, at, how) if _with_gradient(src) else _reduced(src, at, how)


def _reduced(src: Tensor, at: Index, how: str) -> Tensor:
    return torch.segment_reduce(src, how, offsets=at.pointers, unsafe=True, initial=0)


class _Segments(torch.autograd.Function):
    """``segment_reduce``, whose own gradient cannot be differentiated."""

    @staticmethod
    def forward(ctx: Any, src: Tensor, at: Index, how: str) -> Tensor:
        ctx.at, ctx.mean = at, how == "mean"
        return _reduced(src, at, how)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        grad = grad / ctx.at.lengths.clamp(min=1) if ctx.mean else grad
        return grad.index_select(0, ctx.at.line), None, None


def extreme(src: Tensor, at: Index, how: str, place: bool) -> Optional[tuple[Tensor, Optional[Tensor]]]:
    """(the least or greatest of each group, where it is if that is asked for), or None where there are NaNs."""
    grad = _with_gradient(src)
    values = src.detach() if grad else src
    if at.ordered:
        best = torch.segment_reduce(values, how[1:], offsets=at.pointers, unsafe=True)
    else:
        worst = -math.inf if how == "amax" else math.inf
        best = values.new_full((at.groups,), worst).scatter_reduce_(0, at.line, values, how)
    if not (place or grad):
        return best if at.filled else best.masked_fill_(at.lengths == 0, 0), None
    if math.isnan(values.sum()):
        return None
    arg = _rows.first(values == best.index_select(0, at.line), at)
    if not at.filled:
        best.masked_fill_(arg == src.size(0), 0)
    return (_rows.Chosen.apply(src, best, arg) if grad else best), arg
