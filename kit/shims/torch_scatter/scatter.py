"""Reductions of elements whose groups are named by an index, in any order."""

from typing import Optional

import torch

from . import _kernels

# In TorchScript the registered operators stand for the same functions (_operators.py).


def scatter_sum(
    src: torch.Tensor,
    index: torch.Tensor,
    dim: int = -1,
    out: Optional[torch.Tensor] = None,
    dim_size: Optional[int] = None,
) -> torch.Tensor:
    """The sum of each group along ``dim``; 0 for an empty one.

    ``index`` (int64) is broadcast to the shape of ``src``.  There are ``dim_size`` groups, or as many as the largest
    index says.  With ``out`` the sums are added to it, and it is returned.  RuntimeError for an index out of range.
    """
    if not torch.jit.is_scripting():
        return _kernels.scatter_sum(src, index, dim, out, dim_size)
    return torch.ops.torch_scatter.scatter_sum(src, index, dim, out, dim_size)


def scatter_add(
    src: torch.Tensor,
    index: torch.Tensor,
    dim: int = -1,
    out: Optional[torch.Tensor] = None,
    dim_size: Optional[int] = None,
) -> torch.Tensor:
    """:func:`scatter_sum` by another name."""
    return scatter_sum(src, index, dim, out, dim_size)


def scatter_mul(
    src: torch.Tensor,
    index: torch.Tensor,
    dim: int = -1,
    out: Optional[torch.Tensor] = None,
    dim_size: Optional[int] = None,
) -> torch.Tensor:
    """The product of each group; 1 for an empty one, and with ``out`` that is multiplied.

    The gradient is right where a group holds zeros; that of the compiled 2.1.2 is 0 there.
    """
    if not torch.jit.is_scripting():
        return _kernels.scatter_mul(src, index, dim, out, dim_size)
    return torch.ops.torch_scatter.scatter_mul(src, index, dim, out, dim_size)


def scatter_mean(
    src: torch.Tensor,
    index: torch.Tensor,
    dim: int = -1,
    out: Optional[torch.Tensor] = None,
    dim_size: Optional[int] = None,
) -> torch.Tensor:
    """The mean of each group; 0 for an empty one, integers rounded down.  With ``out``: (out + sum) / count."""
    if not torch.jit.is_scripting():
        return _kernels.scatter_mean(src, index, dim, out, dim_size)
    return torch.ops.torch_scatter.scatter_mean(src, index, dim, out, dim_size)


def scatter_min(
    src: torch.Tensor,
    index: torch.Tensor,
    dim: int = -1,
    out: Optional[torch.Tensor] = None,
    dim_size: Optional[int] = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(the least of each group, where along ``dim`` it is): as :func:`scatter_max`."""
    if not torch.jit.is_scripting():
        return _kernels.scatter_min(src, index, dim, out, dim_size)
    return torch.ops.torch_scatter.scatter_min(src, index, dim, out, dim_size)


def scatter_max(
    src: torch.Tensor,
    index: torch.Tensor,
    dim: int = -1,
    out: Optional[torch.Tensor] = None,
    dim_size: Optional[int] = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(the greatest of each group, where along ``dim`` it is).

    Of equal ones the first counts, on every device, and it alone has a gradient.  An empty group is (0,
    ``src.size(dim)``).  With ``out`` what is there competes, and where it stays the place is ``src.size(dim)``.  A
    NaN is the greatest and the least, and -inf a value like others; the compiled 2.1.2 passes NaNs over and has 0 for
    a group of nothing but -inf.
    """
    if not torch.jit.is_scripting():
        return _kernels.scatter_max(src, index, dim, out, dim_size)
    return torch.ops.torch_scatter.scatter_max(src, index, dim, out, dim_size)


def scatter(
    src: torch.Tensor,
    index: torch.Tensor,
    dim: int = -1,
    out: Optional[torch.Tensor] = None,
    dim_size: Optional[int] = None,
    reduce: str = "sum",
) -> torch.Tensor:
    """Each group along ``dim`` reduced by ``reduce``: "sum" or "add", "mul", "mean", "min", "max".

    Shapes: ``src`` (..., n, ...), ``index`` the same or what broadcasts to it, the result (..., ``dim_size``, ...).
    ValueError for another ``reduce``.
    """
    if not torch.jit.is_scripting():
        if reduce == "min" or reduce == "max":
            return _kernels.scatter_value(src, index, dim, out, dim_size, "a" + reduce)
    if reduce == "sum" or reduce == "add":
        return scatter_sum(src, index, dim, out, dim_size)
    if reduce == "mul":
        return scatter_mul(src, index, dim, out, dim_size)
    elif reduce == "mean":
        return scatter_mean(src, index, dim, out, dim_size)
    elif reduce == "min":
        return scatter_min(src, index, dim, out, dim_size)[0]
    elif reduce == "max":
        return scatter_max(src, index, dim, out, dim_size)[0]
    else:
        raise ValueError(f"reduce is 'sum', 'add', 'mul', 'mean', 'min' or 'max', not '{reduce}'")
