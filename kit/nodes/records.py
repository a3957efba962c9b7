"""What is known of the nodes of a cluster: each node's answer, groups of equal nodes, and what stands out."""

import re
from collections.abc import Iterator
from typing import Any, Callable, Optional, Union

from kit.errors import KitError
from kit.facts import Facts
from kit.findings import SEVERITIES, Finding
from kit.record import Record

SCHEMA = 1
_ADVICE = re.compile(r"; (?:make|collect)\b.*")

# Of a node without facts, or whose facts came late, it says what happened:
#   answered    with facts, in time
#   late        with facts, after the time that a node may take
#   silent      nothing came: the node is down, unreachable, or what ran there hangs
#   crashed     what ran there ended itself: a signal such as SIGSEGV, an exception, a full disk
#   killed      something else ended it: out of memory, the scheduler, a worker that was lost in the middle
#   unreadable  something came that holds no facts: empty, cut off, no JSON, of another schema
#   refused     the node ran, and cannot do what was asked: the interpreter is not there, no permission
STATES = ("answered", "late", "silent", "crashed", "killed", "unreadable", "refused")


class Asked(Record):
    """What every node is asked, and what the scheduler has to be told.

    ``python`` is the interpreter under test (None: the one that runs on the node), ``limit`` the seconds that a node
    may take.  ``nodes`` are names, or how many; None: what the scheduler gives or the engine has.  ``probes`` tells
    whether doubtful imports are tried.  ``gpus`` is how many GPUs of a node the scheduler is asked for: most
    hide those that a job has not asked for.  ``folder`` is where the nodes' files are kept (None: not kept).
    """

    python: Optional[str] = None
    limit: float = 60.0
    verify: bool = False
    bench: bool = False
    probes: bool = True
    nodes: Optional[Union[int, tuple[str, ...]]] = None
    workers: Optional[int] = None
    partition: Optional[str] = None
    queue: Optional[str] = None
    account: Optional[str] = None
    walltime: Optional[str] = None
    gpus: Optional[int] = None
    options: tuple[str, ...] = ()
    folder: Optional[str] = None


class Answer(Record):
    """What came of one node.  ``node`` is its name as the scheduler has it, ``state`` one of :data:`STATES`.

    ``facts`` are there with the states answered and late.  Instead of them ``data`` may hold their JSON object, not
    yet decoded: of many equal nodes only one is.  ``why`` is one line: what was seen.  ``verified`` is the JSON of
    ``kit verify``.  ``measured`` holds ``"gpu"``, the GPU's name or None, and numbers of which more is better, as
    ``"rows_per_second"``; without a GPU ``"cpu"``, the processor's name, or nothing is compared.  Of several GPUs it
    is a list of such objects, with ``"index"``.  What went wrong while measuring stands under ``"why"``.
    """

    node: str
    state: str
    facts: Optional[Facts] = None
    why: str = ""
    seconds: Optional[float] = None
    verified: Optional[dict[str, Any]] = None
    measured: Optional[Union[dict[str, Any], list[dict[str, Any]]]] = None
    data: Optional[dict[str, Any]] = None


# (what is being done, how many nodes are done, of how many): 0 where that is not known.
Tell = Callable[[str, int, int], None]
# kit.nodes.engines.engine(name) gives one; each yields its answers as they come, one for each node.
Engine = Callable[[Asked, Optional[Tell]], Iterator[Answer]]


class Change(Record):
    """One fact, ``path``, that is ``was`` in the reference and ``now`` here; None where it is not there."""

    path: str
    was: Optional[str]
    now: Optional[str]


def reason(error: KitError) -> str:
    """Why facts cannot be read, in short: who asks a thousand nodes needs no advice for one file."""
    return _ADVICE.sub("", str(error)).removeprefix("facts: ")


class Group(Record):
    """Nodes whose facts are equal in all that is compared.

    ``facts`` are without what is a node's or a job's own (:mod:`kit.nodes.sameness`).  ``differs`` says in which
    facts the group differs from the first one, by their path; of the first group it is empty.
    """

    nodes: tuple[str, ...]
    facts: Facts
    findings: tuple[Finding, ...] = ()
    differs: tuple[Change, ...] = ()

    @property
    def severity(self) -> str:
        """The worst of its findings: error, warning, note, or '' without any."""
        return min((f.severity for f in self.findings), key=SEVERITIES.index, default="")

    @property
    def verdict(self) -> str:
        return "broken" if self.severity in SEVERITIES[:2] else "healthy"


class Silent(Record):
    """Nodes that did not answer as they should, for one reason: ``state`` of :data:`STATES`, ``why`` in one line.

    Those that answered, or were late, are in a group too.
    """

    nodes: tuple[str, ...]
    state: str
    why: str


class Drift(Record):
    """Nodes that differ from the baseline in the same way.

    ``new`` tells that the baseline has no node of this kind (its GPUs, its processor's architecture); the changes are
    then against the nearest that it has.
    """

    nodes: tuple[str, ...]
    changes: tuple[Change, ...]
    new: bool = False


class Outlier(Record):
    """A measured value far below that of its peers, GPUs of the same ``kind``; ``ratio`` is that to their median."""

    node: str
    kind: str
    measure: str
    value: float
    median: float
    ratio: float
    peers: int
    index: Optional[int] = None


class Failed(Record):
    """A check of ``kit verify`` that failed in the same way on some nodes."""

    check: str
    detail: str
    nodes: tuple[str, ...]


class Nodes(Record):
    """The answer: ``groups``, the largest first, and what stands out.  ``baseline`` names what was compared with."""

    groups: tuple[Group, ...] = ()
    silent: tuple[Silent, ...] = ()
    drift: tuple[Drift, ...] = ()
    outliers: tuple[Outlier, ...] = ()
    failed: tuple[Failed, ...] = ()
    baseline: Optional[str] = None

    @property
    def names(self) -> tuple[str, ...]:
        """Every node, answered or not."""
        from kit.nodes import names

        found = {n for part in (self.groups, self.silent) for row in part for n in row.nodes}
        return names.ordered(found)

    @property
    def verdict(self) -> str:
        """``broken`` where a node differs from the baseline, gave no facts in time, or has something to repair."""
        found = self.silent or self.drift or self.outliers or self.failed
        return "broken" if found or any(g.verdict == "broken" for g in self.groups) else "healthy"

    def to_dict(self) -> dict[str, Any]:
        from kit.nodes import document

        return document.of(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from kit import show

        return show.mimebundle(self)

    def __repr__(self) -> str:
        from kit import show

        return show.text(self)
