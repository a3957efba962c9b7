"""The reductions, with operators that torch has; each function takes what the compiled operator of its name takes.

Large rows on the CPU are brought into the order of their groups and reduced by the operators that are fastest there
(:mod:`._rows`).  Everything else, and all that is traced, compiled or transformed, goes through ``index_add``,
``scatter_reduce`` and ``gather``.
"""

from typing import Optional

import torch
from torch import Tensor

from . import _rows, _vectors
from ._index import Index, between, by_index, by_pointers, by_sorted_index, require
from ._product import multiplied

Two = tuple[Tensor, Tensor]


def cuda_version() -> int:
    """The CUDA that the kernels were compiled with: -1, there are none."""
    return -1


# --- groups named by an index ---------------------------------------------------------------------


def scatter_sum(src: Tensor, index: Tensor, dim: int, out: Optional[Tensor], dim_size: Optional[int]) -> Tensor:
    at = by_index(src, index, dim, out, dim_size)
    if out is None and _rows.pays(src, at, sorting=True):
        return _rows.sum(src, at)
    return _sum(src, at, out)


def scatter_mean(src: Tensor, index: Tensor, dim: int, out: Optional[Tensor], dim_size: Optional[int]) -> Tensor:
    at = by_index(src, index, dim, out, dim_size)
    if out is None and _rows.pays(src, at, sorting=True):
        return _rows.mean(src, at)
    mean = _divided(_sum(src, at, out), _count(at, src), "floor")
    return mean if out is None else out.copy_(mean)


def scatter_mul(src: Tensor, index: Tensor, dim: int, out: Optional[Tensor], dim_size: Optional[int]) -> Tensor:
    at = by_index(src, index, dim, out, dim_size)
    if src.numel() == 0 and out is None:
        return _sum(src, at, None)  # 0 there, not 1, as in the compiled one
    product = multiplied(src, at.full, at.dim, at.groups)
    return product if out is None else out.copy_(out.detach().clone() * product)


def scatter_min(src: Tensor, index: Tensor, dim: int, out: Optional[Tensor], dim_size: Optional[int]) -> Two:
    return _extreme(src, by_index(src, index, dim, out, dim_size), out, "amin")


def scatter_max(src: Tensor, index: Tensor, dim: int, out: Optional[Tensor], dim_size: Optional[int]) -> Two:
    return _extreme(src, by_index(src, index, dim, out, dim_size), out, "amax")


def scatter_value(
    src: Tensor, index: Tensor, dim: int, out: Optional[Tensor], dim_size: Optional[int], how: str
) -> Tensor:
    """The least ("amin") or greatest ("amax") of each group, without its place, which is more than half the work."""
    return _value(src, by_index(src, index, dim, out, dim_size), out, how)


# --- groups named by an index in ascending order --------------------------------------------------


def segment_sum_coo(src: Tensor, index: Tensor, out: Optional[Tensor], dim_size: Optional[int]) -> Tensor:
    at = by_sorted_index(src, index, out, dim_size)
    if out is None and _rows.pays(src, at):
        return _rows.sum(src, at)
    return _finished(_sum(_wide(src), at, None), None, src, out, add=True)


def segment_mean_coo(src: Tensor, index: Tensor, out: Optional[Tensor], dim_size: Optional[int]) -> Tensor:
    at = by_sorted_index(src, index, out, dim_size)
    if out is None and _rows.pays(src, at):
        return _rows.mean(src, at)
    return _finished(_sum(_wide(src), at, None), _count(at, src), src, out, add=True)


def segment_min_coo(src: Tensor, index: Tensor, out: Optional[Tensor], dim_size: Optional[int]) -> Two:
    return _extreme(src, by_sorted_index(src, index, out, dim_size), out, "amin")


def segment_max_coo(src: Tensor, index: Tensor, out: Optional[Tensor], dim_size: Optional[int]) -> Two:
    return _extreme(src, by_sorted_index(src, index, out, dim_size), out, "amax")


def segment_value_coo(src: Tensor, index: Tensor, out: Optional[Tensor], dim_size: Optional[int], how: str) -> Tensor:
    return _value(src, by_sorted_index(src, index, out, dim_size), out, how)


def gather_coo(src: Tensor, index: Tensor, out: Optional[Tensor]) -> Tensor:
    require(src.dim() >= index.dim() > 0, src, index)
    dim = index.dim() - 1
    shape = [*src.shape[:dim], index.size(dim), *src.shape[dim + 1 :]]
    return _gathered(src, Index(index, shape, dim, src.size(dim)), out)


# --- groups between pointers ----------------------------------------------------------------------


def segment_sum_csr(src: Tensor, indptr: Tensor, out: Optional[Tensor]) -> Tensor:
    return _segment_csr(src, indptr, out, mean=False)


def segment_mean_csr(src: Tensor, indptr: Tensor, out: Optional[Tensor]) -> Tensor:
    return _segment_csr(src, indptr, out, mean=True)


def segment_min_csr(src: Tensor, indptr: Tensor, out: Optional[Tensor]) -> Two:
    return _extreme_csr(src, indptr, out, "amin")


def segment_max_csr(src: Tensor, indptr: Tensor, out: Optional[Tensor]) -> Two:
    return _extreme_csr(src, indptr, out, "amax")


def _segment_csr(src: Tensor, indptr: Tensor, out: Optional[Tensor], mean: bool) -> Tensor:
    require(src.dim() >= indptr.dim() > 0, src, indptr)
    if indptr.dim() > 1 or not _rows.eager(src):
        at = by_pointers(indptr, src.shape)
        total = _sum(_wide(src), at, None).narrow(at.dim, 0, at.groups - 1)
        count = _lengths(indptr, src) if mean else None
        return _finished(total, count, src, out, add=False)
    inside, at, _ = _inside(src, indptr)
    if out is None and _vectors.pays(inside, at):
        return _vectors.segments(inside, at, "mean" if mean else "sum")
    if out is None and _rows.pays(inside, at, columns=1):
        return _rows.mean(inside, at) if mean else _rows.sum(inside, at)
    count = _lengths(indptr, src) if mean else None
    return _finished(_sum(_wide(inside), at, None), count, src, out, add=False)


def _extreme_csr(src: Tensor, indptr: Tensor, out: Optional[Tensor], how: str) -> Two:
    require(src.dim() >= indptr.dim() > 0, src, indptr)
    if indptr.dim() > 1 or not _rows.eager(src):
        at = by_pointers(indptr, src.shape)
        value, arg = (found.narrow(at.dim, 0, at.groups - 1) for found in _extreme(src, at, None, how))
    else:
        inside, at, first = _inside(src, indptr)
        value, arg = _extreme(inside, at, None, how)
        if inside is not src:
            arg = torch.where(arg == inside.size(0), src.size(0), arg + first)
    return value if out is None else out.copy_(value), arg


def segment_value_csr(src: Tensor, indptr: Tensor, out: Optional[Tensor], how: str) -> Tensor:
    require(src.dim() >= indptr.dim() > 0, src, indptr)
    if indptr.dim() > 1 or not _rows.eager(src):
        return _extreme_csr(src, indptr, out, how)[0]
    inside, at, _ = _inside(src, indptr)
    value = _value(inside, at, None, how)
    return value if out is None else out.copy_(value)


def _lengths(indptr: Tensor, src: Tensor) -> Tensor:
    """How many elements each group has, to be broadcast to the result."""
    lengths = indptr[..., 1:] - indptr[..., :-1]  # which takes a third of diff()
    return lengths.view(list(lengths.shape) + [1] * (src.dim() - indptr.dim()))


def _inside(src: Tensor, indptr: Tensor) -> tuple[Tensor, Index, int]:
    """(the elements that pointers of one dimension enclose, their groups, the place of the first)."""
    first, at = between(indptr, src.shape)
    return src if at.shape[0] == src.size(0) else src.narrow(0, first, at.shape[0]), at, first


def gather_csr(src: Tensor, indptr: Tensor, out: Optional[Tensor]) -> Tensor:
    require(src.dim() >= indptr.dim() > 0, src, indptr)
    dim, groups = indptr.dim() - 1, max(indptr.size(-1) - 1, 0)
    require(src.size(dim) == groups, src, indptr)
    end = int(indptr.flatten()[-1]) if out is None and src.numel() and indptr.numel() else 0
    length = end if out is None else out.size(dim)
    shape = [*src.shape[:dim], length, *src.shape[dim + 1 :]]
    if indptr.dim() == 1 and _rows.eager(src) and src.numel() and int(indptr[0]) == 0:
        return _gathered(src, between(indptr, shape)[1], out)
    nobody = src.new_zeros([*src.shape[:dim], 1, *src.shape[dim + 1 :]])  # what pointers do not enclose is 0
    return _gathered(torch.cat([src, nobody], dim), by_pointers(indptr, shape), out)


# --- what these are made of -----------------------------------------------------------------------


def _shape(src: Tensor, at: Index) -> list[int]:
    return [*src.shape[: at.dim], at.groups, *src.shape[at.dim + 1 :]]


def _sum(src: Tensor, at: Index, out: Optional[Tensor]) -> Tensor:
    """The sums, in the type of ``src``; added to ``out`` where that is given."""
    start = src.new_zeros(_shape(src, at)) if out is None else out
    line = at.lined and src.dim() > 1 and src.numel() > 0
    if out is None and not _rows.eager(src):
        return start.index_add(at.dim, at.line, src) if line else start.scatter_add(at.dim, at.full, src)
    return start.index_add_(at.dim, at.line, src) if line else start.scatter_add_(at.dim, at.full, src)


def _count(at: Index, src: Tensor) -> Tensor:
    """How many elements each group has, to be broadcast to the result: exact in half precision too."""
    whole = src.dtype == torch.float64 or (src.dtype == torch.float32 and src.numel() < 1 << 24)
    exact = src.dtype if whole else torch.int64
    if not at.lined:
        one = torch.ones((), dtype=exact, device=src.device).expand(at.full.shape)
        shape = [*at.full.shape[: at.dim], at.groups, *at.full.shape[at.dim + 1 :]]
        return one.new_zeros(shape).scatter_add(at.dim, at.full, one)
    one = torch.ones(at.line.shape, dtype=exact, device=src.device)
    return one.new_zeros(at.groups).scatter_add(0, at.line, one).view([-1] + [1] * (src.dim() - at.dim - 1))


def _divided(total: Tensor, count: Tensor, rounding: str) -> Tensor:
    count = count.clamp(min=1)
    if total.is_floating_point() or total.is_complex():
        return total / count
    return total.div(count, rounding_mode=rounding).to(total.dtype)


def _wide(src: Tensor) -> Tensor:
    """Half precision is summed in single precision, as the compiled segment functions do."""
    return src.float() if src.dtype in (torch.float16, torch.bfloat16) else src


def _finished(total: Tensor, count: Optional[Tensor], src: Tensor, out: Optional[Tensor], add: bool) -> Tensor:
    """The sums or means of segments in the type of ``src``, put or added to ``out``."""
    total = out + total if out is not None and add else total
    total = total if count is None else _divided(total, count, "trunc")
    return total.to(src.dtype) if out is None else out.copy_(total)


def _value(src: Tensor, at: Index, out: Optional[Tensor], how: str) -> Tensor:
    """The least or greatest of each group."""
    if out is None and _rows.eager(src):
        found = _vectors.extreme(src, at, how, place=False) if at.ordered and _vectors.pays(src, at) else None
        if found is None and _rows.pays(src, at, columns=1):
            found = _rows.extreme(src, at, how, place=False)
        if found is not None:
            return found[0]
        if not (src.requires_grad and torch.is_grad_enabled()):
            return src.new_zeros(_shape(src, at)).scatter_reduce_(at.dim, at.full, src, how, include_self=False)
    return _extreme(src, at, out, how)[0]


def _extreme(src: Tensor, at: Index, out: Optional[Tensor], how: str) -> Two:
    """(the least or greatest of each group, where it is): the first of equal ones, and a NaN before all."""
    if out is None:
        found = _vectors.extreme(src, at, how, place=True) if _vectors.pays(src, at) else None
        if found is None and _rows.pays(src, at, columns=1):
            found = _rows.extreme(src, at, how, place=True)
        if found is not None and found[1] is not None:
            return found[0], found[1]
    if src.dtype == torch.bool:
        value, arg = _extreme(src.to(torch.uint8), at, None if out is None else out.to(torch.uint8), how)
        return value.bool() if out is None else out.copy_(value), arg
    dim, length = at.dim, src.size(at.dim)
    shape = _shape(src, at)
    if length == 0:
        arg = torch.zeros(shape, dtype=torch.int64, device=src.device)
        nothing = _sum(src, at, None)
        return nothing if out is None else out.copy_(out + nothing), arg
    eager = _rows.eager(src)
    reduced = Tensor.scatter_reduce_ if eager else Tensor.scatter_reduce
    values = src.detach()
    start = values.new_full(shape, _rows.last(src.dtype, how)) if out is None else out.detach()
    into = reduced if out is None else Tensor.scatter_reduce
    best = into(start, dim, at.full, values, how)
    hit = values == best.gather(dim, at.full)
    if src.is_floating_point():
        hit = hit | values.isnan()
    if out is not None:  # which stays where nothing is better
        hit = hit & (values != start.gather(dim, at.full))
    if eager and src.dim() == 1:
        arg = _rows.first(hit, at)
    else:
        places = torch.arange(length, device=src.device).view([-1] + [1] * (src.dim() - dim - 1))
        nowhere = torch.full(shape, length, dtype=torch.int64, device=src.device)
        arg = reduced(nowhere, dim, at.full, torch.where(hit, places, length), "amin")
    if eager and out is None and not (src.requires_grad and torch.is_grad_enabled()):
        return best.masked_fill_(arg == length, 0), arg
    chosen = src.gather(dim, arg.clamp(max=length - 1))
    if out is None:
        return chosen.masked_fill(arg == length, 0), arg
    return out.copy_(torch.where(arg == length, out, chosen)), arg


def _gathered(src: Tensor, at: Index, out: Optional[Tensor]) -> Tensor:
    if not at.lined or src.numel() == 0:
        found = src.gather(at.dim, at.full)
    elif out is None and _rows.pays_to_gather(src, at):
        found = _rows.gather(src, at)
    else:
        found = src.index_select(at.dim, at.line)
    return found if out is None else out.copy_(found)
