"""The answer about all nodes as one JSON object, and the record of it that a later check is held against."""

from collections.abc import Iterable
from typing import Any

from kit.nodes.names import compact
from kit.nodes.records import SCHEMA, Change, Nodes


def of(nodes: Nodes) -> dict[str, Any]:
    """What ``kit nodes --json`` prints."""
    return {
        "schema": SCHEMA,
        "verdict": nodes.verdict,
        "nodes": len(nodes.names),
        "groups": [
            {
                **_named(group.nodes),
                "verdict": group.verdict,
                "differs": {change.path: change.now for change in group.differs},
                "findings": [finding.to_dict() for finding in group.findings],
            }
            for group in nodes.groups
        ],
        "silent": [{**_named(row.nodes), "state": row.state, "why": row.why} for row in nodes.silent],
        "failed": [{**_named(row.nodes), "check": row.check, "detail": row.detail} for row in nodes.failed],
        "outliers": [
            {
                "node": row.node,
                "index": row.index,
                "kind": row.kind,
                "measure": row.measure,
                "value": row.value,
                "median": row.median,
                "ratio": round(row.ratio, 4),
                "peers": row.peers,
            }
            for row in nodes.outliers
        ],
        "baseline": nodes.baseline,
        "drift": [
            {**_named(row.nodes), "new": row.new, "changes": [_change(change) for change in row.changes]}
            for row in nodes.drift
        ],
    }


def record(nodes: Nodes) -> dict[str, Any]:
    """What ``--record FILE`` writes and ``--baseline FILE`` reads: the facts of each group, and its nodes."""
    groups = [{"nodes": list(group.nodes), "facts": group.facts.to_dict()} for group in nodes.groups]
    return {"schema": SCHEMA, "groups": groups}


def _named(nodes: Iterable[str]) -> dict[str, Any]:
    found = tuple(nodes)
    return {"nodes": compact(found), "count": len(found)}


def _change(change: Change) -> dict[str, Any]:
    return {"path": change.path, "was": change.was, "now": change.now}
