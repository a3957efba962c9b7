"""Logarithm of the sum of exponentials per group."""

from typing import Optional

import torch

from ..scatter import scatter_max, scatter_sum
from ..utils import broadcast


def scatter_logsumexp(
    src: torch.Tensor,
    index: torch.Tensor,
    dim: int = -1,
    out: Optional[torch.Tensor] = None,
    dim_size: Optional[int] = None,
    eps: float = 1e-12,
) -> torch.Tensor:
    """log(sum(exp(src))) of each group; 0 for an empty one.  ValueError where ``src`` is not floating point.

    With ``out``, its exponentials are added to the sums, and an empty group keeps what is there (as upstream from
    May 2024 on, after 2.1.2).
    """
    if not torch.is_floating_point(src):
        raise ValueError("`scatter_logsumexp` can only be computed over tensors with floating point data types.")
    index = broadcast(index.long(), src, dim)
    if out is not None:
        dim_size = out.size(dim)
    elif dim_size is None:
        dim_size = int(index.max()) + 1
    most, arg = scatter_max(src.detach(), index, dim, dim_size=dim_size)
    most = most.masked_fill(arg == src.size(dim), float("-inf"))
    apart = src - most.gather(dim, index)
    apart = apart.masked_fill(apart.isnan(), float("-inf"))
    total = scatter_sum(apart.exp(), index, dim, dim_size=dim_size)
    if out is not None:
        total = total + (out - most).exp()
    result = total.add(eps).log() + most
    if out is None:
        return result.nan_to_num(neginf=0.0)
    return out.copy_(torch.where(result.isfinite(), result, out))
