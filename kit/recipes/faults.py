"""A fault of a recipe: a rule's problem with its lines, and what to write instead, as they may be shown."""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Optional

from kit import redact
from kit.diagnose import CRASHED
from kit.findings import SEVERITIES, Finding, Fix
from kit.recipes.edits import between, checked, line_span
from kit.recipes.model import Edit, Problem, Span

# What is given a name like these is not to be shown; a variable that stands for it may be.
_SECRET = re.compile(
    r"""(\b\w*(?:TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|CREDENTIALS?|password)["']?\s*[=:]\s*["']?)([^\s"'$,;(){}\[\]]{4,})"""
)


class Fault(Finding):
    """A place in a recipe that leads to a failure.

    ``lines`` are those of the problem, from ``line`` to ``end_line``.  ``replacement`` is what to write instead of
    ``replaced``, which begin at line ``first``; None where the rule has no exact replacement.  All these are as they
    may be shown, without secrets; ``edits`` have the true text.  ``cell`` counts a notebook's cells from 1;
    ``listed`` is the file, named here, in which the package stands.
    """

    rule: str = ""
    file: str = ""
    line: int = 1
    end_line: int = 1
    column: int = 1
    lines: tuple[str, ...] = ()
    first: int = 1
    replaced: tuple[str, ...] = ()
    replacement: Optional[tuple[str, ...]] = None
    safe: bool = False
    edits: tuple[Edit, ...] = ()
    span: Span = Span(0, 0)
    cell: Optional[int] = None
    listed: str = ""

    def to_dict(self) -> dict[str, Any]:
        data = {name: value for name, value in super().to_dict().items() if name in Finding.__dataclass_fields__}
        replacement = None if self.replacement is None else list(self.replacement)
        replaces = None if replacement is None else [self.first, self.first + len(self.replaced) - 1]
        place = {"rule": self.rule, "line": self.line, "end_line": self.end_line}
        return {**data, **place, "replaces": replaces, "replacement": replacement, "safe": self.safe}


def placed(problem: Problem, file: str, text: str, edits: tuple[Edit, ...]) -> Fault:
    """A problem with its place in lines.  ValueError where it is none of this text."""
    span = problem.span
    edits = checked(edits, text)
    if not 0 <= span.start <= span.end <= len(text):
        raise ValueError(f"{problem.rule}: {span} lies outside of the text")
    whole = line_span(text, span)
    line = text.count("\n", 0, whole.start) + 1
    lines = shown_lines(text[whole.start : whole.end])
    first, replaced = line, shown_lines("")
    replacement: Optional[tuple[str, ...]] = None
    if edits:
        region = line_span(text, Span(edits[0].span.start, edits[-1].span.end))
        first = text.count("\n", 0, region.start) + 1
        replaced = shown_lines(text[region.start : region.end])
        replacement = shown_lines(between(text, region, edits))
    return Fault(
        problem.failure,
        problem.severity,
        problem.package,
        shown(problem.summary),
        tuple(map(shown, problem.evidence)),
        tuple(map(_shown_fix, problem.fix)),
        rule=problem.rule,
        file=file,
        line=line,
        end_line=line + max(len(lines), 1) - 1,
        column=span.start - whole.start + 1,
        lines=lines,
        first=first,
        replaced=replaced,
        replacement=replacement,
        safe=problem.safe and bool(edits),
        edits=edits,
        span=span,
    )


def _shown_fix(fix: Fix) -> Fix:
    argv = None if fix.argv is None else tuple(map(shown, fix.argv))
    env = {name: shown(value) for name, value in fix.env.items()}
    return Fix(fix.kind, shown(fix.why), argv, env, fix.safety, fix.cost)


def shown(text: str) -> str:
    """Text out of a file as it may be shown: without tokens, passwords and what is called so."""
    return _SECRET.sub(r"\1****", redact.text(text))


def shown_lines(text: str) -> tuple[str, ...]:
    return tuple(shown(line).rstrip("\r") for line in text.rstrip("\n").split("\n")) if text else ()


def ordered(faults: Iterable[Fault]) -> list[Fault]:
    """From the first line on; of two rules that say the same of one place, the more exact."""
    kept: list[Fault] = []
    for fault in sorted(faults, key=_exactness):
        if not any(_same(fault, other) for other in kept):
            kept.append(fault)
    return sorted(kept, key=lambda f: (f.line, SEVERITIES.index(f.severity), f.span.start, f.rule))


def _exactness(fault: Fault) -> tuple[Any, ...]:
    """The lower, the more exact: it has a replacement, and names a smaller place."""
    return (not fault.edits, fault.span.end - fault.span.start, SEVERITIES.index(fault.severity), fault.rule)


def _same(one: Fault, other: Fault) -> bool:
    if one.failure != other.failure or CRASHED in (one.failure, other.failure):
        return False
    if one.rule == other.rule:
        return (one.span, one.summary) == (other.span, other.summary)
    apart = one.edits and other.edits and not set(one.edits) & set(other.edits)
    return not apart and one.span.start < other.span.end and other.span.start < one.span.end


def in_cells(faults: Iterable[Fault], text: str) -> list[Fault]:
    """The faults of a notebook, with the cell that each is in."""
    from kit.recipes.reading.source import nodes, parse

    faults = list(faults)
    spans: list[tuple[int, int]] = []
    for pair in [node for root in nodes(parse("json", text), "object") for node in root.children] if faults else []:
        key, value = pair.child_by_field_name("key"), pair.child_by_field_name("value")
        if key is not None and value is not None and text[key.start_byte : key.end_byte] == '"cells"':
            spans = [(cell.start_byte, cell.end_byte) for cell in value.children if cell.type == "object"]
    return [
        replace(
            fault, cell=next((n for n, (start, end) in enumerate(spans, 1) if start <= fault.span.start < end), None)
        )
        for fault in faults
    ]
