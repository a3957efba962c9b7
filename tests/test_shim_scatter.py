"""torch_scatter on plain torch: equal to the compiled one but for its defects, differentiable and composable.

The compiled torch_scatter 2.1.2 is loaded first and stays the owner of torch.ops.torch_scatter in this process; what
is ours in torch.ops is tried in a process that has the replacement alone.
"""

import ast
import contextlib
import functools
import importlib
import inspect
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
from torch.autograd import forward_ad, gradcheck, gradgradcheck  # noqa: E402

try:
    import torch_scatter as real
except ImportError:
    real = None
if real is not None and "kit" in real.__version__:
    real = None

import kit.shims.torch_scatter as shim  # noqa: E402
from kit.shims.torch_scatter import _rows  # noqa: E402

TREE = Path(shim.__file__).parent
compared = pytest.mark.skipif(real is None, reason="needs the compiled torch_scatter")
quick = settings(
    max_examples=80, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
FLOATS = (torch.double, torch.float, torch.half, torch.bfloat16)
DTYPES = (*FLOATS, torch.int, torch.long, torch.short, torch.int8)
TOLERANCE = {torch.double: 1e-9, torch.float: 2e-5, torch.half: 2e-2, torch.bfloat16: 1e-1}
REDUCTIONS = ("sum", "mean", "min", "max")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Other tests run beside these, and threads that wait for one another take turns of milliseconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def t(values: Any, dtype: Any = None) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype)


# --- Equal to the compiled one ------------------------------------------------------------------------------------


class Numbers:
    """Numbers by a seed: small whole ones, of which every sum is exact and many are equal, or any."""

    def __init__(self, seed: int, exact: bool) -> None:
        self.seed, self.exact = seed, exact
        self.generator = torch.Generator().manual_seed(seed)

    def __repr__(self) -> str:
        return f"Numbers({self.seed}, {self.exact})"

    def whole(self, shape: Any, low: int, high: int) -> torch.Tensor:
        return torch.randint(low, high + 1, tuple(shape), generator=self.generator)

    def values(self, shape: Any, dtype: torch.dtype) -> torch.Tensor:
        if self.exact or not dtype.is_floating_point:
            return self.whole(shape, -4, 4).to(dtype)
        return torch.randn(tuple(shape), generator=self.generator, dtype=torch.double).to(dtype)

    def factors(self, shape: Any, dtype: torch.dtype) -> torch.Tensor:
        """None of them zero, and products that are exact."""
        two = self.whole(shape, 1, 2) * (self.whole(shape, 0, 1) * 2 - 1)
        return two.to(dtype) if self.exact or not dtype.is_floating_point else two + self.values(shape, dtype) / 8


class Case(NamedTuple):
    numbers: Numbers
    src: torch.Tensor
    index: torch.Tensor
    dim: int
    size: int  # how many groups there are
    dim_size: Optional[int] = None
    out: bool = False

    @property
    def output(self) -> list[int]:
        shape = list(self.src.shape)
        shape[self.dim] = self.size
        return shape

    def sized(self, name: str) -> Optional[int]:
        """``dim_size``, which upstream's means need where the source is empty and its index is not."""
        if name.endswith(("mean", "std", "logsumexp")) and not self.src.numel():
            return self.size
        return None if self.out else self.dim_size

    @property
    def tolerance(self) -> float:
        return 0.0 if self.numbers.exact else TOLERANCE.get(self.src.dtype, 0.0)

    def given_out(self, factors: bool = False) -> Optional[torch.Tensor]:
        make = self.numbers.factors if factors else self.numbers.values
        return make(self.output, self.src.dtype).to(self.src.dtype) if self.out else None


def laid_out(draw: Any, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in a layout of its own; the expanded one repeats a slice."""
    how = draw(st.sampled_from(("contiguous", "transposed", "strided", "expanded")))
    if how == "transposed":
        return tensor.transpose(0, -1).contiguous().transpose(0, -1)
    if how == "strided":
        return torch.stack([tensor, tensor], -1)[..., 0]
    if how == "expanded":
        axis = draw(st.integers(0, tensor.dim() - 1))
        return tensor.narrow(axis, 0, min(1, tensor.size(axis))).expand(tensor.shape)
    return tensor


SMALL, LONG = (4, 6, 3), (2, 40, 12)  # at most: dimensions, elements along the axis of the groups, and along others


def sizes(draw: Any, most: Any) -> tuple[list[int], int]:
    """A shape, one of its dimensions perhaps empty, and one of its axes."""
    dims = draw(st.integers(1, most[0]))
    axis = draw(st.integers(0, dims - 1))
    shape = [draw(st.integers(1, most[1] if i == axis else most[2])) for i in range(dims)]
    empty = draw(st.sampled_from([-1] * 6 + list(range(dims))))
    if empty >= 0:
        shape[empty] = 0
    return shape, axis


def leading(draw: Any, shape: list[int]) -> list[int]:
    """The leading dimensions of an index: as large as those of the source, or 1 to be broadcast."""
    return [n if draw(st.booleans()) else 1 for n in shape]


@st.composite
def scattered(draw: Any, dtypes: Any = DTYPES, factors: bool = False, outs: bool = True, most: Any = SMALL) -> Case:
    numbers = Numbers(draw(st.integers(0, 9999)), draw(st.booleans()))
    shape, axis = sizes(draw, most)
    make = numbers.factors if factors else numbers.values
    src = laid_out(draw, make(shape, draw(st.sampled_from(dtypes))))
    groups = draw(st.integers(1, 4))
    kind = draw(st.sampled_from(("line", "full", "leading", "ones")))
    full = shape if kind == "full" else shape[: axis + 1]
    if kind == "line":
        full = [shape[axis]]
    elif kind == "ones":
        full = [*leading(draw, shape[:axis]), shape[axis], *leading(draw, shape[axis + 1 :])]
    index = laid_out(draw, numbers.whole(full, 0, groups - 1))
    out = outs and draw(st.booleans())
    size = groups + draw(st.integers(0, 2))
    dim_size = draw(st.sampled_from((None, size)))
    return Case(numbers, src, index, draw(st.sampled_from((axis, axis - src.dim()))), size, dim_size, out)


@st.composite
def sorted_by_index(
    draw: Any, dtypes: Any = DTYPES, broadcast: bool = True, groups_of: str = "index", most: Any = SMALL
) -> Case:
    """For segment_coo, and with ``groups_of="src"`` for gather_coo: an index sorted along its last dimension."""
    numbers = Numbers(draw(st.integers(0, 9999)), draw(st.booleans()))
    shape, axis = sizes(draw, most)
    groups = draw(st.integers(1, 4))
    first = leading(draw, shape[:axis]) if broadcast else shape[:axis]
    index = numbers.whole([*first, shape[axis]], 0, groups - 1).sort(-1).values
    if groups_of == "src" and index.numel():  # the compiled one divides by the size of an empty index
        shape[axis] = groups
    src = laid_out(draw, numbers.values(shape, draw(st.sampled_from(dtypes))))
    size = groups + draw(st.integers(0, 2))
    dim_size = draw(st.sampled_from((None, size)))
    return Case(numbers, src, laid_out(draw, index), axis, size, dim_size, draw(st.booleans()))


@st.composite
def with_pointers(draw: Any, dtypes: Any = DTYPES, groups_of: str = "index", most: Any = SMALL) -> Case:
    """For segment_csr, with gaps, and with ``groups_of="src"`` for gather_csr, without."""
    numbers = Numbers(draw(st.integers(0, 9999)), draw(st.booleans()))
    shape, axis = sizes(draw, most)
    size, count = draw(st.integers(1, 4)), shape[axis]
    pointers = numbers.whole([*leading(draw, shape[:axis]), size + 1], 0, count).sort(-1).values
    if groups_of == "src":
        pointers[..., 0], pointers[..., -1] = 0, count
        shape[axis] = size
    src = laid_out(draw, numbers.values(shape, draw(st.sampled_from(dtypes))))
    return Case(numbers, src, laid_out(draw, pointers), axis, size, None, draw(st.booleans()))


def outcome(function: Callable[..., Any], src: torch.Tensor, out: Optional[torch.Tensor] = None, **more: Any) -> Any:
    """What a call returns, and the gradient that it gives the source: (value, arg or None, gradient or None)."""
    ours = getattr(function, "__module__", "").startswith("kit")
    before, target = src.clone(), None if out is None else out.clone()
    leaf = src.detach().requires_grad_(src.is_floating_point())
    result = function(leaf, **({} if target is None else {"out": target}), **more)
    value, arg = result if isinstance(result, tuple) else (result, None)
    torch.testing.assert_close(src, before, rtol=0, atol=0, equal_nan=True, msg="the source was changed")
    if target is not None:
        assert value.data_ptr() == target.data_ptr(), "out= is what is returned"
    gradient = None
    if leaf.requires_grad and not src.numel() and not (ours and out is None):  # the compiled one may divide by 0
        gradient = torch.empty_like(src)
    elif leaf.requires_grad:
        assert arg is None or not arg.requires_grad
        weight = (torch.arange(value.numel()) % 5 - 2).view(value.shape).to(value.dtype)
        (gradient,) = torch.autograd.grad(value, leaf, weight)
    return value.detach(), arg, gradient


def assert_equal(mine: Any, theirs: Any, tolerance: float = 0.0) -> None:
    for name, a, b in zip(("value", "arg", "gradient"), mine, theirs):
        assert (a is None) == (b is None), name
        if a is not None:
            near = 0.0 if name == "arg" else tolerance
            torch.testing.assert_close(a, b, rtol=near, atol=near, equal_nan=True, msg=lambda m, n=name: f"{n}: {m}")


def both(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    return getattr(shim, name), getattr(real, name)


@compared
@pytest.mark.parametrize("reduce", ["sum", "add", "mean", "min", "max"])
@quick
@given(case=scattered())
def test_scatter_is_the_compiled_one(reduce: str, case: Case) -> None:
    more: dict[str, Any] = {"index": case.index, "dim": case.dim, "out": case.given_out()}
    more["dim_size"] = case.sized(reduce)
    mine, theirs = (outcome(f, case.src, **more) for f in both(f"scatter_{reduce}"))
    assert_equal(mine, theirs, case.tolerance)


@compared
@quick
@given(case=scattered(factors=True))
def test_scatter_mul_is_the_compiled_one(case: Case) -> None:
    more: dict[str, Any] = {"index": case.index, "dim": case.dim, "out": case.given_out(factors=True)}
    more["dim_size"] = case.sized("mul")
    mine, theirs = (outcome(f, case.src, **more) for f in both("scatter_mul"))
    assert_equal(mine, theirs, case.tolerance)


@compared
@pytest.mark.parametrize("reduce", ["sum", "add", "mul", "mean", "min", "max"])
@quick
@given(case=scattered(factors=True))
def test_scatter_takes_the_reduction_by_name(reduce: str, case: Case) -> None:
    more: dict[str, Any] = {"index": case.index, "dim": case.dim, "reduce": reduce, "dim_size": case.sized(reduce)}
    mine, theirs = (outcome(f, case.src, **more) for f in both("scatter"))
    assert_equal(mine, theirs, case.tolerance)


@compared
@pytest.mark.parametrize("reduce", ["sum", "add", "mean", "min", "max"])
@quick
@given(case=sorted_by_index())
def test_segment_coo_is_the_compiled_one(reduce: str, case: Case) -> None:
    """Where the compiled one is wrong in this, it is asked in another way; DEFECTS says what ours does there."""
    mine, theirs = both(f"segment_{reduce}_coo")
    index = case.index
    more: dict[str, Any] = {"out": case.given_out(), "dim_size": case.sized(reduce)}
    whole = index.expand(*case.src.shape[: case.dim], -1) if case.src.is_floating_point() else index
    if case.out and reduce in ("min", "max"):
        expected = outcome(getattr(real, f"scatter_{reduce}"), case.src, index=whole, dim=case.dim, **more)
    else:
        if case.out and index.numel():
            index = index - index[..., :1]
            whole = whole - whole[..., :1]
        expected = outcome(theirs, case.src, index=whole, **more)
    assert_equal(outcome(mine, case.src, index=index, **more), expected, case.tolerance)


@compared
@pytest.mark.parametrize("reduce", ["sum", "add", "mean", "min", "max"])
@quick
@given(case=with_pointers())
def test_segment_csr_is_the_compiled_one(reduce: str, case: Case) -> None:
    """The compiled one's gradient is random where no group is; two more groups make that 0 in it too."""
    mine, theirs = both(f"segment_{reduce}_csr")
    out = case.given_out() if case.src.numel() else None
    start, end = torch.zeros_like(case.index[..., :1]), torch.full_like(case.index[..., :1], case.src.size(case.dim))
    covering = torch.cat([start, case.index, end], -1)

    def expected(src: torch.Tensor, **_: Any) -> Any:
        result = theirs(src, covering)
        inner = [r.narrow(case.dim, 1, case.size) for r in (result if isinstance(result, tuple) else (result,))]
        return tuple(inner) if len(inner) == 2 else inner[0]

    result = outcome(mine, case.src, indptr=case.index, out=out)
    assert_equal(result, outcome(expected, case.src), case.tolerance)
    with torch.no_grad():
        plain = theirs(case.src, case.index, None if out is None else out.clone())
    plain = plain if isinstance(plain, tuple) else (plain, None)
    assert_equal(result[:2], plain, case.tolerance)


@compared
@pytest.mark.parametrize("reduce", ["sum", "add", "mean", "min", "max"])
@pytest.mark.parametrize("kind", ["coo", "csr"])
def test_segment_takes_the_reduction_by_name(kind: str, reduce: str) -> None:
    case = {"coo": t([[0, 0, 1, 3], [1, 1, 1, 1]]), "csr": t([[0, 2, 2, 4], [0, 1, 1, 4]])}[kind]
    src = torch.randn(2, 4, 3)
    more = {"index" if kind == "coo" else "indptr": case, "reduce": reduce}
    assert_equal(*(outcome(f, src, **more) for f in both(f"segment_{kind}")), 1e-6)


@compared
@quick
@given(case=sorted_by_index(broadcast=False, groups_of="src"))
def test_gather_coo_is_the_compiled_one(case: Case) -> None:
    if not case.index.numel() and case.src.numel():
        case = case._replace(index=case.index.new_zeros([*case.src.shape[: case.dim], 1]))
    shape = [*case.index.shape, *case.src.shape[case.dim + 1 :]]
    out = case.numbers.values(shape, case.src.dtype) if case.out and case.src.numel() else None
    assert_equal(*(outcome(f, case.src, index=case.index, out=out) for f in both("gather_coo")), case.tolerance)


@compared
@quick
@given(case=with_pointers(groups_of="src"))
def test_gather_csr_is_the_compiled_one(case: Case) -> None:
    count = int(case.index.flatten()[-1]) if case.index.numel() else 0
    shape = [*case.src.shape[: case.dim], count, *case.src.shape[case.dim + 1 :]]
    out = case.numbers.values(shape, case.src.dtype) if case.out and case.src.numel() else None
    mine, theirs = (outcome(f, case.src, indptr=case.index, out=out) for f in both("gather_csr"))
    if not math.prod(shape):  # then the compiled one's gradient is what lay in memory
        theirs = (*theirs[:2], torch.zeros_like(case.src) if theirs[2] is not None else None)
    assert_equal(mine, theirs, case.tolerance)


@compared
@pytest.mark.parametrize("name", ["scatter_std", "scatter_softmax", "scatter_log_softmax", "scatter_logsumexp"])
@quick
@given(case=scattered(FLOATS, outs=False), unbiased=st.booleans())
def test_composites_are_the_compiled_ones(name: str, case: Case, unbiased: bool) -> None:
    more: dict[str, Any] = {"index": case.index, "dim": case.dim, "dim_size": case.sized(name)}
    if name == "scatter_std":
        more["unbiased"] = unbiased
    mine, theirs = (outcome(f, case.src, **more) for f in both(name))
    assert_equal(mine, theirs, TOLERANCE[case.src.dtype])


@compared
@pytest.mark.parametrize("name", ["scatter_std", "scatter_logsumexp"])
def test_composites_add_to_what_is_given(name: str) -> None:
    src, index = torch.randn(5, 3, dtype=torch.double), t([0, 1, 0, 1, 1])
    out = torch.rand(2, 3, dtype=torch.double)
    for f in both(name):
        given_out = out.clone()
        result = f(src, index, dim=0, out=given_out)
        if f is getattr(shim, name):
            mine = result, given_out
    torch.testing.assert_close(mine, (result, given_out))


@compared
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_mean_of_whole_numbers_is_rounded_as_upstream_does(dtype: torch.dtype) -> None:
    """Down by scatter, towards zero by segment; floats as they are."""
    src, index, pointers = t([-3, 2, 7], dtype), t([0, 0, 1]), t([0, 2, 3])
    for module in (shim, real):
        down = [module.scatter_mean(src, index), module.segment_mean_coo(src, index)]
        down.append(module.segment_mean_csr(src, pointers))
        halves = [-0.5] * 3 if dtype.is_floating_point else [-1, 0, 0]
        assert [d.tolist() for d in down] == [[h, 7] for h in halves] and {d.dtype for d in down} == {dtype}


@pytest.mark.parametrize("name", ["scatter_sum", "scatter_mul", "scatter_max", "segment_sum_coo", "segment_max_csr"])
def test_a_number_without_dimensions_is_refused(name: str) -> None:
    """The compiled one reads memory that is not its own."""
    with pytest.raises((RuntimeError, IndexError)):
        getattr(shim, name)(t(1.0), t(0))


@compared
@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.scatter(torch.rand(3), t([0, 0, 1]), reduce="median"),
        lambda m: m.segment_coo(torch.rand(3), t([0, 0, 1]), reduce="mul"),
        lambda m: m.segment_csr(torch.rand(3), t([0, 1]), reduce="any"),
        lambda m: m.scatter_softmax(t([1, 2]), t([0, 0])),
        lambda m: m.scatter_log_softmax(t([1, 2]), t([0, 0])),
        lambda m: m.scatter_logsumexp(t([1, 2]), t([0, 0])),
        lambda m: m.scatter_max(torch.rand(3), t([0, 0])),
        lambda m: m.scatter_sum(torch.rand(3), t([0, 0])),
        lambda m: m.scatter_min(torch.rand(3, 2), t([0, 0, 1]), 0, out=torch.rand(2, 3)),
        lambda m: m.segment_sum_coo(torch.rand(3), t([[0, 0, 1]])),
        lambda m: m.segment_sum_csr(torch.rand(3), t([[0, 3]])),
        lambda m: m.segment_max_csr(torch.rand(3, 2), t([0, 2, 3]), out=torch.rand(2, 3)),
        lambda m: m.gather_csr(torch.rand(3), t([0, 3])),
    ],
)
def test_what_upstream_refuses_is_refused_in_the_same_way(call: Callable[[Any], Any]) -> None:
    caught = []
    for module in (shim, real):
        with pytest.raises((ValueError, RuntimeError)) as error:
            call(module)
        caught.append(error)
    assert caught[0].type is caught[1].type
    if caught[0].type is ValueError:
        assert str(caught[1].value) in str(caught[0].value)


@compared
def test_every_name_is_there_and_is_called_in_the_same_way() -> None:
    names = set(real.__all__) - {"torch_scatter"}  # which is no name in it
    assert set(shim.__all__) >= names
    for name in names - {"__version__"}:
        a, b = (inspect.signature(f).parameters.values() for f in both(name))
        assert [(p.name, p.default) for p in a] == [(p.name, p.default) for p in b], name
    assert shim.__version__ == f"{real.__version__}+kit"


# --- What the compiled one gets wrong, and what ours does instead -------------------------------------------------

NAN, INF = math.nan, math.inf
LEAST = torch.iinfo(torch.int).min
LOWEST = torch.finfo(torch.float).min
NOT_RUN = object()  # it would end the process or write where it must not


class Defect(NamedTuple):
    what: str
    call: Callable[[Any], Any]
    theirs: Any  # what comes of it, an exception, or NOT_RUN
    ours: Any


def twice(function: Callable[..., Any], *args: Any) -> torch.Tensor:
    """The gradient of the gradient of the squares."""
    src = torch.ones(3, dtype=torch.double, requires_grad=True)
    (first,) = torch.autograd.grad(function(src, *args).pow(2).sum(), src, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), src)
    return second


def gradient(function: Callable[..., Any], src: torch.Tensor, *args: Any) -> torch.Tensor:
    leaf = src.clone().requires_grad_()
    result = function(leaf, *args)
    value = result[0] if isinstance(result, tuple) else result
    return torch.autograd.grad(value.sum(), leaf)[0]


def same(number: float, count: int = 2) -> torch.Tensor:
    return torch.full((count,), number)


I0, P2 = t([0, 0]), t([0, 2])
DEFECTS = [
    Defect("NaN, scatter_max", lambda m: m.scatter_max(t([1, NAN, 2]), t([0, 0, 0])), ([2], [2]), ([NAN], [1])),
    Defect("NaN first, scatter_max", lambda m: m.scatter_max(t([NAN, 1.0]), I0), ([1], [1]), ([NAN], [0])),
    Defect("NaN twice, scatter_min", lambda m: m.scatter_min(t([1, NAN, NAN]), t([0] * 3)), ([1], [0]), ([NAN], [1])),
    Defect("NaN, segment_max_coo", lambda m: m.segment_max_coo(t([1, NAN]), I0), ([1], [0]), ([NAN], [1])),
    Defect("NaN, segment_min_csr", lambda m: m.segment_min_csr(t([1, NAN]), P2), ([1], [0]), ([NAN], [1])),
    Defect("NaN, its gradient", lambda m: gradient(m.scatter_max, t([1, NAN]), I0), [1, 0], [0, 1]),
    Defect("all -inf, scatter_max", lambda m: m.scatter_max(same(-INF), I0), ([0], [2]), ([-INF], [0])),
    Defect("all inf, scatter_min", lambda m: m.scatter_min(same(INF), I0), ([0], [2]), ([INF], [0])),
    Defect("all -inf, segment_max_coo", lambda m: m.segment_max_coo(same(-INF), I0), ([0], [0]), ([-INF], [0])),
    Defect("all -inf, segment_max_csr", lambda m: m.segment_max_csr(same(-INF), P2), ([LOWEST], [0]), ([-INF], [0])),
    Defect("the lowest float", lambda m: m.scatter_max(same(LOWEST), I0), ([0], [2]), ([LOWEST], [0])),
    Defect("all INT_MIN", lambda m: m.scatter_max(t([LEAST, LEAST], torch.int), I0), ([0], [2]), ([LEAST], [0])),
    Defect("uint8", lambda m: m.scatter_min(t([255, 255], torch.uint8), I0), ([0], [2]), ([255], [0])),
    Defect("one zero, its gradient", lambda m: gradient(m.scatter_mul, t([0.0, 3.0]), I0), [0, 0], [3, 0]),
    Defect("int32 index", lambda m: m.scatter_max(t([1, 2]), I0.int()), RuntimeError, ([2], [1])),
    Defect("int32 pointers", lambda m: m.segment_sum_csr(t([1, 2]), P2.int()), RuntimeError, [3]),
    Defect("bool sum", lambda m: m.segment_sum_csr(t([False, True]), P2), NotImplementedError, [True]),
    Defect("bool max, scatter", lambda m: m.scatter_max(t([False, True]), I0), NotImplementedError, ([True], [1])),
    Defect("bool", lambda m: m.segment_max_csr(t([False, True]), P2), NotImplementedError, ([True], [1])),
    Defect("complex", lambda m: m.segment_sum_coo(t([1j, 2.0]), I0), NotImplementedError, [2 + 1j]),
    Defect("out= at the first group", lambda m: m.segment_sum_coo(t([1]), t([1]), t([10, 20])), [10, 11], [10, 21]),
    Defect(
        "out= that is not contiguous",
        lambda m: m.scatter_max(torch.ones(2, 2), t([0, 1]), 0, torch.zeros(2, 2).t()),
        RuntimeError,
        ([[1, 1], [1, 1]], [[0, 0], [1, 1]]),
    ),
    Defect("out= stays", lambda m: m.segment_max_coo(t([1]), t([0]), t([5])), ([5], [0]), ([5], [1])),
    Defect(
        "broadcast index, its gradient",
        lambda m: gradient(m.segment_sum_coo, torch.ones(2, 2), t([[0, 1]])),
        RuntimeError,
        [[1, 1], [1, 1]],
    ),
    Defect(
        "no group at the end, the mean's gradient",
        lambda m: gradient(m.segment_mean_csr, torch.ones(3), P2),
        RuntimeError,
        [0.5, 0.5, 0],
    ),
    Defect(
        "no group at either end, the gradient",
        lambda m: gradient(m.segment_sum_csr, torch.ones(4), t([1, 2])),
        NOT_RUN,
        [0, 1, 0, 0],
    ),
    Defect("nothing gathered, the gradient", lambda m: gradient(m.gather_csr, t([1.0]), t([0, 0])), NOT_RUN, [0]),
    Defect("empty index", lambda m: m.gather_coo(t([1.0]), t([], torch.long)), NOT_RUN, []),
    Defect("one pointer", lambda m: m.segment_sum_csr(t([1.0]), t([0])), NOT_RUN, []),
    Defect("twice, segment_sum_csr", lambda m: twice(m.segment_sum_csr, t([0, 2, 3])), RuntimeError, [4, 4, 2]),
    Defect("twice, segment_mean_csr", lambda m: twice(m.segment_mean_csr, t([0, 2, 3])), RuntimeError, [1, 1, 2]),
    Defect("twice, segment_sum_coo", lambda m: twice(m.segment_sum_coo, t([0, 0, 1])), RuntimeError, [4, 4, 2]),
    Defect("twice, segment_mean_coo", lambda m: twice(m.segment_mean_coo, t([0, 0, 1])), RuntimeError, [1, 1, 2]),
    Defect("twice, gather_coo", lambda m: twice(m.gather_coo, t([0, 0, 1, 2])), RuntimeError, [4, 2, 2]),
    Defect("index too large", lambda m: m.scatter_max(t([1, 2]), t([0, 3]), dim_size=2), NOT_RUN, RuntimeError),
    Defect("index below 0", lambda m: m.scatter_max(t([1, 2]), t([0, -1]), dim_size=2), NOT_RUN, RuntimeError),
    Defect("index too large, mul", lambda m: m.scatter_mul(t([1, 2]), t([0, 3]), dim_size=2), NOT_RUN, RuntimeError),
    Defect("too large, coo", lambda m: m.segment_sum_coo(t([1, 2]), t([0, 3]), dim_size=2), NOT_RUN, RuntimeError),
    Defect("too large, min", lambda m: m.segment_min_coo(t([1, 2]), t([0, 3]), dim_size=2), NOT_RUN, RuntimeError),
    Defect("pointer too large", lambda m: m.segment_sum_csr(torch.ones(2), t([0, 3])), NOT_RUN, RuntimeError),
    Defect("too large, max_csr", lambda m: m.segment_max_csr(torch.ones(2), t([0, 3])), NOT_RUN, RuntimeError),
    Defect("too large, gather", lambda m: m.gather_coo(t([1, 2]), t([0, 3])), NOT_RUN, (RuntimeError, IndexError)),
]


def of(result: Any) -> Any:
    return tuple(r.tolist() for r in result) if isinstance(result, tuple) else result.tolist()


def is_type(expected: Any) -> bool:
    return isinstance(expected, type) or (isinstance(expected, tuple) and isinstance(expected[0], type))


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda d: d.what)
def test_defects_are_put_right(defect: Defect) -> None:
    for module, expected in ((real, defect.theirs), (shim, defect.ours)):
        if module is None or expected is NOT_RUN:
            continue
        if is_type(expected):
            with pytest.raises(expected):
                defect.call(module)
        else:
            assert repr(of(defect.call(module))).replace(".0", "") == repr(expected).replace(".0", "")


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16])
def test_segments_of_half_are_added_in_float32(dtype: torch.dtype) -> None:
    """Half precision stands still at 2048 ones; so does scatter_sum, as upstream's does."""
    many = 4096
    ones, index, pointers = torch.ones(many, dtype=dtype), torch.zeros(many, dtype=torch.long), t([0, many])
    for module in filter(None, (shim, real)):
        sums = [module.segment_sum_csr(ones, pointers), module.segment_sum_coo(ones, index)]
        means = [module.segment_mean_csr(ones, pointers), module.segment_mean_coo(ones, index)]
        assert of(tuple(sums + means)) == ([many], [many], [1], [1])
        assert {s.dtype for s in sums + means} == {dtype}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["scatter_min", "scatter_max"])
def test_the_first_of_equals_wins_at_any_size(name: str, threads: int) -> None:
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    for rows, columns in [(3, 1), (700, 3), (70_000, 1), (5_000, 17)]:
        src = torch.randint(0, 3, (rows, columns), generator=generator).float()
        index = torch.randint(0, max(rows // 50, 2), (rows,), generator=generator)
        value, arg = getattr(shim, name)(src, index, 0, dim_size=rows + 1)
        is_it = value.gather(0, index[:, None].expand_as(src)) == src
        place = torch.arange(rows)[:, None].expand_as(src)
        first = torch.full_like(arg, rows).scatter_reduce(
            0, index[:, None].expand_as(src), torch.where(is_it, place, rows), "amin"
        )
        assert torch.equal(arg, first)
        if real is not None:
            assert_equal((value, arg, None), (*getattr(real, name)(src, index, 0, dim_size=rows + 1), None))


@compared
@pytest.mark.parametrize("shape", [(300, 3), (66_000,), (66_000, 1), (9_000, 8), (300, 250)], ids=str)
@pytest.mark.parametrize("groups", [3, 1000])
@pytest.mark.parametrize("order", ["sorted", "random"])
def test_other_sizes_take_other_operators_and_are_equal_too(shape: Any, groups: int, order: str) -> None:
    generator = torch.Generator().manual_seed(1)
    src = torch.randint(-9, 10, shape, generator=generator).float()  # each sum is exact
    index = torch.randint(0, groups, shape[:1], generator=generator)
    calls: list[tuple[str, torch.Tensor, dict[str, Any]]] = []
    if order == "sorted":
        index = index.sort().values
        pointers = torch.cat([t([0]), index.bincount(minlength=groups).cumsum(0)])
        calls += [(f"segment_{r}_coo", src, {"index": index, "dim_size": groups}) for r in REDUCTIONS]
        calls += [(f"segment_{r}_csr", src, {"indptr": pointers}) for r in REDUCTIONS]
        few = torch.randint(-9, 10, (groups, *shape[1:]), generator=generator).float()
        calls += [("gather_coo", few, {"index": index}), ("gather_csr", few, {"indptr": pointers})]
    calls += [(f"scatter_{r}", src, {"index": index, "dim": 0, "dim_size": groups}) for r in REDUCTIONS]
    for name, source, more in calls:
        assert_equal(*(outcome(f, source, **more) for f in both(name)), 1e-6 if "mean" in name else 0.0)


@contextlib.contextmanager
def choosing(large: bool) -> Iterator[None]:
    """Have every size, or none, be one that large inputs' operators are chosen for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_rows, "LARGE", 1 if large else 1 << 40)
        patch.setattr(_rows, "BLOCK", 2)
        yield


def with_specials(case: Case) -> Case:
    """The same with NaN and infinities among the numbers, where the seed says so."""
    if case.numbers.seed % 2:
        return case
    which = case.numbers.whole(case.src.shape, 0, 15)
    src = case.src.clone()
    for number, value in enumerate((NAN, INF, -INF)):
        src[which == number] = value
    return case._replace(src=src)


def with_second(function: Callable[..., Any], src: torch.Tensor, **more: Any) -> Any:
    """What :func:`outcome` says, the value alone without a gradient in sight, and a second derivative."""
    with torch.no_grad():
        plain = function(src, **more)
    leaf = src.detach().requires_grad_()
    value = function(leaf, **more)
    value = value[0] if isinstance(value, tuple) else value
    (first,) = torch.autograd.grad(value.pow(2).sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad(first.pow(2).sum(), leaf, allow_unused=True)
    plain = plain if isinstance(plain, tuple) else (plain, None)
    return *outcome(function, src, **more), *plain, first.detach(), second


LARGE = {
    **{f"scatter_{r}": scattered for r in REDUCTIONS},
    "scatter": scattered,
    **{f"segment_{r}_coo": sorted_by_index for r in REDUCTIONS},
    **{f"segment_{r}_csr": with_pointers for r in REDUCTIONS},
    "segment_csr": with_pointers,
    "gather_coo": functools.partial(sorted_by_index, broadcast=False, groups_of="src"),
    "gather_csr": functools.partial(with_pointers, groups_of="src"),
}


@pytest.mark.parametrize("name", LARGE)
@quick
@given(data=st.data())
def test_what_is_chosen_for_large_inputs_is_equal_to_the_rest(name: str, data: Any) -> None:
    """Values, places, first and second derivatives, with NaN and infinities."""
    case = with_specials(data.draw(LARGE[name](FLOATS[:2], most=LONG)))
    more: dict[str, Any] = {"indptr" if "csr" in name else "index": case.index}
    if "gather" not in name and "csr" not in name:
        more["dim_size"] = case.sized(name)
    if name.startswith("scatter"):
        more["dim"] = case.dim
    if name in ("scatter", "segment_csr"):
        more["reduce"] = data.draw(st.sampled_from(("min", "max")))
    results = []
    for large in (True, False):
        with choosing(large):
            results.append(with_second(getattr(shim, name), case.src, **more))
    tolerance = max(case.tolerance, 1e-12) * 10
    for mine, theirs in zip(*results):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("wrong", [10, -1, 1 << 15, 1 << 16, 1 << 32, -(1 << 16)])
@pytest.mark.parametrize(
    "name", [*(f"scatter_{r}" for r in (*REDUCTIONS, "mul")), "segment_sum_coo", "segment_max_coo"]
)
def test_one_wrong_index_among_many_is_found(name: str, wrong: int) -> None:
    for order, columns in itertools.product(("sorted", "random"), (1, 8)):
        index = torch.randint(0, 10, (70_000 // columns,))
        index[400] = wrong
        if order == "sorted" or name.startswith("segment"):
            index = index.sort().values
        more = {} if name.startswith("segment") else {"dim": 0}
        with pytest.raises(RuntimeError):
            getattr(shim, name)(torch.ones(len(index), columns), index, dim_size=10, **more)


# --- Differentiable and composable --------------------------------------------------------------------------------

INDEX, POINTERS = t([0, 0, 1, 1, 1, 3]), t([0, 2, 5, 5, 6])
SHUFFLED = t([1, 0, 3, 1, 0, 3])


def by_index(name: str) -> functools.partial:
    if name.startswith("segment"):
        return functools.partial(getattr(shim, name), index=INDEX, dim_size=4)
    if name == "scatter_std":  # has no slope where a group is empty or of one element, in upstream neither
        return functools.partial(shim.scatter_std, index=SHUFFLED.clamp(max=2), dim=0, dim_size=3)
    return functools.partial(getattr(shim, name), index=SHUFFLED, dim=0, dim_size=4)


FUNCTIONS: dict[str, functools.partial] = {
    **{f"scatter_{r}": by_index(f"scatter_{r}") for r in (*REDUCTIONS, "mul")},
    **{f"segment_{r}_coo": by_index(f"segment_{r}_coo") for r in REDUCTIONS},
    **{f"segment_{r}_csr": functools.partial(getattr(shim, f"segment_{r}_csr"), indptr=POINTERS) for r in REDUCTIONS},
    "gather_coo": functools.partial(shim.gather_coo, index=INDEX),
    "gather_csr": functools.partial(shim.gather_csr, indptr=POINTERS),
    **{f"scatter_{r}": by_index(f"scatter_{r}") for r in ("std", "softmax", "log_softmax", "logsumexp")},
}
each = pytest.mark.parametrize("name", FUNCTIONS)


def source(name: str, columns: int = 3) -> torch.Tensor:
    """Numbers that are all different and none near zero, a row for each row of the index, or for each group."""
    rows = 4 if name.startswith("gather") else 6
    order = torch.randperm(rows * columns, generator=torch.Generator().manual_seed(3))
    return ((order + 1.0) / 7 * (1 - order % 2 * 2)).view(rows, columns).double()


def value_of(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The function of the source alone, without the arg."""

    def call(src: torch.Tensor) -> torch.Tensor:
        result = FUNCTIONS[name](src)
        return result[0] if isinstance(result, tuple) else result

    return call


@each
def test_gradients_are_right_to_the_second_order(name: str) -> None:
    for large, columns in ((False, 3), (True, 1), (True, 8)):
        src = source(name, columns).requires_grad_()
        with choosing(large):
            assert gradcheck(value_of(name), (src,), fast_mode=large)
            assert gradgradcheck(value_of(name), (src,), fast_mode=large)


@each
@pytest.mark.parametrize("large", [False, True])
def test_forward_mode_is_right(name: str, large: bool) -> None:
    with choosing(large):
        check_forward_mode(name)


def check_forward_mode(name: str) -> None:
    """With torch.func and without: both the numerical slope."""
    src = source(name, 8)
    tangent = torch.randn(src.shape, dtype=torch.double)
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(value_of(name)(forward_ad.make_dual(src, tangent)))
    value, slope = torch.func.jvp(value_of(name), (src,), (tangent,))
    torch.testing.assert_close((value, slope), (dual.primal, dual.tangent))
    near = [value_of(name)(src + e * tangent) for e in (1e-6, -1e-6)]
    torch.testing.assert_close(slope, (near[0] - near[1]) / 2e-6, rtol=1e-5, atol=1e-6)


@each
@pytest.mark.parametrize("large", [False, True])
def test_vmap_and_grad_of_functions(name: str, large: bool) -> None:
    with choosing(large):
        check_vmap_and_grad(name)


def check_vmap_and_grad(name: str) -> None:
    sources = torch.stack([source(name), source(name).flip(0), source(name) * 2])
    function = value_of(name)

    def loss(src: torch.Tensor) -> torch.Tensor:
        value = function(src)
        return (value * torch.linspace(1, 2, value.numel(), dtype=value.dtype).view(value.shape)).sum()

    torch.testing.assert_close(torch.func.vmap(function)(sources), torch.stack([function(s) for s in sources]))
    expected = []
    for one in sources:
        leaf = one.clone().requires_grad_()
        expected.append(torch.autograd.grad(loss(leaf), leaf)[0])
    torch.testing.assert_close(torch.func.grad(loss)(sources[0]), expected[0])
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(sources), torch.stack(expected))


@pytest.fixture
def dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@each
@pytest.mark.usefixtures("dynamo")
def test_compiles_in_one_graph(name: str) -> None:
    compiled = torch.compile(value_of(name), fullgraph=True, backend="aot_eager")
    for function in (compiled, value_of(name)):
        leaf = source(name).requires_grad_()
        value = function(leaf)
        (slope,) = torch.autograd.grad(value[:2].sum(), leaf)
        if function is compiled:
            mine = value, slope
    torch.testing.assert_close(mine, (value, slope))


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler")
@pytest.mark.usefixtures("dynamo")
def test_compiles_to_machine_code() -> None:
    src, index = torch.randn(6, 3), SHUFFLED

    def function(src: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return shim.scatter_max(src, index, 0, dim_size=4)[0] + shim.scatter_mean(src, index, 0, dim_size=4)

    torch.testing.assert_close(torch.compile(function, fullgraph=True)(src, index), function(src, index))


@each
def test_deterministic_mode_is_no_hindrance(name: str) -> None:
    expected = outcome(FUNCTIONS[name], source(name))
    torch.use_deterministic_algorithms(True)
    try:
        assert_equal(outcome(FUNCTIONS[name], source(name)), expected)
    finally:
        torch.use_deterministic_algorithms(False)


@each
def test_an_int32_index_is_as_good(name: str) -> None:
    function = FUNCTIONS[name]
    more = {key: value.int() if torch.is_tensor(value) else value for key, value in function.keywords.items()}
    vector = source(name, 1)[:, 0]
    for large, src in itertools.product((False, True), (source(name), source(name, 8), vector, vector.float())):
        with choosing(large):
            assert_equal(outcome(functools.partial(function.func, **more), src), outcome(function, src))


@each
def test_no_gradient_is_asked_for_none_is_made(name: str) -> None:
    src = source(name).requires_grad_()
    with torch.no_grad():
        assert not value_of(name)(src).requires_grad
    with torch.inference_mode():
        value_of(name)(source(name))


# --- In a process that has ours alone -----------------------------------------------------------------------------

ALONE = f"""
import importlib.util, json, sys, traceback, warnings
warnings.simplefilter("ignore")
spec = importlib.util.spec_from_file_location("torch_scatter", {str(TREE / "__init__.py")!r},
                                              submodule_search_locations=[{str(TREE)!r}])
sys.modules["torch_scatter"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
"""
CHECKS = """
import torch, torch_scatter
from torch._subclasses.fake_tensor import FakeTensorMode
ops = torch.ops.torch_scatter
src = torch.randn(6, 3, dtype=torch.double)
groups = torch.randn(4, 3, dtype=torch.double)
index, pointers = torch.tensor([0, 0, 1, 1, 1, 3]), torch.tensor([0, 2, 5, 5, 6])
CALLS = {}  # of torch.ops, with the public function that is the same
for r in ("sum", "mean", "mul", "min", "max"):
    CALLS[f"scatter_{r}"] = (src, index, 0, None, 4)
for r in ("sum", "mean", "min", "max"):
    CALLS[f"segment_{r}_coo"] = (src, index, None, 4)
    CALLS[f"segment_{r}_csr"] = (src, pointers, None)
CALLS["gather_coo"] = (groups, index, None)
CALLS["gather_csr"] = (groups, pointers, None)
SCRIPTED = {**CALLS, "scatter_add": CALLS["scatter_sum"], "segment_add_coo": CALLS["segment_sum_coo"],
            "segment_add_csr": CALLS["segment_sum_csr"], "scatter": (src, index, 0, None, None, "max"),
            "segment_coo": (src, index, None, None, "mean"), "segment_csr": (src, pointers, None, "min"),
            "scatter_std": (src, index, 0), "scatter_logsumexp": (src, index, 0),
            "scatter_softmax": (src, index, 0), "scatter_log_softmax": (src, index, 0)}
results = {}

def check(what):
    def run(function):
        try:
            results[what] = function() or ""
        except BaseException:
            results[what] = traceback.format_exc()
    return run

def same(a, b):
    torch.testing.assert_close(a, b, equal_nan=True)

def slopes(function, args):
    leaf = args[0].clone().requires_grad_()
    result = function(leaf, *args[1:])
    return torch.autograd.grad((result[0] if isinstance(result, tuple) else result).sum(), leaf)

for name, args in CALLS.items():
    @check(f"op {name}")
    def _():
        operator, function = getattr(ops, name), getattr(torch_scatter, name)
        same(operator(*args), function(*args))
        same(slopes(operator, args), slopes(function, args))

for name in ("scatter_mul", "scatter_max", "segment_sum_coo", "segment_min_csr", "gather_coo"):
    @check(f"fake {name}")
    def _():
        args = CALLS[name]
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            made = getattr(ops, name)(*(mode.from_tensor(a) if torch.is_tensor(a) else a for a in args))
        real = getattr(ops, name)(*args)
        for a, b in zip(made, real) if isinstance(real, tuple) else [(made, real)]:
            assert (a.shape, a.dtype) == (b.shape, b.dtype), (a, b.shape)

for name in ("scatter_sum", "scatter_max", "segment_mean_csr", "gather_coo"):
    @check(f"opcheck {name}")
    def _():
        src, *args = CALLS[name]
        torch.library.opcheck(getattr(ops, name).default, (src.clone().requires_grad_(), *args))

for name, args in SCRIPTED.items():
    @check(f"script {name}")
    def _():
        function = getattr(torch_scatter, name)
        scripted = torch.jit.script(function)
        same(scripted(*args), function(*args))
        same(slopes(scripted, args), slopes(function, args))
        if "softmax" not in name and "logsumexp" not in name:
            made = function(*args)
            out = torch.ones_like(made[0] if isinstance(made, tuple) else made)
            count = 3 if name.startswith("scatter") else 2
            same(*(f(*args[:count], out=out.clone()) for f in (scripted, function)))

@check("submodules")
def _():
    import torch_scatter.composite, torch_scatter.testing, torch_scatter.utils
    from torch_scatter.utils import broadcast
    from torch_scatter.scatter import scatter_sum, scatter_max
    from torch_scatter.segment_coo import segment_coo, gather_coo
    from torch_scatter.segment_csr import segment_csr, gather_csr
    from torch_scatter.composite import scatter_std, scatter_softmax
    from torch_scatter.composite.softmax import scatter_log_softmax
    from torch_scatter.testing import devices, dtypes, grad_dtypes, reductions, tensor
    from torch_scatter.placeholder import cuda_version_placeholder, scatter_arg_placeholder, gather_csr_placeholder
    import torch_scatter.segment_csr as function
    assert function is segment_csr is torch_scatter.segment_csr and callable(torch_scatter.scatter)
    assert broadcast(torch.tensor([0, 1]), torch.rand(3, 2, 4), 1).shape == (3, 2, 4)
    assert torch_scatter.__version__ == "2.1.2+kit" and ops.cuda_version() == -1
    from torch_scatter import __all__
    for name in set(__all__) - {"torch_scatter"}:
        assert hasattr(torch_scatter, name), name
    exec("from torch_scatter import *", {})

@check("alone")
def _():
    assert not [m for m in sys.modules if m.partition(".")[0] == "kit"]

print(json.dumps(results))
"""


def test_in_a_process_without_the_kit_and_the_compiled_one(tmp_path: Path) -> None:
    """Operators, TorchScript of every public function, submodules.  One test, as the process takes a while."""
    command = [sys.executable, "-c", ALONE + CHECKS]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    assert {what: words for what, words in results.items() if words} == {}
    public = {name for name in shim.__all__ if callable(getattr(shim, name))}
    assert {what.partition(" ")[2] for what in results if what.startswith("script ")} == public


@pytest.mark.parametrize("file", sorted(TREE.rglob("*.py")), ids=lambda f: str(f.relative_to(TREE)))
def test_it_needs_torch_and_the_standard_library_alone(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = {(node.module or "").partition(".")[0]}
        else:
            continue
        assert names <= {"torch", *sys.stdlib_module_names}, f"line {node.lineno}: {names}"


def test_its_modules_are_shadowed_by_functions_as_upstream_has_it() -> None:
    assert callable(shim.scatter) and callable(shim.segment_csr) and callable(shim.segment_coo)
    assert importlib.import_module("kit.shims.torch_scatter.composite").scatter_std is shim.scatter_std
