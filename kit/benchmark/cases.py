"""What is timed: the grid of cases, their inputs, the bytes that each must move, and what its results have to be."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, Optional, Union

from kit.errors import KitError
from kit.record import Record

REDUCTIONS = {"scatter": ("sum", "mean", "min", "max", "softmax"), "segment": ("sum", "mean", "min", "max")}
OPERATIONS = tuple(f"{kind}-{reduce}" for kind, reduces in REDUCTIONS.items() for reduce in reduces)
INDICES = {"scatter": ("uniform", "sorted", "power-law"), "segment": ("sorted", "power-law")}
QUICK_INDICES = {"scatter": ("uniform", "power-law"), "segment": ("sorted",)}

SIZES = (10**4, 10**5, 10**6, 10**7, 10**8)
FEATURES = (1, 16, 64, 256)
QUICK_SIZES = {"cpu": (10**4, 10**5), "cuda": (10**5, 10**6)}
QUICK_FEATURES = (1, 16)
# Rows in a group: many groups as the nodes of a graph, few as the graphs of a batch.
MANY, FEW = 4, 1000

# Of the degrees in real graphs.  Power laws fitted to them have exponents between 2 and 3: 2.12 the Internet, 2.34
# links to web sites, 3.1 proteins, 3.16 citations (Clauset, Shalizi and Newman, SIAM Review 51, 661, 2009).
EXPONENT = 2.5

TOLERANCE = 1e-5  # of the magnitudes that were added up; float32 keeps 6e-8


class Case(Record):
    """One thing to time: an operation on ``rows`` of ``features`` float32 numbers that fall into ``groups``.

    ``kind`` is ``scatter`` (with an index of the rows) or ``segment`` (with the limits of sorted groups), ``index``
    how the rows are spread, ``backward`` whether the gradient of the source is computed as well.
    """

    kind: str
    reduce: str
    backward: bool
    rows: int
    features: int
    groups: int
    index: str

    @property
    def operation(self) -> str:
        return f"{self.kind}-{self.reduce}"

    @property
    def data(self) -> tuple[Any, ...]:
        """What the inputs depend on."""
        return (self.kind, self.rows, self.features, self.groups, self.index)


def grid(operations: Sequence[str], sizes: Sequence[int], features: Sequence[int], quick: bool) -> list[Case]:
    """The cases in the order in which they are timed: small ones first, those with the same inputs together."""
    cases = []
    for rows, columns, (kind, reduces) in itertools.product(sizes, features, REDUCTIONS.items()):
        for index, members in itertools.product(INDICES[kind], (MANY,) if quick else (FEW, MANY)):
            # The degrees of a graph are those of its many nodes.  Quickly, each kind has the inputs that suit it.
            if (index == "power-law" and members == FEW) or (quick and index not in QUICK_INDICES[kind]):
                continue
            groups = max(1, rows // members)
            for reduce, backward in itertools.product(reduces, (False, True)):
                if f"{kind}-{reduce}" in operations:
                    cases.append(Case(kind, reduce, backward, rows, columns, groups, index))
    return cases


def operations(asked: Union[str, Sequence[str], None]) -> tuple[str, ...]:
    """The operations that are meant: ``scatter-sum``, ``scatter`` for all of its kind, ``sum`` for both kinds."""
    words = _words(asked)
    for word in words:
        if not any(_meant(word, operation) for operation in OPERATIONS):
            raise KitError(f"no operation is called {word!r}; there are {', '.join(OPERATIONS)}, scatter, sum, ...")
    return tuple(o for o in OPERATIONS if not words or any(_meant(word, o) for word in words))


def _meant(word: str, operation: str) -> bool:
    return word == operation or word in operation.split("-")


def numbers(asked: Union[str, Sequence[int], None], name: str, most: int) -> tuple[int, ...]:
    """Whole numbers from 1 to ``most``, sorted, out of ``"1e4, 100000"`` or a list."""
    found = set()
    for word in _words(asked):
        try:
            number = float(word)
        except ValueError:
            number = math.nan
        if not (number.is_integer() and 1 <= number <= most):
            raise KitError(f"{name}: {word!r} is not a whole number from 1 to {most}")
        found.add(int(number))
    return tuple(sorted(found))


def _words(asked: Union[str, Sequence[Any], None]) -> list[str]:
    parts = asked.split(",") if isinstance(asked, str) else [str(item) for item in asked or ()]
    return [part.strip() for part in parts if part.strip()]


def bytes_moved(case: Case) -> int:
    """The bytes that must be read or written even if each were touched once; float32 numbers, int64 positions.

    Forward: the source and the index (segment: the limits of the groups) are read, the result is written.  Backward:
    the gradient of the result and the index are read, the gradient of the source is written; of softmax its result
    is read as well.  What an implementation keeps for itself, sorts or writes twice is not in it.
    """
    source = 4 * case.rows * case.features
    places = 8 * (case.rows if case.kind == "scatter" else case.groups + 1)
    result = source if case.reduce == "softmax" else 4 * case.groups * case.features
    forward = source + places + result
    if not case.backward:
        return forward
    return forward + result + places + source + (result if case.reduce == "softmax" else 0)


def memory(case: Case) -> int:
    """About how many bytes the inputs, the results and the float64 reference of a case take together."""
    return 64 * case.rows * case.features + 48 * case.rows


def power_law(rows: int, groups: int, generator: Any) -> Any:
    """``rows`` groups drawn so that the sizes of the groups follow a power law with :data:`EXPONENT`.

    The group of rank r is drawn with a weight of r ** -(1 / (EXPONENT - 1)), as in the static model of Goh, Kahng and
    Kim (Physical Review Letters 87, 278701, 2001); which group has which rank is random.
    """
    import torch

    uniform = torch.rand(rows, generator=generator, dtype=torch.float64)
    rank = (groups * uniform ** ((EXPONENT - 1) / (EXPONENT - 2))).to(torch.int64).clamp_(max=groups - 1)
    return torch.randperm(groups, generator=generator)[rank]


class Inputs:
    """The tensors of a case: ``source``, ``index`` (of each row its group), ``places`` (what the operation gets:
    the index or the limits of the groups) and ``slope``, the gradient of the result.  One column is a vector."""

    def __init__(self, source: Any, index: Any, places: Any) -> None:
        self.source, self.index, self.places = source, index, places
        self.leaf = source.detach().requires_grad_()
        self.slope: Any = None

    def copy(self) -> "Inputs":
        index = self.index.clone()
        places = index if self.places is self.index else self.places.clone()
        return Inputs(self.source.clone(), index, places)


def inputs(case: Case, device: str) -> Inputs:
    """The inputs of a case, the same in every run."""
    import torch

    generator = torch.Generator().manual_seed(0)
    shape = (case.rows,) if case.features == 1 else (case.rows, case.features)
    source = torch.randn(shape, generator=generator)
    if case.index == "power-law":
        index = power_law(case.rows, case.groups, generator)
    else:
        index = torch.randint(case.groups, (case.rows,), generator=generator)
    if case.index == "sorted" or case.kind == "segment":
        index = index.sort().values
    places = index = index.to(device)
    if case.kind == "segment":
        sizes = torch.bincount(index, minlength=case.groups)
        places = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    return Inputs(source.to(device), index, places)


def slope(case: Case, given: Inputs) -> Any:
    """The gradient of the result, the same in every run."""
    import torch

    shape = given.source.shape if case.reduce == "softmax" else (case.groups, *given.source.shape[1:])
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(given.source.device)


def wrong(case: Case, given: Inputs, result: Any, gradient: Any) -> str:
    """What is wrong with a result, and with the gradient of the source where there is one; '' where nothing is.

    Compared with float64 sums.  Of equal least or greatest numbers any may get the gradient, or each a part.
    """
    problems = (_differs(what, *values) for what, *values in _comparisons(case, given, result, gradient))
    return next(filter(None, problems), "")


def _comparisons(case: Case, given: Inputs, result: Any, gradient: Any) -> Iterator[tuple[Any, ...]]:
    """(what, found, expected, magnitude of which TOLERANCE is allowed) of each thing to compare."""
    import torch

    x, index, g = given.source.double(), given.index, given.slope

    def total(values: Any) -> Any:
        return values.new_zeros((case.groups, *values.shape[1:])).index_add_(0, index, values)

    def extreme(reduce: str) -> Any:
        wide = index.view(-1, *[1] * (x.dim() - 1)).expand_as(x)
        start = x.new_full((case.groups, *x.shape[1:]), math.inf if reduce == "min" else -math.inf)
        best = start.scatter_reduce_(0, wide, x, f"a{reduce}")
        return best.masked_fill(best.isinf(), 0)

    if case.reduce in ("min", "max"):
        best = extreme(case.reduce)
        yield "values", result, best, None
        if gradient is not None:
            taken = x == best[index]
            yield "gradients", gradient.masked_fill(taken, 0), torch.zeros_like(x), None
            filled = torch.bincount(index, minlength=case.groups).view(-1, *[1] * (x.dim() - 1)) > 0
            yield "gradients", total(gradient.double()), g.double() * filled, g.abs()
        return
    if case.reduce == "softmax":
        powers = (x - extreme("max")[index]).exp()
        value = powers / total(powers)[index]
        yield "values", result, value, value
        if gradient is not None:
            steep = total(value * g)[index]
            magnitude = value * (g.abs() + total(value * g.abs())[index])
            # Rounding of the whole group may end up at its greatest number, from which all are counted.
            yield "gradients", gradient, value * (g - steep), magnitude + total(magnitude)[index] / 10
        return
    share = x.new_ones(case.groups)
    if case.reduce == "mean":
        share = 1 / torch.bincount(index, minlength=case.groups).clamp(min=1).double()
    share = share.view(-1, *[1] * (x.dim() - 1))
    yield "values", result, total(x) * share, total(x.abs()) * share
    if gradient is not None:
        expected = (g * share)[index]
        yield "gradients", gradient, expected, expected.abs()


def _differs(what: str, found: Any, expected: Any, magnitude: Optional[Any]) -> str:
    if found.device != expected.device:
        return f"it computed on {found.device.type}, not on {expected.device.type}"
    if found.shape != expected.shape:
        return f"its {what} have the shape {tuple(found.shape)} instead of {tuple(expected.shape)}"
    off = (found.double() - expected).abs()
    right = off == 0 if magnitude is None else off <= TOLERANCE * magnitude.double()
    number = int(right.numel() - right.sum())
    return f"{number} of {right.numel()} {what} are wrong, by up to {float(off.max()):.2g}" if number else ""
