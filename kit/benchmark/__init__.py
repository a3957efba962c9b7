"""The scatter benchmark: who reduces groups of rows fastest here, how near to the limit of the memory, and rightly.

    bench() -> Bench              time compiled torch_scatter, the kit's shim, torch's own operators and pyg-lib
    recorded(name) -> Bench       a run on another machine; names() are there
    compare(here, there)          two runs on the cases that they have in common

A result is compared in value before it is timed, and a wrong one has no time.
"""

import datetime
import platform
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional, Union

from kit.benchmark import cases, contenders, timing
from kit.benchmark.cases import Case, Inputs
from kit.benchmark.contenders import ERRORS, Call
from kit.benchmark.results import Bench, Comparison, Result, Row, compare, names, recorded
from kit.collect import host
from kit.errors import KitError
from kit.repair.change import Tick

__all__ = ["Bench", "Comparison", "bench", "compare", "names", "recorded"]

_QUICK_SECONDS = 48.0  # a minute with what comes before and after
# Rounds, and seconds of a contender in each.
_FULL, _QUICK = (7, 0.1), (5, 0.01)
_COPY_SECONDS = 0.5
_MOST_ROWS, _MOST_FEATURES, _MOST_THREADS = 10**9, 4096, 1024

Numbers = Union[str, Sequence[int], None]
Progress = Callable[[Tick], None]


def bench(
    device: Optional[str] = None,
    *,
    quick: bool = False,
    operations: Union[str, Sequence[str], None] = None,
    sizes: Numbers = None,
    features: Numbers = None,
    threads: Optional[int] = None,
    seconds: Optional[float] = None,
    progress: Optional[Progress] = None,
) -> Bench:
    """Time scatter and segment operations on the CPU or a GPU: by default the GPU where torch sees one.

    ``quick`` takes a small grid and less than a minute.  ``operations`` (``"scatter-sum"``, ``"segment"``, ``"max"``,
    ...), ``sizes`` (rows) and ``features`` (columns) choose cases: lists, or text with commas.  ``threads`` are those
    on the CPU, torch's own by default.  After ``seconds`` the rest is left out.  ``progress(tick)`` is called before
    each case and at the end.  Raises KitError where an argument cannot be used, and where a GPU is there that torch
    cannot use.
    """
    begun = time.monotonic()
    if device not in (None, "cpu", "cuda"):
        raise KitError(f"device: {device!r} is neither cpu nor cuda")
    chosen = cases.operations(operations)
    rows = cases.numbers(sizes, "sizes", _MOST_ROWS)
    columns = cases.numbers(features, "features", _MOST_FEATURES)
    if seconds is not None and not seconds > 0:
        raise KitError(f"seconds: {seconds:g} is not more than 0")
    if threads is not None and not 1 <= threads <= _MOST_THREADS:
        raise KitError(f"threads: {threads} is not from 1 to {_MOST_THREADS}")
    torch = _torch()
    kind, notes = _device(device, torch)
    rows = rows or (cases.QUICK_SIZES[kind] if quick else cases.SIZES)
    columns = columns or (cases.QUICK_FEATURES if quick else cases.FEATURES)
    limit = seconds or (_QUICK_SECONDS if quick else None)
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        run = _Run(kind, quick, None if limit is None else begun + limit, progress)
        run.time(cases.grid(chosen, rows, columns, quick))
        return Bench(
            device=timing.device_name(kind),
            kind=kind,
            threads=run.threads,
            date=datetime.date.today().isoformat(),
            versions={"python": platform.python_version(), "torch": torch.__version__},
            quick=quick,
            rounds=run.rounds,
            slice=run.slice,
            bandwidth=_digits(run.bandwidth),
            contenders=tuple(contender for contender, _ in run.contenders),
            rows=tuple(run.rows),
            left_out=tuple(run.left_out),
            notes=tuple(notes),
        )
    finally:
        torch.set_num_threads(before)


class _Run:
    """One run: what was measured so far, and how long the rest will take."""

    def __init__(self, kind: str, quick: bool, deadline: Optional[float], progress: Optional[Progress]) -> None:
        import torch

        self.kind, self.deadline = kind, deadline
        self.tell: Progress = progress or (lambda tick: None)
        self.rounds, self.slice = _QUICK if quick else _FULL
        self.threads = torch.get_num_threads()
        self.contenders = contenders.find(kind)
        self.offers = {contender.name: offered for contender, offered in self.contenders if offered}
        self.cache = timing.cache_bytes(kind)
        self.bandwidth = timing.copy_bandwidth(kind, self.threads, self.cache, _COPY_SECONDS)
        self.rows: list[Row] = []
        self.left_out: list[str] = []

    def time(self, grid: Sequence[Case]) -> None:
        fitting = self.fitting(grid)
        begun, whole, done, data = time.monotonic(), sum(map(self.work, fitting)), 0.0, None
        for number, case in enumerate(fitting):
            now = time.monotonic()
            if self.deadline is not None and now > self.deadline:
                self.left_out.append(f"{len(fitting) - number} of {len(grid)} cases, since the time was up")
                break
            rest = (whole - done) * (now - begun) / done if done else whole
            left = f"{rest:.0f} s" if rest < 90 else f"{rest / 60:.0f} min"
            what = f"{case.operation} of {case.rows} x {case.features}, about {left} left"
            self.tell(Tick(1, 1, "timing", what, number, len(fitting), "cases", now - begun))
            if case.data != data:
                turns: list[Inputs] = []  # so that the old ones are gone before there are new ones
                turns = timing.copies(case, cases.inputs(case, self.kind), self.cache)
                data = case.data
            self.rows.append(self.row(case, turns))
            done += self.work(case)
        now = time.monotonic()
        self.tell(Tick(1, 1, "timing", "", len(self.rows), len(fitting), "cases", now - begun))

    def fitting(self, grid: Sequence[Case]) -> list[Case]:
        """The cases that memory can hold; of the others it is noted that they are left out."""
        free = timing.free_memory(self.kind)
        if free is None:
            return list(grid)
        large = {(case.rows, case.features): cases.memory(case) for case in grid if cases.memory(case) > free}
        for (rows, features), needed in large.items():
            why = f"about {needed / 1e9:.1f} GB of memory are needed, {free / 1e9:.1f} are free"
            self.left_out.append(f"{rows} rows of {features}: {why}")
        return [case for case in grid if (case.rows, case.features) not in large]

    def work(self, case: Case) -> float:
        """About how many seconds a case takes: at an eighth of the speed of a copy, three calls in each slice."""
        return len(self.offers) * self.rounds * (self.slice + 24 * cases.bytes_moved(case) / self.bandwidth)

    def row(self, case: Case, turns: Sequence[Inputs]) -> Row:
        slope = turns[0].slope = cases.slope(case, turns[0])
        offers = {name: calls[case.operation] for name, calls in self.offers.items() if case.operation in calls}
        why = {name: _wrong(case, turns[0], call) for name, call in offers.items()}
        steps = {name: timing.step(case, call, turns, slope) for name, call in offers.items() if not why[name]}
        taken = timing.interleaved(steps, self.kind, self.threads, self.rounds, self.slice)
        moved = cases.bytes_moved(case)
        results = [self.result(name, taken, moved, why[name]) for name in offers]
        return Row(case, moved, tuple(results))

    def result(self, name: str, taken: Mapping[str, Sequence[float]], moved: int, why: str) -> Result:
        if why:
            return Result(name, why=why)
        median, low, high = map(_digits, timing.middle(taken[name]))
        return Result(name, median, low, high, _digits(moved / median / self.bandwidth))


def _digits(measured: float) -> float:
    """Four digits: no time repeats itself to more."""
    return float(f"{measured:.4g}")


def _wrong(case: Case, given: Inputs, call: Call) -> str:
    """What is wrong with what a contender computes; '' where nothing is."""
    import torch

    try:
        result = call(given.leaf if case.backward else given.source, given.places, case.groups)
        gradient = torch.autograd.grad(result, given.leaf, given.slope)[0] if case.backward else None
    except ERRORS as error:
        said = str(error).strip().splitlines()
        return f"{type(error).__name__}{': ' + said[0] if said else ''}"
    return cases.wrong(case, given, result.detach(), gradient)


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise KitError(f"torch cannot be imported here ({error}); python -m kit doctor says what helps") from None
    except OSError as error:
        raise KitError(f"torch does not load here ({error}); python -m kit doctor says what helps") from None
    return torch


def _device(asked: Optional[str], torch: Any) -> tuple[str, list[str]]:
    """The kind of device to time, and notes.  KitError where a GPU is meant, or there, that torch cannot use."""
    notes = []
    if timing.busy():
        notes.append("the machine was busy when the run began: times on several threads are not reliable")
    if asked != "cpu" and torch.cuda.is_available():
        return "cuda", notes
    there = ", ".join(gpu["name"] for gpu in host.gpus()[0])
    if asked == "cuda" or (there and asked is None):
        built = torch.version.cuda or torch.version.hip
        why = f"torch {torch.__version__} " + ("sees no GPU" if built else "is a CPU build")
        raise KitError(
            f"{why}{f', and this machine has {there}' if there else ''}: a GPU cannot be timed; "
            "python -m kit doctor says what helps, and --device cpu times the CPU"
        )
    if there:
        notes.append(f"the CPU was timed, as asked; this machine has {there}")
    return "cpu", notes
