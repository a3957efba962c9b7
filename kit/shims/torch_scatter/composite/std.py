"""Standard deviation per group."""

from typing import Optional

import torch

from ..scatter import scatter_sum
from ..utils import broadcast


def scatter_std(
    src: torch.Tensor,
    index: torch.Tensor,
    dim: int = -1,
    out: Optional[torch.Tensor] = None,
    dim_size: Optional[int] = None,
    unbiased: bool = True,
) -> torch.Tensor:
    """The standard deviation of each group, over n - 1 (``unbiased``) or n elements; 0 for an empty group.

    ``out``, where given, only says how many groups there are, as the squares are added to it.
    """
    if out is not None:
        dim_size = out.size(dim)
    if dim < 0:
        dim = src.dim() + dim
    count_dim = dim
    if index.dim() <= dim:
        count_dim = index.dim() - 1
    ones = torch.ones(index.size(), dtype=src.dtype, device=src.device)
    count = scatter_sum(ones, index, count_dim, dim_size=dim_size)
    index = broadcast(index.long(), src, dim)
    total = scatter_sum(src, index, dim, dim_size=dim_size)
    count = broadcast(count, total, dim).clamp(1)
    apart = src - total.div(count).gather(dim, index)
    squares = scatter_sum(apart * apart, index, dim, out, dim_size)
    if unbiased:
        count = count.sub(1).clamp(1)
    return squares.div(count + 1e-6).sqrt()
