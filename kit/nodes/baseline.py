"""What nodes were like when they were recorded, and how they differ from that now."""

import json
import os
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from kit import codec, recorded
from kit.errors import KitError
from kit.facts import Facts
from kit.nodes import names, sameness
from kit.nodes.difference import Tree, changes, leading, tree
from kit.nodes.records import Change, Drift, Group

SCHEMA = 1
Kind = tuple[frozenset[str], str]  # the names of the GPUs, and the processor's architecture


class Baseline:
    """The groups of a record (``kit nodes --record FILE``), or the facts of one machine."""

    def __init__(self, name: str, groups: Iterable[tuple[Iterable[str], Facts]]):
        self.name = os.path.basename(name)
        self.trees: dict[str, Tree] = {}  # by the digest of the facts
        self.kinds: dict[str, Kind] = {}
        self.known: dict[str, str] = {}  # a node's name: the digest of its facts
        for nodes, facts in groups:
            text = sameness.comparable(facts.to_dict())
            mark = sameness.digest(text)
            self.trees[mark], self.kinds[mark] = tree(json.loads(text)), _kind(facts)
            self.known.update(dict.fromkeys(nodes, mark))

    def drift(self, groups: Iterable[Group]) -> tuple[Drift, ...]:
        """Where groups are not as recorded.

        A node is held against what was recorded of it; one that was not recorded against the nearest that was.
        """
        found: dict[tuple[tuple[Change, ...], bool], list[str]] = defaultdict(list)
        for group in groups:
            text = sameness.comparable(group.facts.to_dict())
            mark, now, kind = sameness.digest(text), tree(json.loads(text)), _kind(group.facts)
            nearest = mark if mark in self.trees else self._nearest(now, kind)
            against = defaultdict(list)
            for node in group.nodes:
                against[self.known.get(node, nearest), node not in self.known and self._new(kind)].append(node)
            for (was, new), members in against.items():
                if was != mark:
                    found[changes(self.trees[was], now), new] += members
        drifts = [Drift(names.ordered(nodes), changed, new) for (changed, new), nodes in found.items()]
        return tuple(sorted(drifts, key=lambda d: (-len(d.nodes), [names.natural(n) for n in d.nodes], d.new)))

    def _nearest(self, now: Tree, kind: Kind) -> str:
        """The digest of the recorded facts that differ least, of the same kind where there is one."""

        def distance(mark: str) -> tuple[bool, int, int, str]:
            found = changes(self.trees[mark], now)
            return self.kinds[mark] != kind, sum(leading(c.path) for c in found), len(found), mark

        return min(self.trees, key=distance)

    def _new(self, kind: Kind) -> bool:
        """Whether nothing recorded has these GPUs (how many does not matter) and this processor's architecture."""
        gpus, machine = kind
        known = self.kinds.values()
        return machine not in {m for _, m in known} or (bool(gpus) and gpus not in {g for g, _ in known})


def _kind(facts: Facts) -> Kind:
    return frozenset(gpu.name for gpu in facts.host.gpus), facts.host.machine


def load(file: str) -> Baseline:
    """The baseline in a file that ``--record`` or ``kit collect -o`` wrote, or the name of a recorded machine."""
    try:
        with open(file, "rb") as stream:
            data = codec.read(stream.read(), file)
    except FileNotFoundError:
        if file in recorded.names():
            return Baseline(file, [((), recorded.recorded(file))])
        raise KitError(f"{file}: no such baseline; kit nodes --record {file} writes one") from None
    except OSError as error:
        raise KitError(f"{file} cannot be read: {error.strerror or error}") from None
    if not isinstance(data, dict) or "groups" not in data:
        return Baseline(file, [((), Facts.from_dict(data, file))])
    if data.get("schema") != SCHEMA or not isinstance(data["groups"], list) or not data["groups"]:
        raise KitError(f"{file}: no baseline of this kit, or one without nodes; kit nodes --record writes one")
    return Baseline(file, [_group(group, f"{file}: group {i}") for i, group in enumerate(data["groups"], 1)])


def _group(group: Any, where: str) -> tuple[list[str], Facts]:
    nodes = group.get("nodes") if isinstance(group, dict) else None
    if not isinstance(group, dict) or "facts" not in group:
        raise KitError(f"{where} holds no facts: this is no baseline; kit nodes --record FILE writes one")
    if not isinstance(nodes, list) or not all(isinstance(node, str) for node in nodes):
        raise KitError(f"{where}: a list of nodes is expected, this is {codec.kind_of(nodes)}")
    return nodes, Facts.from_dict(group["facts"], where)
