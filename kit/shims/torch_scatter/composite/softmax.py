"""Softmax per group, and its logarithm."""

from typing import Optional

import torch

from ..scatter import scatter, scatter_sum
from ..utils import broadcast


def scatter_softmax(
    src: torch.Tensor, index: torch.Tensor, dim: int = -1, dim_size: Optional[int] = None
) -> torch.Tensor:
    """exp(src) over its sum in each group, in the shape of ``src``.  ValueError where that is not floating point."""
    if not torch.is_floating_point(src):
        raise ValueError("`scatter_softmax` can only be computed over tensors with floating point data types.")
    index = broadcast(index.long(), src, dim)
    # Subtracting any constant leaves softmax what it is, so no gradient goes through the maximum.
    most = scatter(src.detach(), index, dim, dim_size=dim_size, reduce="max")
    exp = (src - most.gather(dim, index)).exp()
    total = scatter_sum(exp, index, dim, dim_size=dim_size)
    return exp.div(total.gather(dim, index))


def scatter_log_softmax(
    src: torch.Tensor, index: torch.Tensor, dim: int = -1, eps: float = 1e-12, dim_size: Optional[int] = None
) -> torch.Tensor:
    """The logarithm of softmax within each group; mind that ``eps`` comes before ``dim_size``."""
    if not torch.is_floating_point(src):
        raise ValueError("`scatter_log_softmax` can only be computed over tensors with floating point data types.")
    index = broadcast(index.long(), src, dim)
    most = scatter(src.detach(), index, dim, dim_size=dim_size, reduce="max")
    apart = src - most.gather(dim, index)
    total = scatter_sum(apart.exp(), index, dim, dim_size=dim_size)
    return apart - total.add(eps).log().gather(dim, index)
