"""Where the elements of a tensor go along one of its dimensions."""

from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor

# Of fewer elements nothing is shared out among threads.  repeat_interleave always is, and where another program has
# the second core, a call of microseconds then waits for milliseconds.
SERIAL = 1 << 15


def require(holds: bool, src: Tensor, index: Tensor) -> None:
    """RuntimeError, in the compiled extension's words, where shapes do not go together."""
    if not holds:
        raise RuntimeError(f"Input mismatch: src is {tuple(src.shape)}, the index {tuple(index.shape)}")


class Index:
    """An index of ``groups`` groups along ``dim``: a ``line`` where it is the same everywhere else, or ``full``.

    ``pointers``, where the line is in ascending order, say where each group begins in it, and where the last ends;
    when they have been looked at, ``filled`` tells whether it is known that no group is empty.
    """

    filled = False
    _lengths: Optional[Tensor]

    def __init__(
        self, index: Optional[Tensor], shape: Sequence[int], dim: int, groups: int, pointers: Optional[Tensor] = None
    ) -> None:
        self.dim, self.groups, self.shape = dim, groups, shape
        self._pointers, self._lengths = pointers, None
        self._full: Optional[Tensor] = None
        index = None if index is None else index.long()  # torch's gather is wrong for an expanded int32 index
        self._line = index
        if index is not None and (index.dim() != 1 or index.size(0) != shape[dim]):
            self._full = spread(index, shape, dim)
            self._line = _line(self._full, dim)

    @property
    def pointers(self) -> Tensor:
        """RuntimeError where they descend."""
        assert self._pointers is not None
        if self._lengths is None and self._pointers.size(0) > 1:
            self._lengths = self._pointers[1:] - self._pointers[:-1]  # which takes a third of diff()
            shortest = int(self._lengths.min())
            if shortest < 0:
                raise RuntimeError("the pointers descend")
            self.filled = shortest > 0
        return self._pointers

    @property
    def lengths(self) -> Tensor:
        """How many elements each group between pointers has."""
        pointers = self.pointers
        return pointers.diff() if self._lengths is None else self._lengths

    @property
    def ordered(self) -> bool:
        """Are there pointers?"""
        return self._pointers is not None

    @property
    def lined(self) -> bool:
        return self._line is not None or self._pointers is not None

    @property
    def line(self) -> Tensor:
        """int64, one for each place along ``dim``."""
        if self._line is None:
            length, pointers = self.shape[self.dim], self.pointers
            if length < SERIAL:
                unread = pointers.new_empty(length)
                self._line = torch._convert_indices_from_csr_to_coo(pointers, unread)[0]
            else:
                self._line = torch.repeat_interleave(self.lengths, output_size=length)
        return self._line

    @property
    def full(self) -> Tensor:
        """int64 in the shape of what is indexed."""
        if self._full is None:
            self._full = spread(self.line, self.shape, self.dim)
        return self._full


def spread(index: Tensor, shape: Sequence[int], dim: int) -> Tensor:
    """The index in this shape: a line lies along ``dim``, missing last dimensions are added."""
    if index.dim() == 1:
        return index.view([1] * dim + [-1] + [1] * (len(shape) - dim - 1)).expand(shape)
    return index.view(list(index.shape) + [1] * (len(shape) - index.dim())).expand(shape)


def _line(full: Tensor, dim: int) -> Optional[Tensor]:
    for axis in range(full.dim()):
        if axis != dim and full.size(axis) != 1 and (full.stride(axis) != 0 or full.size(axis) == 0):
            return None
    for axis in range(full.dim() - 1, -1, -1):
        if axis != dim:
            full = full.select(axis, 0)
    return full


def by_index(src: Tensor, index: Tensor, dim: int, out: Optional[Tensor], dim_size: Optional[int]) -> Index:
    """The groups that an index names; as many as the result is to have, or the greatest index says."""
    require(-src.dim() <= dim < src.dim() and index.dim() <= src.dim(), src, index)
    dim = dim + src.dim() if dim < 0 else dim
    groups = _size(src.numel() > 0, index, out, dim, dim_size)
    return Index(index, src.shape, dim, groups)


def by_sorted_index(src: Tensor, index: Tensor, out: Optional[Tensor], dim_size: Optional[int]) -> Index:
    """The groups that an index names in ascending order along its last dimension."""
    require(src.dim() >= index.dim() > 0, src, index)
    dim = index.dim() - 1
    filled = src.shape[: index.dim()].numel() > 0 and index.numel() > 0
    groups = _size(filled, index.select(-1, -1) if filled else index, out, dim, dim_size)
    return Index(index, src.shape, dim, groups)


def _size(filled: bool, index: Tensor, out: Optional[Tensor], dim: int, dim_size: Optional[int]) -> int:
    if out is not None:
        return out.size(dim)
    if dim_size is not None:
        return dim_size
    return int(index.max()) + 1 if filled and index.numel() else 0


def by_pointers(indptr: Tensor, shape: Sequence[int]) -> Index:
    """The groups that lie between pointers, and one more, the last, for what is in none of them."""
    dim, groups, length = indptr.dim() - 1, max(indptr.size(-1) - 1, 0), shape[indptr.dim() - 1]
    places = torch.arange(length, device=indptr.device)
    if dim:
        indptr = indptr.expand(*shape[:dim], -1).contiguous()
        places = places.expand(*shape[:dim], -1).contiguous()
    index = torch.searchsorted(indptr, places, right=True) - 1
    return Index(torch.where(index < 0, groups, index), shape, dim, groups + 1)


def between(indptr: Tensor, shape: Sequence[int]) -> tuple[int, Index]:
    """(the first pointer, the groups of the elements from there to the last pointer), of pointers of one dimension.

    RuntimeError where they leave the elements that there are; where they descend, when the groups are looked at.
    """
    first, last = (int(indptr[0]), int(indptr[-1])) if indptr.numel() else (0, 0)
    if first < 0 or last > shape[0]:
        raise RuntimeError(f"pointers from {first} to {last} leave the {shape[0]} elements of src")
    pointers = (indptr - first if first else indptr).long()
    return first, Index(None, [last - first, *shape[1:]], 0, max(indptr.size(0) - 1, 0), pointers)
