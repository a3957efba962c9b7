"""Asks a scheduler for its nodes and their state, and for the reason why a job waits."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from kit.collect.run import Outcome, run
from kit.errors import KitError
from kit.nodes.engines import asking
from kit.nodes.records import Answer
from kit.record import Record

LIMIT = 30.0  # seconds for one of the scheduler's commands
# Slurm's states of nodes that run no jobs (man sinfo); "*" behind a state: the node does not respond.
_DOWN = ("down", "drain", "fail", "unknown", "maint", "reboot", "inval", "future", "power", "no_respond")
_PBS_DOWN = ("down", "offline", "state-unknown", "stale", "unresolvable", "initializing", "provisioning")


class Node(Record):
    """One node as its scheduler knows it; ``why`` is there where it runs nothing: its state, and the reason."""

    name: str
    state: str
    default: bool = True
    why: str = ""

    @property
    def down(self) -> bool:
        return bool(self.why)


def slurm(partition: Optional[str] = None) -> dict[str, Node]:
    """The nodes that ``sinfo`` knows, by name."""
    argv = ["sinfo", "--Node", "--noheader", "--format=%N|%T|%P|%E"]
    outcome = command([*argv, *([f"--partition={partition}"] if partition else [])], "Slurm", "sinfo")
    found: dict[str, Node] = {}
    for line in outcome.out.splitlines():
        name, state, where, reason = [*line.split("|", 3), "", "", ""][:4]
        default = bool(partition) or where.endswith("*")
        before = found.get(name)
        found[name] = Node(name, state, default or (before is not None and before.default), _down(state, reason))
    if not found:
        what = f"no nodes in the partition {partition!r}" if partition else "no nodes"
        raise KitError(f"sinfo knows {what}; sinfo lists the partitions and their nodes")
    return found


def _down(state: str, reason: str) -> str:
    if not (state.endswith("*") or any(word in state.lower() for word in _DOWN)):
        return ""
    return f"Slurm: {state}" + (f", {reason.strip()}" if reason.strip() not in ("", "none") else "")


def pbs() -> dict[str, Node]:
    """The nodes that ``pbsnodes`` knows, by name."""
    outcome = command(["pbsnodes", "-a", "-F", "json"], "PBS", "pbsnodes")
    try:
        rows = json.loads(outcome.out)["nodes"]
        return {name: Node(name, str(row.get("state", "")), True, _pbs_down(row)) for name, row in rows.items()}
    except (ValueError, KeyError, AttributeError, TypeError):
        raise KitError("pbsnodes -a -F json gave no list of nodes; name them: --nodes node[01-16]") from None


def _pbs_down(row: Mapping[str, Any]) -> str:
    state = str(row.get("state", ""))
    if not set(_PBS_DOWN) & set(state.split(",")):
        return ""
    return f"PBS: {state}" + (f", {row['comment']}" if row.get("comment") else "")


def preferred(there: Mapping[str, Node]) -> list[str]:
    """The nodes to ask where none are named: those of the default partition; those that run jobs come first."""
    from kit.nodes import names

    known = [node for node in there.values() if node.default] or list(there.values())
    return [node.name for node in sorted(known, key=lambda node: (node.down, names.natural(node.name)))]


def refused(wanted: Sequence[str], there: Mapping[str, Node], scheduler: str) -> list[Answer]:
    """The answers of those nodes to which no job can go, with the scheduler's reason."""
    known = {"slurm": "Slurm", "pbs": "PBS"}[scheduler]
    found = []
    for name in wanted:
        node = there.get(name)
        if node is None:
            found.append(Answer(name, "refused", why=f"{known} knows no node of this name"))
        elif node.down:
            found.append(Answer(name, "refused", why=node.why))
    return found


def waiting(job: str) -> str:
    """Why a job of Slurm waits, in Slurm's words; '' where it does not say."""
    try:
        outcome = run(["squeue", "--noheader", f"--jobs={job}", "--format=%T, %r"], LIMIT)
    except OSError:
        return ""
    return " ".join(outcome.out.split()) if outcome.status == 0 else ""


def command(argv: Sequence[str], scheduler: str, name: str) -> Outcome:
    """The outcome of one of the scheduler's commands; KitError where it is not here or fails."""
    try:
        outcome = run(argv, LIMIT)
    except FileNotFoundError:
        raise asking.missing(
            name,
            f"this engine asks {scheduler}",
            f"run it on a login node of the cluster (module load {scheduler.lower()}), or use --engine local",
        ) from None
    except OSError as error:
        raise KitError(f"{name} cannot be started: {error.strerror or error}") from None
    if outcome.status != 0:
        said = (outcome.err or outcome.out).strip().splitlines() or ["no output"]
        why = f"no answer within {LIMIT:.0f} s" if outcome.status is None else said[-1].strip()
        raise KitError(f"{name} failed: {why}")
    return outcome
