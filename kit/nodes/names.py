"""Names of nodes in the schedulers' own notation, ``node[001-128,130]``, there and back."""

import importlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from kit.errors import KitError

MOST = 100_000  # names that one notation may stand for
FOLDED = 200  # names with several numbers of which all are folded
_MISSING = (
    'kit nodes needs ClusterShell, which is not installed here: in the kit\'s folder, pip install -e ".[nodes]"'
)
# ClusterShell gives @ ! & ^ , [ ] and blanks a meaning: a group, whose members a command may be asked for, or a sum.
_PLAIN = re.compile(r"[A-Za-z0-9_][\w.:-]*", re.ASCII)
_NOTATION = re.compile(r"[\w.:,\[\]/-]+", re.ASCII)
_NUMBER = re.compile(r"[0-9]+")
_HUGE = re.compile(r"[0-9]{16}")  # no node has such a number, and no range of them can be made
_RANGE = re.compile(r"(\d+)(?:-(\d+))?(?:/(\d+))?")


def compact(names: Iterable[str]) -> str:
    """Names in one word, ``node[001-128,130]``; a name that is no name of a node stands behind them, in quotes."""
    given = set(names)
    plain = ordered(name for name in given if _PLAIN.fullmatch(name) and not _HUGE.search(name))
    strange = [json.dumps(name) for name in ordered(given.difference(plain))]
    alike: dict[str, list[str]] = defaultdict(list)
    for name in plain:
        alike[_NUMBER.sub("0", name)].append(name)
    return ",".join([*(part for form, found in alike.items() for part in _folded(form, found)), *strange])


def _folded(form: str, names: list[str]) -> Iterator[str]:
    """Names that differ in their numbers alone.  ClusterShell folds several numbers at once, which takes minutes for
    thousands of names in no order: of these the last number before the domain is folded."""
    if len(names) == 1:
        yield names[0]
    elif form.count("0") == 1 or len(names) <= FOLDED:
        cluster = _clustershell("NodeSet")
        yield str(cluster.NodeSet.fromlist(names, resolver=cluster.RESOLVER_NOGROUP))
    else:
        rows: dict[tuple[str, str], list[str]] = defaultdict(list)
        for name in names:
            short = name.partition(".")[0]
            *_, number = _NUMBER.finditer(short if re.search(r"[A-Za-z]\D*\d", short) else name)
            rows[name[: number.start()], name[number.end() :]].append(number.group())
        for (before, after), found in rows.items():
            numbers = _clustershell("RangeSet").RangeSet.fromlist(found)
            yield f"{before}[{numbers}]{after}" if len(found) > 1 else f"{before}{found[0]}{after}"


def expand(notation: str) -> tuple[str, ...]:
    """The names that ``node[001-003],login`` stands for.  KitError where it is no such notation, or of too many."""
    text = notation.strip()
    if not _NOTATION.fullmatch(text) or _HUGE.search(text) or text.count("[") != text.count("]"):
        raise KitError(f"not names of nodes: {notation!r}; they look like node[001-128,130]")
    if _count(text) > MOST:
        raise KitError(f"{notation!r} stands for more than {MOST:,} nodes; name fewer")
    cluster = _clustershell("NodeSet")
    try:
        # Word by word: all at once takes seconds for thousands of names with several numbers.
        sets = [cluster.NodeSet(word, resolver=cluster.RESOLVER_NOGROUP) for word in _words(text)]
    except cluster.NodeSetException as error:
        raise KitError(f"not names of nodes: {notation!r} ({error}); they look like node[001-128,130]") from None
    return ordered({name for found in sets for name in found})


def _words(text: str) -> list[str]:
    """A notation at its commas, but for those in brackets."""
    return re.split(r",(?![^\[]*\])", text)


def _count(text: str) -> int:
    """How many names a notation stands for, at most, without making them."""
    total = 0
    for word in _words(text):
        product = 1
        for inner in re.findall(r"\[([^\]]*)\]", word):
            ranges = (_RANGE.fullmatch(part) for part in inner.split(","))
            product *= sum(abs(int(m.group(2) or m.group(1)) - int(m.group(1))) + 1 for m in ranges if m) or 1
        total += product
    return total


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Names as people count: node2 before node10."""
    return tuple(sorted(names, key=natural))


def natural(name: str) -> tuple[Any, ...]:
    """A key to sort names by: numbers in them by their value."""
    words, numbers = _NUMBER.split(name), [n.lstrip("0") for n in _NUMBER.findall(name)]
    return (*((word, len(number), number) for word, number in zip(words, [*numbers, ""])), name)


@cache
def _clustershell(module: str) -> Any:
    try:
        return importlib.import_module(f"ClusterShell.{module}")
    except ImportError:
        raise KitError(_MISSING) from None
