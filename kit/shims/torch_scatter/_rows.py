"""Large matrices and vectors on the CPU: their rows by group, reduced by the operators that are fastest there.

Chosen by measuring, float32, on one thread and two (``kit bench`` measures again):

* sums of rows: ``embedding_bag`` over the rows in the order of their groups; for an index in any order, with the
  sorting, from 8 columns on;
* least and greatest of rows, and where they are: a sparse matrix product that reduces by them, in one pass;
* least and greatest of a vector: ``segment_reduce`` or ``scatter_reduce``; where it is comes with the value in double
  precision, or by comparing when a gradient needs it.  Where groups are long, blocks of 32 are reduced first.

What has a gradient can be differentiated again.
"""

import functools
import math
import warnings
from typing import Any, Optional

import torch
from torch import Tensor

from ._index import Index

LARGE = 1 << 16  # elements; below, the calls themselves are what takes time
COLUMNS = 8
BLOCK = 32
KEYS = (1 << 29) - 1  # double precision has 52 bits, single precision 23


def eager(src: Tensor) -> bool:
    """Is this a plain tensor in plain Python, so that what is done may depend on what it holds?"""
    return (
        type(src) in (Tensor, torch.nn.Parameter)
        and not torch.compiler.is_compiling()
        and not torch._C._is_tracing()
        and not torch._C._are_functorch_transforms_active()
        and torch._C._len_torch_dispatch_stack() == 0
        and torch.autograd.forward_ad._current_level < 0
    )


def pays(src: Tensor, at: Index, columns: int = COLUMNS, sorting: bool = False) -> bool:
    """Is ``src`` a large matrix, of so many columns at least, and the same index for each of them?  To pay for
    ``sorting`` that index there have to be many rows: a few are still in the cache when they are added up."""
    rows, elements = src.size(at.dim), src.numel()
    if not eager(src) or not _large(src, rows if sorting else elements, at) or elements < columns * rows:
        return False
    # What a cache holds, added up in it in any order, is not worth the sorting.
    return not sorting or elements >= 32 * LARGE or at.groups * elements >= LARGE * rows


def _large(src: Tensor, elements: int, at: Index) -> bool:
    return (
        LARGE <= elements < 1 << 31
        and at.lined
        and src.device.type == "cpu"
        and src.dtype in (torch.float32, torch.float64)
        and src.shape[: at.dim].numel() == 1
    )


def _matrix(src: Tensor, at: Index) -> Tensor:
    return src.reshape(src.size(at.dim), -1)


def _as_src(found: Tensor, src: Tensor, at: Index) -> Tensor:
    return found.reshape([*src.shape[: at.dim], -1, *src.shape[at.dim + 1 :]])


def _by_group(at: Index) -> tuple[Tensor, Tensor]:
    """(rows in the order of their groups, where each group begins there and the last ends), int32.

    RuntimeError where the index leaves the groups that there are.
    """
    if at.ordered:
        return torch.arange(at.shape[at.dim], dtype=torch.int32), at.pointers.to(torch.int32)
    line, (low, high) = at.line, torch.aminmax(at.line)
    if not 0 <= int(low) <= int(high) < at.groups:
        raise RuntimeError(f"index {int(low if low < 0 else high)} is out of bounds for {at.groups} groups")
    if bool((line[1:] >= line[:-1]).all()):
        order = torch.arange(line.size(0), dtype=torch.int32)
    else:
        line, order = line.to(torch.int16 if at.groups < 1 << 15 else torch.int32).sort(stable=True)
    pointers = torch._convert_indices_from_coo_to_csr(line.to(torch.int32), at.groups, out_int32=True)
    return order.to(torch.int32), pointers


# --- sums and means -------------------------------------------------------------------------------


def sum(src: Tensor, at: Index) -> Tensor:
    return _bag(src, at, 0)


def mean(src: Tensor, at: Index) -> Tensor:
    return _bag(src, at, 1)


def _bag(src: Tensor, at: Index, mode: int) -> Tensor:
    return _as_src(_summed(_matrix(src, at), at, mode), src, at)


def _summed(matrix: Tensor, at: Index, mode: int) -> Tensor:
    if matrix.requires_grad and torch.is_grad_enabled():
        return _Bag.apply(matrix, at, mode)
    return torch.embedding_bag(matrix, *_by_group(at), False, mode, False, None, True)[0]


class _Bag(torch.autograd.Function):
    """``embedding_bag``, with a gradient that is gathered, as each row is in one group."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, at: Index, mode: int) -> Tensor:
        order, pointers = _by_group(at)
        ctx.at, ctx.counts = at, pointers.diff() if mode else None
        return torch.embedding_bag(matrix, order, pointers, False, mode, False, None, True)[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        if ctx.counts is not None:
            grad = grad / ctx.counts.clamp(min=1).unsqueeze(1)
        return picked(grad, ctx.at.line), None, None


def picked(matrix: Tensor, line: Tensor) -> Tensor:
    """Rows by number; those of a single column as a vector's elements, which is five times faster."""
    if matrix.size(1) == 1:
        return matrix.reshape(-1).index_select(0, line).unsqueeze(1)
    return matrix.index_select(0, line)


# --- the least and the greatest -------------------------------------------------------------------


def last(dtype: torch.dtype, how: str) -> float:
    """What every value of this type is better than, or as good as."""
    if dtype.is_floating_point:
        return float("-inf") if how == "amax" else float("inf")
    return torch.iinfo(dtype).min if how == "amax" else torch.iinfo(dtype).max


def extreme(src: Tensor, at: Index, how: str, place: bool) -> Optional[tuple[Tensor, Optional[Tensor]]]:
    """(the least or greatest of each group, where it is if that is asked for), or None where some are not finite."""
    matrix = _matrix(src, at)
    values, grad = matrix.detach(), src.requires_grad and torch.is_grad_enabled()
    if values.size(1) > 1:
        found = _by_product(values, at, how, place or grad)
    elif at.ordered and at.groups * 4 * BLOCK <= values.size(0):
        found = _by_blocks(values.view(-1), at, how, place or grad)
    else:
        found = None
        if at.ordered and (place or grad):
            found = _by_keys(values.view(-1), at, how)
        if found is None:
            found = _by_comparing(matrix.view(-1), at, how, place)
    if found is None:
        return None
    value, arg = found
    if grad and arg is not None:
        value = Chosen.apply(matrix, value.view(at.groups, -1), arg.view(at.groups, -1))
    return _as_src(value, src, at), None if arg is None else _as_src(arg, src, at)


@functools.cache
def _warn_once() -> None:
    """That sparse tensors are in beta is said once in a process: here, as nobody asked for one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.zeros(1, 1).to_sparse_csr()


def _by_product(values: Tensor, at: Index, how: str, place: bool) -> Optional[tuple[Tensor, Optional[Tensor]]]:
    order, pointers = _by_group(at)
    rows = order.size(0)
    ones = values.new_ones(rows)
    _warn_once()
    sparse = torch.sparse_csr_tensor(pointers, order, ones, (at.groups, rows), check_invariants=False)
    with torch.enable_grad():  # without a gradient in sight it leaves the places out
        value, arg = torch.ops.aten._sparse_mm_reduce_impl(sparse, values.requires_grad_(place), how)
    value = value.detach()
    if not bool(value.isfinite().all()):
        return None
    if not place:
        return value, None
    if at.ordered:
        return value, arg.long()
    return value, torch.cat([order, order.new_tensor([rows])]).long()[arg.view(-1)].view(arg.shape)


def _by_blocks(vector: Tensor, at: Index, how: str, place: bool) -> Optional[tuple[Tensor, Optional[Tensor]]]:
    """Of long groups in order: whole blocks first, then what is before a group's first and after its last block."""
    pointers, length, name = at.pointers, vector.size(0), how[1:]
    begin, end, near = pointers[:-1], pointers[1:], torch.arange(BLOCK)
    blocks = vector[: length // BLOCK * BLOCK].view(-1, BLOCK)
    best = getattr(blocks, how)(1)
    first, after = (begin + (BLOCK - 1)) // BLOCK, end // BLOCK  # those that a group has to itself
    bounds = torch.stack([first, torch.maximum(first, after)], 1).clamp_(max=best.size(0)).view(-1)
    value = torch.segment_reduce(best, name, offsets=bounds, unsafe=True)[::2]
    edges = torch.stack([begin, after * BLOCK], 1).unsqueeze(2) + near
    edges = edges.view(-1, 2 * BLOCK).clamp_(begin.unsqueeze(1), end.unsqueeze(1) - 1)
    edge = vector[edges]
    value = (torch.maximum if how == "amax" else torch.minimum)(value, getattr(edge, how)(1))
    if not math.isfinite(value.sum()):
        return None
    empty = begin == end
    if not place:
        return value.masked_fill_(empty, 0), None
    # The first block that has the value, between the edges; what is clamped is in the group too.
    wanted = torch.stack([value, value.new_full((), math.nan).expand(at.groups)], 1).view(-1)[:-1]
    wanted = wanted.repeat_interleave(bounds.diff())
    hit = (best[: wanted.size(0)] == wanted).nonzero().view(-1)
    block = torch.cat([hit, hit.new_zeros(1)])[torch.searchsorted(hit, first)]
    inner = ((block * BLOCK).unsqueeze(1) + near).clamp_(begin.unsqueeze(1), end.unsqueeze(1) - 1)
    places = torch.cat([edges[:, :BLOCK], inner, edges[:, BLOCK:]], 1)  # in ascending order
    values = torch.cat([edge[:, :BLOCK], vector[inner], edge[:, BLOCK:]], 1)
    column = torch.where(values == value.unsqueeze(1), torch.arange(3.0 * BLOCK), 3.0 * BLOCK - 1).amin(1)
    arg = places.gather(1, column.long().unsqueeze(1)).squeeze(1)
    return value.masked_fill_(empty, 0), arg.masked_fill_(empty, length)


def _by_comparing(source: Tensor, at: Index, how: str, place: bool) -> Optional[tuple[Tensor, Optional[Tensor]]]:
    """Of a vector; without a place this knows how to find the gradient."""
    vector, worst = source.detach(), last(source.dtype, how)
    value = _reduced(vector, at, how)
    if bool(value.isnan().any()) or bool((vector == worst).any()):
        return None
    if place:
        arg = first(vector == value.index_select(0, at.line), at)
        return value.masked_fill_(arg == vector.size(0), 0), arg
    empty = value == worst
    value.masked_fill_(empty, 0)
    if source.requires_grad and torch.is_grad_enabled():
        value = _Compared.apply(source, value, empty, at)
    return value, None


def first(hit: Tensor, at: Index) -> Tensor:
    """The first place of each group where there is a hit; the length where there is none."""
    places = hit.nonzero().view(-1)
    nowhere = at.line.new_full((at.groups,), hit.size(0))
    return nowhere.scatter_reduce_(0, at.line.index_select(0, places), places, "amin")


def _by_keys(vector: Tensor, at: Index, how: str) -> Optional[tuple[Tensor, Optional[Tensor]]]:
    """Of single precision as double precision: the place is in the 29 bits that are over, so the first is best."""
    if vector.dtype != torch.float32 or vector.size(0) > KEYS or not math.isfinite(vector.sum()):
        return None
    key = vector.double().add_(0.0)  # which makes -0 the same as 0
    place = torch.arange(vector.size(0))
    first_is_greater = (vector >= 0) if how == "amax" else (vector < 0)
    key.view(torch.int64).bitwise_or_(torch.where(first_is_greater, KEYS - place, place))
    best = _reduced(key, at, how)
    bits = best.view(torch.int64)
    arg = bits & KEYS
    value = (bits - arg).view(torch.float64).float()
    arg = torch.where((value >= 0) if how == "amax" else (value < 0), KEYS - arg, arg)
    empty = best == last(vector.dtype, how)
    return value.masked_fill_(empty, 0), arg.masked_fill_(empty, vector.size(0))


def _reduced(vector: Tensor, at: Index, how: str) -> Tensor:
    """The least or greatest of each group of a vector; of an empty group what everything is better than."""
    if at.ordered:
        return torch.segment_reduce(vector, how[1:], offsets=at.pointers, unsafe=True)
    start = vector.new_full((at.groups,), last(vector.dtype, how))
    return start.scatter_reduce_(0, at.line, vector, how)


class Chosen(torch.autograd.Function):
    """Values whose places are known: each gets the gradient."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, value: Tensor, arg: Tensor) -> Tensor:
        ctx.save_for_backward(arg)
        ctx.rows = matrix.size(0)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (arg,) = ctx.saved_tensors
        return _put(grad, arg, ctx.rows), None, None


def _put(grad: Tensor, arg: Tensor, rows: int) -> Tensor:
    """The gradient at the chosen places of each column, 0 elsewhere; one row more is for empty groups."""
    return grad.new_zeros((rows + 1, *grad.shape[1:])).scatter_(0, arg, grad).narrow(0, 0, rows)


class _Compared(torch.autograd.Function):
    """Values of a vector, whose places are looked for when there is a gradient for them."""

    @staticmethod
    def forward(ctx: Any, vector: Tensor, value: Tensor, empty: Tensor, at: Index) -> Tensor:
        ctx.save_for_backward(vector, value, empty)
        ctx.at = at
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        vector, value, empty = ctx.saved_tensors
        hit = vector.detach() == value.index_select(0, ctx.at.line)
        if int(hit.sum()) == empty.size(0) - int(empty.sum()):  # no two are equal
            return torch.where(hit, grad.index_select(0, ctx.at.line), 0), None, None, None
        arg = first(hit, ctx.at)
        return _put(grad, arg, vector.size(0)), None, None, None


# --- gathering ------------------------------------------------------------------------------------


def pays_to_gather(src: Tensor, at: Index) -> bool:
    """Is a gradient wanted, which sums large rows by group?"""
    return eager(src) and src.requires_grad and torch.is_grad_enabled() and _large(src, math.prod(at.shape), at)


def gather(src: Tensor, at: Index) -> Tensor:
    return _as_src(_Gathered.apply(_matrix(src, at), at), src, at)


class _Gathered(torch.autograd.Function):
    """Rows by the group that they are in."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, at: Index) -> Tensor:
        ctx.at = at
        return picked(matrix, at.line)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return _summed(grad.contiguous(), ctx.at, 0), None
