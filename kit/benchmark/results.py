"""What a run of the benchmark found: its rows, recorded runs of other machines, and the comparison of two runs."""

import dataclasses
import importlib.util
import json
import os
import statistics
from typing import Any, Optional

from kit import data
from kit.benchmark.cases import Case
from kit.benchmark.contenders import COMPILED, TORCH, Contender
from kit.chart import Chart, roofline, speed
from kit.codec import decode
from kit.errors import KitError
from kit.record import Record

_RECORDED = "scatter-"  # so begin the names of the recorded runs in kit/data
CHARTS = {"speed": speed, "roofline": roofline}


class Result(Record):
    """One contender in one case: the median of its seconds, the quartiles around it, and the fraction of a copy's
    bandwidth that it reached; or ``why`` it has no time."""

    contender: str
    seconds: Optional[float] = None
    low: Optional[float] = None
    high: Optional[float] = None
    fraction: Optional[float] = None
    why: str = ""


class Row(Record):
    """One case, the bytes that it must move, and its results."""

    case: Case
    bytes: int
    results: tuple[Result, ...]

    def seconds(self, contender: str) -> Optional[float]:
        return next((r.seconds for r in self.results if r.contender == contender), None)

    def speed(self, contender: str, baseline: str) -> Optional[float]:
        """How many times as fast as the baseline; None where one of them has no time."""
        own, other = self.seconds(contender), self.seconds(baseline)
        return other / own if own and other else None


class Bench(Record):
    """A run on one device: ``kind`` is ``cpu`` or ``cuda``, ``bandwidth`` that of a copy in bytes a second; in each
    of the ``rounds`` of a case each contender was timed for ``slice`` seconds."""

    device: str
    kind: str
    threads: int
    date: str
    versions: dict[str, str]
    quick: bool
    rounds: int
    slice: float
    bandwidth: float
    contenders: tuple[Contender, ...]
    rows: tuple[Row, ...]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def timed(self) -> tuple[str, ...]:
        """The names of the contenders that were timed."""
        return tuple(c.name for c in self.contenders if c.state == "timed")

    @property
    def baseline(self) -> str:
        """Whom the others are compared with: compiled torch_scatter, or torch where that has no time."""
        return COMPILED if any(row.seconds(COMPILED) for row in self.rows) else TORCH

    @property
    def healthy(self) -> bool:
        """Whether all that is installed could be timed, with right results only."""
        usable = all(c.state != "unusable" for c in self.contenders)
        return usable and not any(result.why for row in self.rows for result in row.results)

    def speeds(
        self, contender: str, backward: bool, operation: Optional[str] = None, rows: Optional[int] = None
    ) -> list[float]:
        """How many times as fast as the baseline in each case, forward alone or with the gradient; of all operations
        and sizes, or of one."""
        cases = (
            row
            for row in self.rows
            if row.case.backward == backward
            and operation in (None, row.case.operation)
            and rows in (None, row.case.rows)
        )
        return [s for s in (row.speed(contender, self.baseline) for row in cases) if s is not None]

    def mean(
        self, contender: str, backward: bool, operation: Optional[str] = None, rows: Optional[int] = None
    ) -> Optional[float]:
        """The geometric mean of :meth:`speeds`; None where there are none."""
        speeds = self.speeds(contender, backward, operation, rows)
        return statistics.geometric_mean(speeds) if speeds else None

    def chart(self, kind: str = "speed") -> Chart:
        """``speed`` relative to the baseline, or ``roofline``: the fractions of a copy's bandwidth."""
        if kind not in CHARTS:
            raise KitError(f"no chart is called {kind!r}; there are {', '.join(CHARTS)}")
        return CHARTS[kind](self)

    def save(self, folder: str) -> None:
        """Write ``scatter.json`` into a folder, and the charts where matplotlib is installed."""
        files = {"scatter.json": (json.dumps(self.to_dict()) + "\n").encode()}
        if self.rows and importlib.util.find_spec("matplotlib"):
            files.update({f"{kind}.png": self.chart(kind).png for kind in CHARTS})
        try:
            os.makedirs(folder, exist_ok=True)
            for name, content in files.items():
                with open(os.path.join(folder, name), "wb") as stream:
                    stream.write(content)
        except OSError as error:
            raise KitError(f"{error.filename or folder} cannot be written: {error.strerror or error}") from None

    def to_dict(self) -> dict[str, Any]:
        return {"schema": 1, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, read: Any, source: str) -> "Bench":
        """What :meth:`to_dict` made, once it has been JSON.  KitError where it is something else."""
        if not isinstance(read, dict) or read.get("schema") != 1:
            raise KitError(f"{source} is not a result of kit bench")
        bench: Bench = decode(cls, {name: value for name, value in read.items() if name != "schema"}, source)
        return bench

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from kit import show

        return show.mimebundle(self)

    def __repr__(self) -> str:
        from kit import show

        return show.text(self)


class Compared(Record):
    """One contender in the cases that two runs have in common: how many times as fast as the baseline ``here`` and
    ``there``, and how many times as fast as there in seconds; geometric means."""

    contender: str
    backward: bool
    cases: int
    here: float
    there: float
    seconds: float


class Comparison(Record):
    """Two runs side by side."""

    here: Bench
    there: Bench
    baseline: str
    rows: tuple[Compared, ...]

    def to_dict(self) -> dict[str, Any]:
        rows = [dataclasses.asdict(row) for row in self.rows]
        return {"schema": 1, "device": self.there.device, "date": self.there.date, "rows": rows}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from kit import show

        return show.mimebundle(self)

    def __repr__(self) -> str:
        from kit import show

        return show.text(self)


def compare(here: Bench, there: Bench) -> Comparison:
    """Two runs, on the cases that they have in common."""
    baseline = here.baseline if here.baseline == there.baseline else TORCH
    recorded = {row.case: row for row in there.rows}
    pairs = [(row, recorded[row.case]) for row in here.rows if row.case in recorded]
    rows = []
    for contender in here.timed:
        for backward in (False, True):
            found = []
            for ours, theirs in pairs:
                speeds = ours.speed(contender, baseline), theirs.speed(contender, baseline)
                seconds = ours.seconds(contender), theirs.seconds(contender)
                if ours.case.backward == backward and speeds[0] and speeds[1] and seconds[0] and seconds[1]:
                    found.append((*speeds, seconds[1] / seconds[0]))
            if found:
                rows.append(Compared(contender, backward, len(found), *map(statistics.geometric_mean, zip(*found))))
    return Comparison(here, there, baseline, tuple(rows))


def names() -> tuple[str, ...]:
    """The names of the recorded runs, sorted."""
    files = os.listdir(os.path.dirname(data.__file__))
    return tuple(
        sorted(n[len(_RECORDED) : -len(".json")] for n in files if n.startswith(_RECORDED) and n.endswith(".json"))
    )


def recorded(name: str) -> Bench:
    """The recorded run of this name.  KitError where there is none."""
    if name not in names():
        raise KitError(f"no recorded run is called {name!r}; there are {', '.join(names()) or 'none'}")
    return Bench.from_dict(data.table(_RECORDED + name), name)
