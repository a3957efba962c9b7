"""The same facts from every node of a cluster, put together: which nodes differ, and why.

    from kit import nodes
    nodes.check("facts/")                         a folder that holds one facts file for each node
    nodes.check(engine="slurm", nodes="node[1-8]")   collected now: local, slurm, srun, pbs, pbsdsh, or an address
    nodes.record(answer, "nodes.json")            what they are now
    nodes.check("facts/", baseline="nodes.json")  and what has changed since that was recorded

What a node is asked is in :class:`kit.nodes.records.Asked`, what comes back in :class:`kit.nodes.records.Nodes`.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Optional, Union

from kit.errors import KitError
from kit.nodes.records import Answer, Asked, Nodes, Tell


def check(
    folder: Optional[str] = None,
    *,
    engine: Optional[str] = None,
    nodes: Union[str, int, None] = None,
    gpu: Optional[str] = None,
    baseline: Optional[str] = None,
    keep: Optional[str] = None,
    tell: Optional[Tell] = None,
    **asked: Any,
) -> Nodes:
    """Ask every node, or read what a folder holds, and say which nodes differ and why.

    ``nodes`` are names such as ``node[001-128]``, or how many.  Of a folder they are those that should be in it; with
    a baseline, those that the baseline knows.  ``gpu`` is a compute capability to diagnose for; ``keep`` a folder
    to write what every node answered into.  ``asked`` are the further fields of
    :class:`~kit.nodes.records.Asked`.  Raises KitError where an argument cannot be used.
    """
    from kit.nodes import baseline as recorded
    from kit.nodes import grouping

    against = recorded.load(baseline) if baseline else None
    wanted = _wanted(nodes)
    names = () if wanted is None or isinstance(wanted, int) else wanted
    question = Asked(nodes=wanted, folder=keep, **asked)
    if folder is not None:
        from kit.nodes.folder import answers

        expected = names or (against.known if against else ())
        none = "it has written no file"
        return grouping.group(answers(folder), gpu=gpu, baseline=against, expected=expected, missing=none)
    from kit.nodes.engines import engine as named

    came = _kept(named(engine or "local")(question, tell), keep)
    return grouping.group(came, gpu=gpu, baseline=against, expected=names)


def record(answer: Nodes, file: str) -> None:
    """Write what the nodes are now, as a baseline.  KitError where none gave facts, or the file cannot be written."""
    import json

    from kit.nodes import document
    from kit.nodes.folder import save

    if not answer.groups:
        raise KitError("no node gave facts, so there is nothing to record")
    save(json.dumps(document.record(answer), indent=1) + "\n", file)


def _wanted(nodes: Union[str, int, None]) -> Union[int, tuple[str, ...], None]:
    """Names, or how many: ``'16'`` and 16 are a number."""
    if nodes is None or isinstance(nodes, int):
        return nodes
    from kit.nodes.names import expand

    return int(nodes) if nodes.strip().isdigit() else expand(nodes)


def _kept(answers: Iterable[Answer], folder: Optional[str]) -> Iterator[Answer]:
    """The answers, each written into the folder where there is one."""
    from kit.nodes.folder import keep

    for answer in answers:
        if folder is not None:
            keep(answer, folder)
        yield answer
