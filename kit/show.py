"""How results look: complete plain text for terminals, logs and screen readers, and the only HTML of the kit.

HTML uses semantic tags, inline style and ``currentColor``, and never colour alone, so that it reads the same in
light, dark, untrusted and printed notebooks.  The text carries every word of it.
"""

import os
import sys
import textwrap
from collections import Counter
from html import escape
from typing import Any, Optional

from kit.agreement import Agreement
from kit.diagnose import CRASHED
from kit.facts import Facts
from kit.failures import failure
from kit.findings import Finding, Findings, Fix, quote
from kit.symbols import printable
from kit.xray import File, XRay

WIDTH = 100
_COLOURS = {"error": "#d9480f", "warning": "#b08900", "note": "#1c7ed6"}
_MARKS = {True: "ok", False: "FAILED", None: "-"}


def text(thing: Any) -> str:
    """The complete plain text of findings, a verification or facts."""
    shown: str = _views(thing)[0](thing)
    return shown


def html(thing: Any) -> str:
    """The same as HTML for a notebook."""
    shown: str = _views(thing)[1](thing)
    return shown


def mimebundle(thing: Any) -> dict[str, str]:
    """What Jupyter shows: both forms."""
    return {"text/plain": text(thing), "text/html": html(thing)}


def _views(thing: Any) -> Any:
    """The two views of a result, by the name of its class: the doctor does not load what only a repair needs."""
    return {
        "Bench": (bench_text, bench_html),
        "Chart": (chart_text, chart_html),
        "Comparison": (comparison_text, comparison_html),
        "Findings": (findings_text, findings_html),
        "Facts": (facts_text, facts_html),
        "XRay": (xray_text, xray_html),
        "Agreement": (agreement_text, agreement_html),
        "Plan": (plan_text, plan_html),
        "Receipt": (receipt_text, receipt_html),
        "Shims": (shims_text, shims_html),
        "Verification": (verification_text, verification_html),
        "Wheels": (wheels_text, wheels_html),
    }[type(thing).__name__]


# -- words that text and HTML share


def environment(facts: Facts) -> str:
    """One line: which Python, which torch, which GPU."""
    torch = facts.torch
    parts = [f"Python {facts.python.version}"]
    parts.append(f"torch {torch.version} ({torch.build})" if torch else "torch is not installed")
    host = facts.host
    for gpu in host.gpus:
        parts.append(gpu.name + (f" ({gpu.capability})" if gpu.capability and not gpu.wished else ""))
    if not host.gpus:
        parts.append("no NVIDIA GPU visible")
    if host.driver:
        parts.append(f"driver {host.driver.version}")
    return " · ".join(parts)


def headline(findings: Findings) -> str:
    """The verdict in one sentence."""
    if findings.verdict == "broken":
        return f"broken: {next(iter(findings)).title}"
    if findings.facts.torch is None:
        return "healthy: nothing wrong was found, but torch is not installed here, so little could be"
    return "healthy: nothing wrong was found in what can be read"


def count(findings: Findings) -> str:
    """``'1 error, 2 warnings'``."""
    parts = []
    for severity in ("error", "warning", "note"):
        number = sum(f.severity == severity for f in findings)
        if number:
            parts.append(f"{number} {severity}{'s' * (number > 1)}")
    return ", ".join(parts) or "no findings"


def next_command(findings: Findings) -> str:
    """The command to run next: the repair where the kit can try one, else the check that follows a fix by hand."""
    verb = "verify" if findings.verdict == "healthy" else "repair" if _mendable(findings) else "doctor"
    return f"python -m kit {verb}{_python_option(findings.facts)}"


def _mendable(findings: Findings) -> bool:
    fixes = (fix for finding in findings if finding.severity != "note" for fix in finding.fix)
    return any(fix.argv is not None and fix.safety == "changes-environment" for fix in fixes)


def _python_option(facts: Facts) -> str:
    python = facts.python.executable
    own = os.path.expanduser(python) == sys.executable
    return "" if own else f" --python {quote(python)}"


def price(fix: Fix) -> str:
    """What a fix costs, in words: ``'about 12 min · downloads 3.0 GB · restart'``."""
    cost, parts = fix.cost, []
    if cost.seconds is not None:
        parts.append("at once" if cost.seconds < 3 else "about " + _duration(cost.seconds))
    if cost.download_mb:
        big = cost.download_mb >= 1000
        parts.append(f"downloads {cost.download_mb / 1000:.1f} GB" if big else f"downloads {cost.download_mb} MB")
    if cost.restart:
        parts.append("then restart Python")
    if fix.safety == "manual":
        parts.append("by hand")
    if cost.undo:
        parts.append("can be undone")
    return " · ".join(parts)


def _duration(seconds: int) -> str:
    return f"{seconds} s" if seconds < 90 else f"{round(seconds / 60)} min"


def _instead(finding: Finding) -> str:
    return "" if finding.failure == CRASHED else failure(finding.failure).instead


def _evidence(finding: Finding) -> list[tuple[str, str]]:
    """Evidence as (what was read, what it said)."""
    return [(what, said) if said else ("", what) for what, _, said in (e.partition(": ") for e in finding.evidence)]


# -- findings


def findings_text(findings: Findings) -> str:
    """Summary first, details after, count last; the last line is the command to run next."""
    lines = [
        headline(findings),
        environment(findings.facts),
        _wrap(findings.facts.python.executable, "Python: "),
    ]
    if findings.facts.about.source != "collected":
        lines.append(f"machine: {findings.facts.about.name} ({findings.facts.about.source})")
    if len(findings) > 1:
        lines.append("")
        lines += [f"  {f.severity:<8} {f.failure:<26} {f.title}" for f in findings]
    for finding in findings:
        lines += ["", *_finding_lines(finding)]
    lines += ["", count(findings), f"Next: {next_command(findings)}"]
    return "\n".join(lines)


def _finding_lines(finding: Finding) -> list[str]:
    lines = [f"{finding.severity}: {finding.title}  [{finding.failure}]", _wrap(finding.rest)]
    rows = _evidence(finding)
    if rows:
        lines.append("  How we know")
        width = min(34, max(len(what) for what, _ in rows))
        for what, said in rows:
            lead = f"    {what:<{width}}  "
            if len(what) > width:
                lines.append(f"    {what}")
                lead = " " * (width + 6)
            lines.append(_wrap(said, lead, " " * (width + 6)))
    if finding.fix:
        lines.append("  What helps, best first" if len(finding.fix) > 1 else "  What helps")
    for number, fix in enumerate(finding.fix, 1):
        lines.append(_wrap(" · ".join(filter(None, [fix.why, price(fix)])), f"    {number}. ", "       "))
        command = fix.command()
        if command:
            lines.append(f"       {command}")
    if _instead(finding):
        lines.append(_wrap(_instead(finding)))
    return [line for line in lines if line.strip()]


def _wrap(value: str, first: str = "  ", rest: Optional[str] = None) -> str:
    return textwrap.fill(
        value,
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first) if rest is None else rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def findings_html(findings: Findings) -> str:
    """The first cause as a card; each further one as a line that opens; the last words are how to check."""
    first, others = next(iter(findings), None), findings.findings[1:]
    broken = findings.verdict == "broken"
    verdict = f"{findings.verdict} · {count(findings)}" if broken else headline(findings)
    out = [
        _p(f"<strong>{escape(verdict)}</strong>", size=15),
        _p(escape(environment(findings.facts)), faint=True),
    ]
    if first is not None:
        out.append(_card(_finding_html(first), _COLOURS[first.severity]))
    if others:
        out.append(_p("<strong>Also found</strong>"))
        for finding in others:
            summary = f"{escape(finding.title)} · {finding.severity}"
            out.append(_details(summary, _finding_html(finding, title=False)))
    words = "To mend it, and to be able to undo that:" if _mendable(findings) else "Next:"
    out.append(_p(f"{words} {_code(next_command(findings))}", faint=True))
    return _section("".join(out))


def _finding_html(finding: Finding, title: bool = True) -> str:
    out = []
    if title:
        out.append(_p(escape(finding.title), size=15, bold=True))
    out.append(_p(escape(finding.rest)))
    rows = "".join(
        f'<tr><td style="padding:2px 14px 2px 0;vertical-align:top;text-align:left">{escape(what)}</td>'
        f'<td style="padding:2px 0;text-align:left">{escape(said)}</td></tr>'
        for what, said in _evidence(finding)
    )
    if rows:
        table = (
            f'<table style="border-collapse:collapse;margin:4px 0 0;background:none;font-size:13px">{rows}</table>'
        )
        out.append(_details("<strong>How we know</strong>", table, open=True))
    if finding.fix:
        out.append(
            _p("<strong>What helps, best first</strong>" if len(finding.fix) > 1 else "<strong>What helps</strong>")
        )
        items = "".join(f'<li style="margin:0 0 6px">{_fix_html(fix)}</li>' for fix in finding.fix)
        out.append(f'<ol style="margin:0 0 10px;padding-left:20px">{items}</ol>')
    if _instead(finding):
        out.append(_p(escape(_instead(finding)), faint=True))
    if finding.failure != CRASHED:
        page = f'<pre style="white-space:pre-wrap;margin:4px 0">{escape(str(failure(finding.failure).page))}</pre>'
        out.append(_details(f"{finding.severity} · {finding.failure}", page))
    return "".join(out)


def _fix_html(fix: Fix) -> str:
    cost, command = price(fix), fix.command()
    return (
        f"<strong>{escape(fix.why)}</strong>"
        + (f" · {escape(cost)}" if cost else "")
        + (f"<br>{_code(command)}" if command else "")
    )


# -- facts


def _facts_rows(facts: Facts) -> list[tuple[str, str]]:
    torch, host = facts.torch, facts.host
    gpus = ", ".join(g.name + (f" ({g.capability})" if g.capability else "") for g in host.gpus)
    rows = [
        ("Python", f"{facts.python.version}, {facts.python.executable}"),
        ("torch", f"{torch.version}, {torch.build}" if torch else "not installed"),
    ]
    if torch and torch.architectures:
        rows.append(("torch holds code for", " ".join(torch.architectures)))
    for e in facts.extensions:
        built = f", built for torch {e.built_for_torch}" if e.built_for_torch else ""
        cuda = {None: "", "cpu": ", CPU build"}.get(e.built_for_cuda, f", CUDA {e.built_for_cuda}")
        rows.append((e.package, f"{e.version}{built}{cuda}"))
    rows.append(("GPU", gpus or "none visible"))
    if host.driver:
        rows.append(("driver", host.driver.version + (f", runs CUDA {host.driver.cuda}" if host.driver.cuda else "")))
    if host.toolkits:
        rows.append(("CUDA toolkit", ", ".join(f"{t.version} in {t.path}" for t in host.toolkits)))
    rows.append(
        (
            "system",
            ", ".join(filter(None, [host.os, host.libc, host.compiler, host.container, host.scheduler])),
        )
    )
    rows.append(("packages", f"{len(facts.distributions)} installed"))
    if facts.about.source != "collected":
        rows.append(
            (
                "source",
                f"{facts.about.name}, {facts.about.source}" + (f": {facts.about.note}" if facts.about.note else ""),
            )
        )
    rows += [("could not be read", f"{u.what}: {u.why}") for u in facts.unread]
    return rows


def facts_text(facts: Facts) -> str:
    rows = _facts_rows(facts)
    width = max(len(name) for name, _ in rows)
    return "\n".join(_wrap(value, f"{name:<{width}}  ", " " * (width + 2)) for name, value in rows)


def facts_html(facts: Facts) -> str:
    return _section(_table(_facts_rows(facts)))


# -- agreement

_AGREES = {True: "agree", False: "DIFFER", None: "cannot tell"}
_AGREEMENT_HEAD = ("what has to agree", "here", "there", "")


def _agreement_rows(agreement: Agreement) -> list[tuple[str, str, str, str]]:
    return [(p.what, p.one, p.other, _AGREES[p.agrees]) for p in agreement.pairs]


def agreement_text(agreement: Agreement) -> str:
    rows = _agreement_rows(agreement)
    if not rows:
        return "nothing to compare: torch is not installed"
    lines = []
    for what, one, other, agrees in rows:
        lines += [f"{agrees:<11}  {what}", f"{'':<13}{one}", f"{'':<13}{other}"]
    return "\n".join(lines)


def agreement_html(agreement: Agreement) -> str:
    rows = _agreement_rows(agreement)
    return _section(_table(rows, _AGREEMENT_HEAD) if rows else _p("nothing to compare: torch is not installed"))


# -- X-ray

_ANSWERS = {True: "yes", False: "NO", None: "-"}
# What every library needs, on every machine, tells nothing.
_EVERYWHERE = ("libc.", "libm.", "libdl.", "libpthread.", "librt.", "ld-linux", "libgcc_s.", "libutil.")
_NAMED = 6  # libraries of one file
_SHOWN_WHOLE = 3  # files of which the text tells everything; of more, only the broken ones


def _xray_gpu(shown: XRay) -> str:
    """The GPUs in words: ``'compute capability 12.0'``, ``'NVIDIA L4 (8.9)'``."""
    named = [gpu.name if gpu.wished else f"{gpu.name} ({gpu.capability})" for gpu in shown.gpus]
    return ", ".join(dict.fromkeys(named)) or "a GPU"


def _xray_sentence(shown: XRay) -> str:
    files = shown.files
    some = "1 file" if len(files) == 1 else f"{len(files)} files"
    failing = [f for f in files if f.binary.loads is False]
    unknown = [f for f in files if f.binary.loads is None]
    if not files:
        return "no compiled file was read"
    if failing:
        return "it would not load" if len(files) == 1 else f"{len(failing)} of {some} would not load"
    if shown.verdict == "broken":
        return f"no code for {_xray_gpu(shown)} in {some}"
    if unknown:
        return f"{some} read; whether {len(unknown)} of them would load is not known"
    return "it would load" if len(files) == 1 else f"{some} read, each would load"


def _xray_table(shown: XRay) -> list[tuple[str, ...]]:
    """The head, then a row for each file, the broken ones first.  Without a GPU there is no column for it."""
    head = ("file", "needs", "GPU code", "would load", f"runs on {_xray_gpu(shown)}", "why")
    rows: list[tuple[str, ...]] = [head]
    for file in sorted(shown.files, key=lambda f: f.binary.loads is not False):
        b = file.binary
        runs = _ANSWERS[file.runs_on_gpu] if b.device_code else "no code" if file.runs_on_gpu is False else "-"
        rows.append((b.path, _needed(file), _held(file), _ANSWERS[b.loads], runs, "; ".join(file.why)))
    return rows if shown.gpus else [(*row[:4], row[5]) for row in rows]


def _held(file: File) -> str:
    b = file.binary
    return (" ".join([*b.architectures, *b.ptx]) or "none") + (f" (CUDA {b.cuda})" if b.cuda else "")


def _needed(file: File) -> str:
    b = file.binary
    versions = (("Python", b.python_tag), ("GLIBC", b.glibc), ("GLIBCXX", b.glibcxx))
    libraries = [name for name in b.needs if not name.startswith(_EVERYWHERE)]
    if len(libraries) > _NAMED:
        libraries[_NAMED - 1 :] = [f"{len(libraries) - _NAMED + 1} more"]
    return ", ".join([*libraries, *(f"{name} {version}" for name, version in versions if version)])


def xray_text(shown: XRay) -> str:
    """The verdict, the environment, then the files: in full where they are few or broken, else a line each."""
    lines = [_wrap(f"{shown.verdict}: {_xray_sentence(shown)}", ""), _wrap(printable(shown.against), "against: ")]
    head, *rows = [tuple(map(printable, row)) for row in _xray_table(shown)]
    few = len(rows) <= _SHOWN_WHOLE
    whole = [row for row in rows if few or row[3] == "NO"]
    width = max(map(len, head))
    for path, *cells in whole:
        named = [(name, cell) for name, cell in zip(head[1:], cells) if cell]
        lines += ["", path, *(_wrap(cell, f"  {name:<{width}}  ", " " * (width + 4)) for name, cell in named)]
    rest = [head, *(row for row in rows if not few and row[3] != "NO")]
    brief = [(*row[3:-1], row[2], row[0]) for row in rest]
    if brief[1:]:
        widths = [max(map(len, column)) for column in zip(*brief)][:-1]
        lines += ["", *("  ".join([*map(str.ljust, row, widths), row[-1]]) for row in brief)]
    return "\n".join(lines)


def xray_html(shown: XRay) -> str:
    head, *rows = _xray_table(shown)
    out = _p(f"<strong>{escape(shown.verdict)}: {escape(_xray_sentence(shown))}</strong>", size=15)
    out += _p(f"against {escape(shown.against)}", faint=True)
    return _section(out + (_table(rows, head) if rows else ""), width=80)


# -- verification


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
        lead = f"  {_MARKS[check.ok]:<6}  {check.name:<{width}}  "
        took = f"  ({check.seconds:.1f} s)" if check.ok is not None else ""
        lines.append(_wrap(check.detail + took, lead, " " * len(lead)))
    lines += ["", _verification_count(checks)]
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


def _verification_count(checks: Any) -> str:
    passed, failed = (sum(c.ok is value for c in checks) for value in (True, False))
    return f"{passed} passed, {failed} failed, {len(checks) - passed - failed} not checked"


def verification_html(verification: Any) -> str:
    checks = verification.checks
    head = ("result", "check", "what was seen", "seconds")
    rows = [(_MARKS[c.ok], c.name, c.detail, "" if c.ok is None else f"{c.seconds:.1f}") for c in checks]
    out = _p(f"<strong>{verification.verdict}: {escape(_verification_sentence(verification))}</strong>", size=15)
    return _section(out + _table(rows, head) + _p(_verification_count(checks), faint=True))


# -- plan and receipt


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
    lines.append(_wrap(plan.facts.python.executable, "Python: "))
    for number, step in enumerate(plan.steps, 1):
        lines += ["", _wrap(step.why, f"  {number}. ", "     "), _wrap(_step_price(step), "     ")]
        lines.append(f"     {step.fix.command()}")
    for finding in plan.left:
        lines += ["", _wrap(f"left to you: {finding.title}  [{finding.failure}]")]
        lines += [_wrap(why, "     - ", "       ") for why in _by_hand(finding)]
    for reason in plan.refused:
        lines += ["", _wrap(reason, "  not taken: ", "     ")]
    return "\n".join([*lines, "", "Nothing has been changed."])


def plan_html(plan: Any) -> str:
    out = [_p(f"<strong>{escape(plan_sentence(plan))}</strong>", size=15)]
    out.append(_p(escape(environment(plan.facts)), faint=True))
    steps = "".join(
        f'<li style="margin:0 0 6px"><strong>{escape(step.why)}</strong> · {escape(_step_price(step))}'
        f"<br>{_code(step.fix.command() or '')}</li>"
        for step in plan.steps
    )
    if steps:
        out.append(f'<ol style="margin:0 0 10px;padding-left:20px">{steps}</ol>')
    for finding in plan.left:
        items = "".join(f"<li>{escape(why)}</li>" for why in _by_hand(finding))
        out.append(_p(f"<strong>Left to you:</strong> {escape(finding.title)}"))
        out.append(f'<ul style="margin:0 0 10px;padding-left:20px">{items}</ul>')
    if plan.refused:
        reasons = "".join(f"<li>{escape(reason)}</li>" for reason in plan.refused)
        out.append(_details("Not taken", f"<ul>{reasons}</ul>"))
    return _section("".join(out) + _p("Nothing has been changed.", faint=True))


_STATES = {
    "applied": "repaired and verified",
    "undone": "as it was before",
    "nothing": "nothing was changed",
    "interrupted": "interrupted in the middle: undo it first",
}


def receipt_sentence(receipt: Any) -> str:
    """What came of a repair, in one sentence."""
    steps = len(receipt.steps)
    done = f", {steps} step{'s' * (steps != 1)} in {_duration(round(receipt.seconds))}"
    return _STATES[receipt.state] + (done if receipt.state == "applied" else "")


def _receipt_rows(receipt: Any) -> list[tuple[str, str]]:
    rows = [(f"step {number}", step.why) for number, step in enumerate(receipt.steps, 1)]
    if receipt.why:
        rows.append(("why", receipt.why))
    rows += [("note", note) for note in receipt.notes]
    if receipt.verification is not None:
        rows.append(
            ("verified", f"{receipt.verification.verdict}, {_verification_count(receipt.verification.checks)}")
        )
    if receipt.state == "applied":
        rows += [("undo with", f"python -m kit undo {quote(receipt.path)}"), ("kept in", receipt.path)]
    return rows


def receipt_text(receipt: Any) -> str:
    """What was done, whether it works now, and how to take it back."""
    lines = [f"{receipt.state}: {receipt_sentence(receipt)}", _wrap(receipt.python, "Python: "), ""]
    rows = _receipt_rows(receipt)
    width = max([len(name) for name, _ in rows] or [0])
    lines += [_wrap(said, f"  {name:<{width}}  ", " " * (width + 4)) for name, said in rows]
    return "\n".join(lines).rstrip()


def tick_text(tick: Any) -> str:
    """How far a repair is: ``'[1/2] downloading torch 312 of 740 MB, 0:42 of about 1:10'``."""
    parts = [f"[{tick.step}/{tick.steps}] {tick.what} {tick.detail}".rstrip()]
    if tick.done is not None:
        scale, unit = (1e6, " MB") if tick.unit == "bytes" else (1, f" {tick.unit}".rstrip())
        done = f"{tick.done / scale:.0f}"
        parts.append(f"{done} of {tick.total / scale:.0f}{unit}" if tick.total else f"{done}{unit}")
    clock = f"{int(tick.elapsed) // 60}:{int(tick.elapsed) % 60:02}"
    usual = f" of about {_duration(round(tick.usual))}" if tick.usual else ""
    return ", ".join([*parts, clock + usual])


def receipt_html(receipt: Any) -> str:
    out = _p(f"<strong>{escape(receipt_sentence(receipt))}</strong>", size=15)
    return _section(out + _table(_receipt_rows(receipt)))


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
        lines += [_wrap(f"The kit has {shim.replaces}. {shim.costs}", "  ")]
    return "\n".join(lines)


def shims_html(shims: Any) -> str:
    rows = [
        (
            shim.name,
            f"{_PLACES[at.kind]}{f' ({at.path})' if at.path else ''}. The kit has {shim.replaces}. {shim.costs}",
        )
        for shim, at in shims.rows
    ]
    return _section(_table(rows))


def chart_text(chart: Any) -> str:
    return _wrap(chart.words)


def chart_html(chart: Any) -> str:
    import base64

    picture = base64.b64encode(chart.png).decode()
    image = f'<img style="max-width:100%" alt="{escape(chart.words)}" src="data:image/png;base64,{picture}">'
    return f'<figure style="margin:8px 0">{image}</figure>'


# -- benchmark

_DIRECTIONS = {False: "forward", True: "with gradient"}


def _bench_sentence(bench: Any) -> str:
    threads = f"{bench.threads} thread{'s' * (bench.threads != 1)}, " if bench.kind == "cpu" else ""
    torch, python = bench.versions["torch"], bench.versions["python"]
    return f"{bench.device} ({threads}torch {torch}, Python {python}, {bench.date})"


def _bench_contenders(bench: Any) -> list[tuple[str, str]]:
    rows = []
    for c in bench.contenders:
        code = {None: "", True: ", CUDA", False: ", no CUDA"}[c.cuda]
        built = f", compiled{code}: {c.library}" if c.library else ""
        rows.append((c.name, c.version + built if c.state == "timed" else f"NOT TIMED: {printable(c.why)}"))
    return rows


def _bench_speeds(bench: Any) -> list[tuple[str, ...]]:
    """(contender, direction, geometric mean, least, greatest, cases at least as fast) against the baseline."""
    rows = []
    for name in bench.timed:
        for backward, direction in _DIRECTIONS.items():
            speeds = bench.speeds(name, backward)
            if name != bench.baseline and speeds:
                won = f"{sum(s >= 1 for s in speeds)} of {len(speeds)}"
                rows.append(
                    (name, direction, *map(_times, (bench.mean(name, backward), min(speeds), max(speeds))), won)
                )
    return rows


_SPEEDS_HEAD = ("contender", "direction", "mean", "least", "most", "at least as fast")


def _times(speed: float) -> str:
    return f"{speed:.3g}x"


def _bench_rows(bench: Any) -> tuple[tuple[str, ...], list[tuple[str, ...]], list[str]]:
    """The head, a row for each case, and why results have no time."""
    timed = bench.timed
    rows, notes = [], []
    for row in bench.rows:
        results = {result.contender: result for result in row.results}
        cells = []
        for name in timed:
            result = results.get(name)
            if result is not None and result.why:
                notes.append(printable(f"{name}, {row.case.operation} {_case(row.case)}: {result.why}"))
                cells.append(f"NO TIME ({len(notes)})")
            else:
                cells.append("-" if result is None else _result(result))
        rows.append((row.case.operation, _case(row.case), *cells))
    return ("operation", "rows x features > groups", *timed), rows, notes


def _case(case: Any) -> str:
    direction = ", gradient" if case.backward else ""
    return f"{_power(case.rows)} x {case.features} > {_power(case.groups)} {case.index}{direction}"


def _power(number: int) -> str:
    digits = str(number)
    return f"{digits[0]}e{len(digits) - 1}" if number >= 10**4 and not digits[1:].strip("0") else digits


def _result(result: Any) -> str:
    """The median, half the distance of the quartiles in per cent of it, and the fraction of a copy's bandwidth."""
    spread = (result.high - result.low) / 2 / result.seconds
    return f"{_short(result.seconds)} ±{spread:.0%} {result.fraction:.0%}"


def _short(seconds: float) -> str:
    scale, unit = next(((s, u) for s, u in ((1, "s"), (1e3, "ms")) if seconds * s >= 1), (1e6, "us"))
    return f"{seconds * scale:.3g} {unit}"


_EACH_RESULT = "the median of the times, half the distance of their quartiles, the part of a copy's bandwidth reached"


def bench_text(bench: Any) -> str:
    """Who is how much faster, then every case."""
    lines = [_bench_sentence(bench), f"a copy moves {bench.bandwidth / 1e9:.3g} GB/s, read and written", ""]
    width = max(len(c.name) for c in bench.contenders)
    lines += [_wrap(said, f"  {name:<{width}}  ", " " * (width + 4)) for name, said in _bench_contenders(bench)]
    speeds = _bench_speeds(bench)
    if speeds:
        lines += ["", f"Speed relative to {bench.baseline}, geometric means", *_columns([_SPEEDS_HEAD, *speeds])]
    head, rows, notes = _bench_rows(bench)
    if rows:
        lines += ["", _wrap(f"Each: {_EACH_RESULT}", "", ""), *_columns([head, *rows])]
    lines += [_wrap(note, f"  ({number}) ", " " * 6) for number, note in enumerate(notes, 1)]
    lines += [_wrap(said, "left out: ", " " * 10) for said in bench.left_out]
    lines += [_wrap(said, "note: ", " " * 6) for said in bench.notes]
    return "\n".join(lines)


def bench_html(bench: Any) -> str:
    out = [_p(f"<strong>{escape(_bench_sentence(bench))}</strong>", size=15)]
    out.append(_p(f"a copy moves {bench.bandwidth / 1e9:.3g} GB/s, read and written", faint=True))
    out.append(_table(_bench_contenders(bench)))
    speeds = _bench_speeds(bench)
    if speeds:
        out.append(_p(f"<strong>Speed relative to {escape(bench.baseline)}</strong>, geometric means"))
        out.append(_table(speeds, _SPEEDS_HEAD))
    head, rows, notes = _bench_rows(bench)
    if rows:
        table = _p(f"Each: {escape(_EACH_RESULT)}.", faint=True) + _table(rows, head)
        out.append(_details(f"<strong>Every case ({len(rows)})</strong>", table))
    if notes:
        out.append("<ol>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ol>")
    out += [_p(f"left out: {escape(said)}") for said in bench.left_out]
    out += [_p(f"note: {escape(said)}") for said in bench.notes]
    return _section("".join(out), width=80)


_COMPARED_HEAD = ("contender", "direction", "cases", "here", "there", "as fast as there")


def _comparison_rows(shown: Any) -> list[tuple[str, ...]]:
    return [
        (row.contender, _DIRECTIONS[row.backward], str(row.cases), *map(_times, (row.here, row.there, row.seconds)))
        for row in shown.rows
    ]


def comparison_text(shown: Any) -> str:
    """Both machines, then each contender: how much faster than the baseline, here and there."""
    lines = [f"here:  {_bench_sentence(shown.here)}", f"there: {_bench_sentence(shown.there)}", ""]
    if not shown.rows:
        return "\n".join([*lines, "they have no case in common"])
    lines.append(f"Speed relative to {shown.baseline}, geometric means of the common cases")
    return "\n".join([*lines, *_columns([_COMPARED_HEAD, *_comparison_rows(shown)])])


def comparison_html(shown: Any) -> str:
    out = _table([("here", _bench_sentence(shown.here)), ("there", _bench_sentence(shown.there))])
    if not shown.rows:
        return _section(out + _p("they have no case in common"), width=80)
    out += _p(f"<strong>Speed relative to {escape(shown.baseline)}</strong>, geometric means of the common cases")
    return _section(out + _table(_comparison_rows(shown), _COMPARED_HEAD), width=80)


def _columns(rows: Any) -> list[str]:
    """Lines in which the cells of a column stand under each other."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


# -- HTML pieces


def _section(inner: str, width: int = 52) -> str:
    return f'<section style="max-width:{width}em;font-size:13px;line-height:1.5">{inner}</section>'


def _card(inner: str, colour: str) -> str:
    return (
        '<section style="max-width:46em;border:1px solid color-mix(in srgb,currentColor 22%,transparent);'
        f'border-left:4px solid {colour};border-radius:4px;padding:12px 16px;margin:8px 0">{inner}</section>'
    )


def _p(inner: str, size: int = 13, bold: bool = False, faint: bool = False) -> str:
    style = (
        f"margin:0 0 8px;font-size:{size}px"
        + (";font-weight:600" if bold else "")
        + (";opacity:.75" if faint else "")
    )
    return f'<p style="{style}">{inner}</p>'


def _details(summary: str, inner: str, open: bool = False) -> str:
    return (
        f'<details{" open" if open else ""} style="margin:0 0 10px">'
        f'<summary style="cursor:pointer">{summary}</summary>{inner}</details>'
    )


def _code(command: str) -> str:
    return f'<code style="overflow-wrap:anywhere;background:none;padding:0">{escape(command)}</code>'


def _table(rows: Any, head: Any = ()) -> str:
    cell = 'style="padding:2px 14px 2px 0;vertical-align:top;text-align:left"'
    top = "<tr>" + "".join(f"<th {cell}>{escape(h)}</th>" for h in head) + "</tr>" if head else ""
    body = "".join("<tr>" + "".join(f"<td {cell}>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return (
        f'<table style="border-collapse:collapse;background:none;margin:4px 0 8px;font-size:13px">{top}{body}</table>'
    )


# -- wheels

_REASONS = 12  # of one package, those that most wheels have
_NEAREST = 3  # wheels that one reason alone keeps out


def _wheels_reasons(shown: Any) -> list[tuple[str, str]]:
    """(how many wheels, why they do not fit), the commonest first.  A wheel may stand in several rows."""
    counts = Counter(why for candidate in shown.candidates for why in candidate.why_not)
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    named = [(str(number), printable(why)) for why, number in rows[:_REASONS]]
    return [*named, ("", f"and {len(rows) - _REASONS} other reasons")] if len(rows) > _REASONS else named


def _wheels_nearest(shown: Any) -> list[str]:
    single = [c for c in shown.candidates if len(c.why_not) == 1]
    return [f"{printable(c.filename)}: {printable(c.why_not[0])}" for c in single[:_NEAREST]]


def _wheels_sentence(shown: Any) -> str:
    listed, fitting = len(shown.candidates), sum(c.fits for c in shown.candidates)
    if shown.best:
        return f"{shown.package}: {fitting} of {listed} wheels fit{'s' * (fitting == 1)} {shown.target}"
    return f"{shown.package}: no wheel fits {shown.target}" + (f" ({listed} looked at)" if listed else "")


def _wheels_taken(shown: Any) -> str:
    best = next((c for c in shown.candidates if c.fits), None)
    return printable(best.filename) if best else ""


def wheels_text(wheels: Any) -> str:
    """For each package: the wheel to take, its command, why the rest do not fit, and what else helps."""
    lines = [environment(wheels.facts)]
    for shown in wheels.packages:
        lines += [
            "",
            _wheels_sentence(shown),
            f"  {'page' if shown.source == 'page' else 'page, not read'}: {shown.index_url}",
        ]
        lines += [_wrap(printable(note), "  note: ", "        ") for note in shown.notes]
        if shown.best:
            lines += [f"  take: {_wheels_taken(shown)}", f"        {shown.best}"]
            lines.append(f"        {shown.install.command()}")
        rows = _wheels_reasons(shown)
        if rows:
            lines.append(
                "  Why the others do not fit, and how many" if shown.best else "  Why they do not fit, and how many"
            )
            lines += [_wrap(why, f"    {number:>4}  ", " " * 10) for number, why in rows]
        if not shown.best and _wheels_nearest(shown):
            lines += ["  Nearest", *(_wrap(words, "    ", "      ") for words in _wheels_nearest(shown))]
        if shown.otherwise:
            lines.append("  What helps instead, best first" if len(shown.otherwise) > 1 else "  What helps instead")
        for number, fix in enumerate(shown.otherwise, 1):
            lines.append(_wrap(" · ".join(filter(None, [fix.why, price(fix)])), f"    {number}. ", "       "))
            lines += [f"       {fix.command()}"] if fix.command() else []
    missing = [p.package for p in wheels.packages if not p.best]
    lines += ["", f"missing: {', '.join(missing)}" if missing else "found: a wheel for each"]
    return "\n".join(lines)


def wheels_html(wheels: Any) -> str:
    out = [_p(escape(environment(wheels.facts)), faint=True)]
    for shown in wheels.packages:
        out.append(_p(escape(_wheels_sentence(shown)), size=15, bold=True))
        out += [_p(escape(printable(note)), faint=True) for note in shown.notes]
        if shown.best:
            out.append(_p(f"<strong>{escape(_wheels_taken(shown))}</strong><br>{_code(shown.install.command())}"))
        rows = _wheels_reasons(shown)
        if rows:
            table = _table(rows, ("wheels", "why they do not fit"))
            out.append(_details("<strong>Why the others do not fit</strong>", table, open=not shown.best))
        if not shown.best and _wheels_nearest(shown):
            nearest = "".join(f"<li>{escape(words)}</li>" for words in _wheels_nearest(shown))
            out.append(_p("<strong>Nearest</strong>") + f"<ul>{nearest}</ul>")
        if shown.otherwise:
            items = "".join(f'<li style="margin:0 0 6px">{_fix_html(fix)}</li>' for fix in shown.otherwise)
            out.append(_p("<strong>What helps instead, best first</strong>") + f"<ol>{items}</ol>")
        out.append(_p(f"page: {_code(shown.index_url)}", faint=True))
    return _section("".join(out), width=80)
