"""Measured values that are far below those of their peers, GPUs of the same kind.

A value is an outlier below 80 per cent of the median of its kind; of an even number the higher of the two middle
values is taken, so that a slow half does not hide itself.  Of two alone nobody knows which is wrong: the slower one
is named below half of the other.  Where most of a kind are slow, nothing here tells it.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Optional

from kit import redact
from kit.nodes import names
from kit.nodes.records import Outlier
from kit.record import Record

FRACTION = 0.8
OF_TWO = 0.5


class Measured(Record):
    """One value of one GPU, or of the processor; more is better."""

    node: str
    kind: str
    measure: str
    value: float
    index: Optional[int] = None


def measured(node: str, row: dict[str, Any]) -> Iterator[Measured]:
    """The values in what a node measured.  Without the name of a GPU or processor there is nothing to compare."""
    kind, index = row.get("gpu") or row.get("cpu"), row.get("index")
    if not isinstance(kind, str):
        return
    for name, value in row.items():
        if name != "index" and type(value) in (int, float) and math.isfinite(value) and value >= 0:
            yield Measured(node, redact.text(kind), name, float(value), index if type(index) is int else None)


def outliers(values: Iterable[Measured]) -> tuple[Outlier, ...]:
    """The outliers, the slowest first."""
    peers: dict[tuple[str, str], list[Measured]] = defaultdict(list)
    for value in values:
        peers[value.kind, value.measure].append(value)
    found = [outlier for rows in peers.values() for outlier in _among(rows)]
    return tuple(sorted(found, key=lambda o: (o.ratio, names.natural(o.node), o.index or 0, o.kind, o.measure)))


def _among(rows: list[Measured]) -> Iterator[Outlier]:
    median = statistics.median_high(row.value for row in rows)
    limit = OF_TWO if len(rows) == 2 else FRACTION
    for row in rows:
        if row.value < limit * median:
            ratio = row.value / median
            yield Outlier(row.node, row.kind, row.measure, row.value, median, ratio, len(rows) - 1, row.index)
