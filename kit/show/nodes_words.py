"""Words for the nodes of a cluster: its facts, its groups, what stands out, and what to do next."""

import signal
from collections.abc import Sequence
from typing import Optional

from kit.findings import Finding
from kit.nodes.difference import leading, main, rank
from kit.nodes.names import compact
from kit.nodes.records import Change, Group, Nodes, Outlier
from kit.show.parts import COLOURS
from kit.symbols import printable

NAMED = 48  # names of one list; of more, the first ones and how many there are
GROUPS = 12  # that are shown whole
FACTS = 16  # rows of the matrix, and facts of a group, that are shown whole
ROWS = 20  # of each other list

_WORDS = {
    "host.gpus": "GPUs",
    "host.driver": "driver",
    "host.driver.version": "driver",
    "host.machine": "processor",
    "host.os": "system",
    "host.kernel": "kernel",
    "host.libc": "C library",
    "host.libstdcxx": "C++ library",
    "host.compiler": "compiler",
    "host.container": "container",
    "host.scheduler": "scheduler",
    "host.job": "in a job",
    "python.version": "Python",
    "python.executable": "interpreter",
    "torch": "torch",
    "torch.version": "torch",
    "torch.cuda": "CUDA of torch",
    "torch.hip": "ROCm of torch",
    "torch.architectures": "GPU code of torch",
    "torch.missing_files": "files torch lacks",
    "torch.changed_files": "files of torch that changed",
}
_OF = {
    "extensions": "{}",
    "distributions": "package {}",
    "modules": "where {} is",
    "probes": "import {}",
    "unread": "not readable: {}",
    "others": "other Python: {}",
    "host.toolkits": "CUDA toolkit {}",
}
_ASK = {
    "silent": "ask the scheduler how {} is: scontrol show node, or pbsnodes",
    "killed": "ask the scheduler what became of the job on {}: sacct, or qstat -x",
    "refused": "name an interpreter that is there on {}, with --python",
    "late": "the same again on {} with a longer --limit",
}
_ABSENT = {"variables": "not set", "distributions": "not installed", "extensions": "not installed"}
_AFTER = {"built_for_torch": ", built for torch", "built_for_cuda": ", built for CUDA"}


def fact(path: str) -> str:
    """A fact in words: ``host.driver.version`` is the driver."""
    kind, bracket, rest = path.partition("[")
    key, _, after = rest.rpartition("]")
    if kind == "variables" or path.startswith("variables."):
        return path.partition(".")[2]
    if bracket and kind in _OF and leading(path):
        return _OF[kind].format(key) + _AFTER.get(after.lstrip("."), "")
    return _WORDS.get(path, path)


def value(path: str, told: Optional[str]) -> str:
    """What a fact is, in words."""
    if told is None:
        return next((words for start, words in _ABSENT.items() if path.startswith(start)), "not there")
    if path.startswith("probes[") and told.lstrip("-").isdigit():
        number = int(told)
        return "works" if number == 0 else f"fails ({_signal(-number) if number < 0 else f'exit status {number}'})"
    return told or "none"


def _signal(number: int) -> str:
    found = [s.name for s in signal.Signals if s.value == number]
    return found[0] if found else f"signal {number}"


def letter(number: int) -> str:
    """The name of a group: A, B, ... Z, A2, B2, ..."""
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[number % 26] + (str(number // 26 + 1) if number >= 26 else "")


def some(nodes: Sequence[str]) -> str:
    """The names of nodes in the schedulers' notation; of very many the first ones and how many more."""
    whole = printable(compact(nodes))
    if len(nodes) <= NAMED or len(whole) <= 200:
        return str(whole)
    return f"{printable(compact(nodes[:NAMED]))} and {len(nodes) - NAMED:,} more"


def count(number: int, what: str = "node") -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def headline(nodes: Nodes) -> str:
    """The verdict, and what it rests on, in one sentence."""
    groups, total = nodes.groups, len(nodes.names)
    parts = []
    repair = sum(len(g.nodes) for g in groups if g.verdict == "broken")
    if repair:
        parts.append(f"{repair:,} {'has' if repair == 1 else 'have'} something to repair")
    if nodes.silent:
        parts.append(f"{len({n for row in nodes.silent for n in row.nodes}):,} did not answer as asked")
    if nodes.drift:
        changed = sum(len(row.nodes) for row in nodes.drift)
        parts.append(f"{changed:,} {'is' if changed == 1 else 'are'} not as in {nodes.baseline}")
    if nodes.failed:
        parts.append(f"{len({n for row in nodes.failed for n in row.nodes}):,} failed a check")
    if nodes.outliers:
        slow = len({outlier.node for outlier in nodes.outliers})
        parts.append(
            f"{slow:,} {'is' if slow == 1 else 'are'} far slower than {'its' if slow == 1 else 'their'} peers"
        )
    if parts:
        return f"broken: of {count(total)} {', '.join(parts)}"
    if not total:
        return "healthy: no node was asked"
    alike = "all alike" if len(groups) == 1 else f"in {len(groups)} groups"
    against = f", as in {nodes.baseline}" if nodes.baseline else ""
    return f"healthy: {count(total)}, {alike}{against}; nothing wrong was found in what can be read"


def state(group: Group) -> str:
    found = [f.failure for f in group.findings if f.severity != "note"]
    return f"{group.severity}: {', '.join(dict.fromkeys(found))}" if found else "healthy"


def shared(groups: Sequence[Group]) -> list[tuple[Finding, list[int]]]:
    """Each finding once, with the groups that have it, the worst and those of most nodes first."""
    found: list[tuple[Finding, list[int]]] = []
    for number, group in enumerate(groups):
        for finding in group.findings:
            for known, where in found:
                if known == finding:
                    where.append(number)
                    break
            else:
                found.append((finding, [number]))
    order = list(COLOURS)
    return sorted(found, key=lambda row: (order.index(row[0].severity), -sum(len(groups[n].nodes) for n in row[1])))


def speed(outlier: Outlier) -> str:
    """One outlier in words."""
    gpu = "" if outlier.index is None else f" GPU {outlier.index}"
    return (
        f"{outlier.node}{gpu}: {outlier.ratio:.0%} of its peers in {outlier.measure.replace('_', ' ')} "
        f"({_short(outlier.value)} against {_short(outlier.median)}), {outlier.kind}, {count(outlier.peers, 'peer')}"
    )


def _short(number: float) -> str:
    """``9.2e11`` is 920 G."""
    scale, unit = next(((s, u) for s, u in ((1e12, " T"), (1e9, " G"), (1e6, " M")) if number >= s), (1.0, ""))
    return f"{number / scale:.3g}{unit}" if unit else f"{number:.4g}"


def others(nodes: Nodes) -> list[tuple[str, list[tuple[str, ...]]]]:
    """(heading, rows) of what stands out apart from the groups."""
    out: list[tuple[str, list[tuple[str, ...]]]] = []
    if nodes.silent:
        silent = [_told(r.nodes, r.state, r.why) for r in nodes.silent]
        out.append(("Did not answer as asked", silent))
    if nodes.failed:
        failed = [_told(r.nodes, r.check, r.detail) for r in nodes.failed]
        out.append(("Checks that failed on", failed))
    return out


def _told(nodes: Sequence[str], *words: str) -> tuple[str, ...]:
    return (some(nodes), str(len(nodes)), *map(str, map(printable, words)))


def changed(change: Change) -> str:
    return f"{fact(change.path)}: {value(change.path, change.was)} -> {value(change.path, change.now)}"


def split(changes: Sequence[Change]) -> tuple[list[Change], int]:
    """The changes to look at first, and how many more there are."""
    by_path = {change.path: change for change in changes}
    shown = [by_path[path] for path in main(by_path)][:FACTS]
    return shown, len(changes) - len(shown)


def more_facts(number: int) -> str:
    return f"and {count(number, 'fact')} that {'goes' if number == 1 else 'go'} with it (--json has all)"


def on(groups: Sequence[Group], where: Sequence[int]) -> str:
    found = [node for number in where for node in groups[number].nodes]
    named = ", ".join(letter(number) for number in where[:GROUPS])
    more = f" and {count(len(where) - GROUPS, 'more group')}" if len(where) > GROUPS else ""
    return f"{count(len(found))} ({named}{more}): {some(found)}"


def many_values(groups: Sequence[Group]) -> list[str]:
    """Of very many groups: the facts that have most values, for it is one of them that parts the nodes."""
    values: dict[str, set[Optional[str]]] = {}
    for group in groups:
        for change in group.differs:
            values.setdefault(change.path, {change.was}).add(change.now)
    order = sorted(values, key=lambda path: (-len(values[path]), rank(path), path))
    return [f"{fact(path)}: {count(len(values[path]), 'value')}" for path in order[:5]]


def next_step(nodes: Nodes) -> str:
    """The command to run next."""
    broken = [group for group in nodes.groups if group.verdict == "broken"]
    if broken:
        return f"on {broken[0].nodes[0]}: python -m kit doctor --python {broken[0].facts.python.executable}"
    if nodes.silent:
        row = nodes.silent[0]
        return _ASK.get(row.state, "collect from {} once more, and look at what it prints").format(row.nodes[0])
    if nodes.drift and not (nodes.outliers or nodes.failed):
        return "where a change was meant, --record FILE makes it the new baseline"
    if nodes.drift or nodes.outliers or nodes.failed:
        return "the same check again, when they are mended"
    return "python -m kit nodes --record nodes.json keeps this; --baseline nodes.json compares the next time"


def cells(groups: Sequence[Group], path: str) -> list[str]:
    """What a fact is in each group, the first one's first."""
    was = next((c.was for g in groups for c in g.differs if c.path == path), None)
    out = []
    for group in groups:
        told = {change.path: change.now for change in group.differs}
        above = any(path.startswith((f"{other}.", f"{other}[")) for other, now in told.items() if now is None)
        inner = f"{path}.version"
        out.append(value(path, told[path] if path in told else None if above else told.get(inner, was)))
    return out
