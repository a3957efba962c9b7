"""Measures the GPUs of a node for some seconds, in the interpreter under test: a child with a time limit."""

import importlib.util
import json
from typing import Any, Optional, Union

from kit.collect import probe, redactor
from kit.collect.run import run
from kit.facts import Facts

MARKER = "kit-measure-answer:"  # as in measure_child.py, which is for the interpreter under test
# Not by path: in the one file that goes to a node it lies in no folder.
_CHILD = "kit.nodes.measure_child"
Measured = Optional[Union[dict[str, Any], list[dict[str, Any]]]]


def measure(executable: str, facts: Facts, limit: float) -> tuple[Measured, str]:
    """(what was measured, why nothing was): one object, or a list of one for each of several GPUs."""
    if facts.torch is None:
        return None, "not measured: torch is not installed"
    source = importlib.util.find_spec(_CHILD).loader.get_source(_CHILD)  # type: ignore[union-attr]
    outcome = run([executable, "-c", source], limit)
    lines = [line for line in outcome.out.splitlines() if line.startswith(MARKER)]
    try:
        answer = json.loads(lines[-1][len(MARKER) :]) if lines else None
    except ValueError:  # killed while it wrote
        answer = None
    if outcome.status is None:
        return None, f"not measured: no answer within {limit:g} s"
    hide = redactor()
    if isinstance(answer, list) and answer:
        rows = [hide(row) for row in answer if isinstance(row, dict)]
        return (rows[0] if len(rows) == 1 else rows), ""
    return None, hide(f"not measured: {answer if isinstance(answer, str) else probe.last_error(outcome)}")
