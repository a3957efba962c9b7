"""Reductions of elements whose groups are named by an index in ascending order, and their inverse."""

from typing import Optional

import torch

from . import _kernels


def segment_sum_coo(
    src: torch.Tensor, index: torch.Tensor, out: Optional[torch.Tensor] = None, dim_size: Optional[int] = None
) -> torch.Tensor:
    """The sum of each group along the last dimension of ``index``, which is in ascending order.

    There are ``dim_size`` groups, or as many as the last index of each row says.  With ``out`` the sums are added.
    Half precision is summed in single precision.
    """
    if not torch.jit.is_scripting():
        return _kernels.segment_sum_coo(src, index, out, dim_size)
    return torch.ops.torch_scatter.segment_sum_coo(src, index, out, dim_size)


def segment_add_coo(
    src: torch.Tensor, index: torch.Tensor, out: Optional[torch.Tensor] = None, dim_size: Optional[int] = None
) -> torch.Tensor:
    """:func:`segment_sum_coo` by another name."""
    return segment_sum_coo(src, index, out, dim_size)


def segment_mean_coo(
    src: torch.Tensor, index: torch.Tensor, out: Optional[torch.Tensor] = None, dim_size: Optional[int] = None
) -> torch.Tensor:
    """The mean of each group; 0 for an empty one, integers rounded towards 0. With ``out``: (out + sum) / count."""
    if not torch.jit.is_scripting():
        return _kernels.segment_mean_coo(src, index, out, dim_size)
    return torch.ops.torch_scatter.segment_mean_coo(src, index, out, dim_size)


def segment_min_coo(
    src: torch.Tensor, index: torch.Tensor, out: Optional[torch.Tensor] = None, dim_size: Optional[int] = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(the least of each group, where it is), as :func:`~.scatter.scatter_min`."""
    if not torch.jit.is_scripting():
        return _kernels.segment_min_coo(src, index, out, dim_size)
    return torch.ops.torch_scatter.segment_min_coo(src, index, out, dim_size)


def segment_max_coo(
    src: torch.Tensor, index: torch.Tensor, out: Optional[torch.Tensor] = None, dim_size: Optional[int] = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(the greatest of each group, where it is), as :func:`~.scatter.scatter_max`."""
    if not torch.jit.is_scripting():
        return _kernels.segment_max_coo(src, index, out, dim_size)
    return torch.ops.torch_scatter.segment_max_coo(src, index, out, dim_size)


def segment_coo(
    src: torch.Tensor,
    index: torch.Tensor,
    out: Optional[torch.Tensor] = None,
    dim_size: Optional[int] = None,
    reduce: str = "sum",
) -> torch.Tensor:
    """Each group reduced by ``reduce``: "sum" or "add", "mean", "min", "max".  ValueError for another ``reduce``."""
    if not torch.jit.is_scripting():
        if reduce == "min" or reduce == "max":
            return _kernels.segment_value_coo(src, index, out, dim_size, "a" + reduce)
    if reduce == "sum" or reduce == "add":
        return segment_sum_coo(src, index, out, dim_size)
    elif reduce == "mean":
        return segment_mean_coo(src, index, out, dim_size)
    elif reduce == "min":
        return segment_min_coo(src, index, out, dim_size)[0]
    elif reduce == "max":
        return segment_max_coo(src, index, out, dim_size)[0]
    else:
        raise ValueError(f"reduce is 'sum', 'add', 'mean', 'min' or 'max', not '{reduce}'")


def gather_coo(src: torch.Tensor, index: torch.Tensor, out: Optional[torch.Tensor] = None) -> torch.Tensor:
    """Each group's value at the place of each of its elements: ``src`` at ``index``, along its last dimension.

    ``out``, where given, is overwritten.
    """
    if not torch.jit.is_scripting():
        return _kernels.gather_coo(src, index, out)
    return torch.ops.torch_scatter.gather_coo(src, index, out)
