"""The papermill gate for a cluster: it fails with what is wrong on which nodes, or with what is not as recorded."""

import json
from typing import Optional

from kit.errors import KitError
from kit.gate import CheckFailed
from kit.nodes.records import Nodes
from kit.record import Record


class Passed(Record):
    """An open gate."""

    nodes: Nodes

    def __repr__(self) -> str:
        against = f", and as in {self.nodes.baseline}" if self.nodes.baseline else ""
        return f"check passed: {len(self.nodes.names):,} nodes, nothing wrong was found{against}"


def check(nodes: Nodes, findings: Optional[str] = None) -> Passed:
    """Write the JSON to the file ``findings``; raise CheckFailed with the whole answer where anything is wrong."""
    if findings:
        try:
            with open(findings, "w", encoding="utf-8") as stream:
                json.dump(nodes.to_dict(), stream, indent=1)
                stream.write("\n")
        except OSError as error:
            raise KitError(f"findings: {findings} cannot be written: {error.strerror or error}") from None
    if nodes.verdict == "broken":
        from kit import show

        raise CheckFailed(show.text(nodes))
    return Passed(nodes)
