"""How a verification, a plan, the receipt of a repair and the list of replacements look."""

import os
import sys
from html import escape
from typing import Any

from kit.findings import Finding, quote
from kit.show.parts import (
    MARKS,
    code_html,
    details,
    duration,
    environment,
    paragraph,
    price,
    section,
    table_html,
    wrap,
)


def verification_text(verification: Any) -> str:
    """One line a check, count last; the last line is the command to run next."""
    checks = verification.checks
    width = max([len(c.name) for c in checks] or [0])
    lines = [
        f"{verification.verdict}: {_verification_sentence(verification)}",
        f"Python: {verification.python}",
        "",
    ]
    for check in checks:
        lead = f"  {MARKS[check.ok]:<6}  {check.name:<{width}}  "
        took = f"  ({check.seconds:.1f} s)" if check.ok is not None else ""
        lines.append(wrap(check.detail + took, lead, " " * len(lead)))
    lines += ["", verification_count(checks)]
    if verification.verdict == "broken":
        python = verification.python
        own = os.path.expanduser(python) == sys.executable
        lines.append("Next: python -m kit doctor" + ("" if own else f" --python {quote(python)}"))
    return "\n".join(lines)


def _verification_sentence(verification: Any) -> str:
    failed = [c for c in verification.checks if c.ok is False]
    if failed:
        return f"{failed[0].name}: {failed[0].detail}"
    unchecked = [c.name for c in verification.checks if c.ok is None]
    return (
        "every check passed"
        if not unchecked
        else f"every check that could run passed; not checked: {', '.join(unchecked)}"
    )


def verification_count(checks: Any) -> str:
    passed, failed = (sum(c.ok is value for c in checks) for value in (True, False))
    return f"{passed} passed, {failed} failed, {len(checks) - passed - failed} not checked"


def verification_html(verification: Any) -> str:
    checks = verification.checks
    head = ("result", "check", "what was seen", "seconds")
    rows = [(MARKS[c.ok], c.name, c.detail, "" if c.ok is None else f"{c.seconds:.1f}") for c in checks]
    out = paragraph(
        f"<strong>{verification.verdict}: {escape(_verification_sentence(verification))}</strong>", size=15
    )
    return section(out + table_html(rows, head) + paragraph(verification_count(checks), faint=True))


def plan_sentence(plan: Any) -> str:
    """What the plan comes to, in one sentence."""
    steps, left = len(plan.steps), len(plan.left)
    mends = f"{steps} step{'s' * (steps != 1)} mend{'s' * (steps == 1)} what was found"
    if steps and left:
        return f"{mends}, except what is left to you"
    if steps:
        return mends
    return "nothing that the kit can mend by itself" if left else "nothing to mend"


def _step_price(step: Any) -> str:
    return " · ".join(filter(None, [f"mends {step.failure}", price(step.fix)]))


def _by_hand(finding: Finding) -> list[str]:
    """What a person can do about a finding that is left: fixes by hand, and where there are none, all."""
    return [fix.why for fix in finding.fix if fix.argv is None or fix.safety == "manual"] or [
        fix.why for fix in finding.fix
    ]


def plan_text(plan: Any) -> str:
    """The steps as they would be done, what is left, and that nothing has changed yet."""
    lines = [f"plan: {plan_sentence(plan)}", environment(plan.facts)]
    lines.append(wrap(plan.facts.python.executable, "Python: "))
    for number, step in enumerate(plan.steps, 1):
        lines += ["", wrap(step.why, f"  {number}. ", "     "), wrap(_step_price(step), "     ")]
        lines.append(f"     {step.fix.command()}")
    for finding in plan.left:
        lines += ["", wrap(f"left to you: {finding.title}  [{finding.failure}]")]
        lines += [wrap(why, "     - ", "       ") for why in _by_hand(finding)]
    for reason in plan.refused:
        lines += ["", wrap(reason, "  not taken: ", "     ")]
    return "\n".join([*lines, "", "Nothing has been changed."])


def plan_html(plan: Any) -> str:
    out = [paragraph(f"<strong>{escape(plan_sentence(plan))}</strong>", size=15)]
    out.append(paragraph(escape(environment(plan.facts)), faint=True))
    steps = "".join(f'<li style="margin:0 0 6px">{step_html(step)}</li>' for step in plan.steps)
    if steps:
        out.append(f'<ol style="margin:0 0 10px;padding-left:20px">{steps}</ol>')
    return section("".join(out) + left_html(plan) + paragraph("Nothing has been changed.", faint=True))


def step_html(step: Any) -> str:
    """What a step does, what it costs, and its command."""
    command = code_html(step.fix.command() or "")
    return f"<strong>{escape(step.why)}</strong> · {escape(_step_price(step))}<br>{command}"


def left_html(plan: Any) -> str:
    """What a plan leaves to a person, and which fixes it did not take."""
    out = []
    for finding in plan.left:
        items = "".join(f"<li>{escape(why)}</li>" for why in _by_hand(finding))
        out.append(paragraph(f"<strong>Left to you:</strong> {escape(finding.title)}"))
        out.append(f'<ul style="margin:0 0 10px;padding-left:20px">{items}</ul>')
    if plan.refused:
        reasons = "".join(f"<li>{escape(reason)}</li>" for reason in plan.refused)
        out.append(details("Not taken", f"<ul>{reasons}</ul>"))
    return "".join(out)


_STATES = {
    "applied": "repaired and verified",
    "undone": "as it was before",
    "nothing": "nothing was changed",
    "interrupted": "interrupted in the middle: undo it first",
}


def receipt_sentence(receipt: Any) -> str:
    """What came of a repair, in one sentence."""
    steps = len(receipt.steps)
    done = f", {steps} step{'s' * (steps != 1)} in {duration(round(receipt.seconds))}"
    return _STATES[receipt.state] + (done if receipt.state == "applied" else "")


def _receipt_rows(receipt: Any) -> list[tuple[str, str]]:
    rows = [(f"step {number}", step.why) for number, step in enumerate(receipt.steps, 1)]
    if receipt.why:
        rows.append(("why", receipt.why))
    rows += [("note", note) for note in receipt.notes]
    if receipt.verification is not None:
        rows.append(
            ("verified", f"{receipt.verification.verdict}, {verification_count(receipt.verification.checks)}")
        )
    if receipt.state == "applied":
        rows += [("undo with", f"python -m kit undo {quote(receipt.path)}"), ("kept in", receipt.path)]
    return rows


def receipt_text(receipt: Any) -> str:
    """What was done, whether it works now, and how to take it back."""
    lines = [f"{receipt.state}: {receipt_sentence(receipt)}", wrap(receipt.python, "Python: "), ""]
    rows = _receipt_rows(receipt)
    width = max([len(name) for name, _ in rows] or [0])
    lines += [wrap(said, f"  {name:<{width}}  ", " " * (width + 4)) for name, said in rows]
    return "\n".join(lines).rstrip()


def receipt_html(receipt: Any) -> str:
    out = paragraph(f"<strong>{escape(receipt_sentence(receipt))}</strong>", size=15)
    return section(out + table_html(_receipt_rows(receipt)))


_PLACES = {
    "absent": "nothing of that name is installed",
    "namespace": "a folder without __init__.py is in its place",
    "lacking": "the installed package is incomplete",
    "empty": "the installed package is empty",
    "other": "another package of that name is installed",
    "working": "the real one is installed",
    "shim": "switched on",
}


def shims_text(shims: Any) -> str:
    """Every replacement: what it replaces, what stands in its place here, what it does not cover."""
    lines = []
    for shim, at in shims.rows:
        lines += [f"{shim.name}: {_PLACES[at.kind]}" + (f" ({at.path})" if at.path else "")]
        lines += [wrap(f"The kit has {shim.replaces}. {shim.costs}", "  ")]
    return "\n".join(lines)


def shims_html(shims: Any) -> str:
    rows = [
        (
            shim.name,
            f"{_PLACES[at.kind]}{f' ({at.path})' if at.path else ''}. The kit has {shim.replaces}. {shim.costs}",
        )
        for shim, at in shims.rows
    ]
    return section(table_html(rows))
