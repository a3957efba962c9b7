"""Reductions of elements whose groups are ranges between pointers, and their inverse."""

from typing import Optional

import torch

from . import _kernels


def segment_sum_csr(src: torch.Tensor, indptr: torch.Tensor, out: Optional[torch.Tensor] = None) -> torch.Tensor:
    """The sum of each group, the elements from ``indptr[i]`` to ``indptr[i + 1]`` along its last dimension.

    What lies before the first pointer and behind the last belongs to no group.  ``out`` is overwritten.  Half
    precision is summed in single precision.  RuntimeError where pointers descend or leave ``src``.
    """
    if not torch.jit.is_scripting():
        return _kernels.segment_sum_csr(src, indptr, out)
    return torch.ops.torch_scatter.segment_sum_csr(src, indptr, out)


def segment_add_csr(src: torch.Tensor, indptr: torch.Tensor, out: Optional[torch.Tensor] = None) -> torch.Tensor:
    """:func:`segment_sum_csr` by another name."""
    return segment_sum_csr(src, indptr, out)


def segment_mean_csr(src: torch.Tensor, indptr: torch.Tensor, out: Optional[torch.Tensor] = None) -> torch.Tensor:
    """The mean of each group; 0 for an empty one, integers rounded towards 0."""
    if not torch.jit.is_scripting():
        return _kernels.segment_mean_csr(src, indptr, out)
    return torch.ops.torch_scatter.segment_mean_csr(src, indptr, out)


def segment_min_csr(
    src: torch.Tensor, indptr: torch.Tensor, out: Optional[torch.Tensor] = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(the least of each group, where it is), as :func:`~.scatter.scatter_min`."""
    if not torch.jit.is_scripting():
        return _kernels.segment_min_csr(src, indptr, out)
    return torch.ops.torch_scatter.segment_min_csr(src, indptr, out)


def segment_max_csr(
    src: torch.Tensor, indptr: torch.Tensor, out: Optional[torch.Tensor] = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(the greatest of each group, where it is), as :func:`~.scatter.scatter_max`."""
    if not torch.jit.is_scripting():
        return _kernels.segment_max_csr(src, indptr, out)
    return torch.ops.torch_scatter.segment_max_csr(src, indptr, out)


def segment_csr(
    src: torch.Tensor, indptr: torch.Tensor, out: Optional[torch.Tensor] = None, reduce: str = "sum"
) -> torch.Tensor:
    """Each group reduced by ``reduce``: "sum" or "add", "mean", "min", "max".  ValueError for another ``reduce``."""
    if not torch.jit.is_scripting():
        if reduce == "min" or reduce == "max":
            return _kernels.segment_value_csr(src, indptr, out, "a" + reduce)
    if reduce == "sum" or reduce == "add":
        return segment_sum_csr(src, indptr, out)
    elif reduce == "mean":
        return segment_mean_csr(src, indptr, out)
    elif reduce == "min":
        return segment_min_csr(src, indptr, out)[0]
    elif reduce == "max":
        return segment_max_csr(src, indptr, out)[0]
    else:
        raise ValueError(f"reduce is 'sum', 'add', 'mean', 'min' or 'max', not '{reduce}'")


def gather_csr(src: torch.Tensor, indptr: torch.Tensor, out: Optional[torch.Tensor] = None) -> torch.Tensor:
    """Each group's value as often as it has elements: the result is as long as the last pointer says.

    ``out``, where given, is overwritten.
    """
    if not torch.jit.is_scripting():
        return _kernels.gather_csr(src, indptr, out)
    return torch.ops.torch_scatter.gather_csr(src, indptr, out)
