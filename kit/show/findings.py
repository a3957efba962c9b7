"""How findings look: the first cause as a card, each further one as a line that opens."""

from html import escape

from kit.diagnose import CRASHED
from kit.failures import failure
from kit.findings import Finding, Findings
from kit.show.parts import (
    COLOURS,
    card,
    code_html,
    details,
    environment,
    fix_html,
    paragraph,
    price,
    python_option,
    section,
    wrap,
)


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
    return f"python -m kit {verb}{python_option(findings.facts)}"


def _mendable(findings: Findings) -> bool:
    fixes = (fix for finding in findings if finding.severity != "note" for fix in finding.fix)
    return any(fix.argv is not None and fix.safety == "changes-environment" for fix in fixes)


def instead(finding: Finding) -> str:
    return "" if finding.failure == CRASHED else failure(finding.failure).instead


def evidence(finding: Finding) -> list[tuple[str, str]]:
    """Evidence as (what was read, what it said)."""
    return [(what, said) if said else ("", what) for what, _, said in (e.partition(": ") for e in finding.evidence)]


def findings_text(findings: Findings) -> str:
    """Summary first, details after, count last; the last line is the command to run next."""
    lines = [
        headline(findings),
        environment(findings.facts),
        wrap(findings.facts.python.executable, "Python: "),
    ]
    if findings.facts.about.source != "collected":
        lines.append(f"machine: {findings.facts.about.name} ({findings.facts.about.source})")
    if len(findings) > 1:
        lines.append("")
        lines += [f"  {f.severity:<8} {f.failure:<26} {f.title}" for f in findings]
    for finding in findings:
        lines += ["", *finding_lines(finding)]
    lines += ["", count(findings), f"Next: {next_command(findings)}"]
    return "\n".join(lines)


def finding_lines(finding: Finding) -> list[str]:
    lines = [f"{finding.severity}: {finding.title}  [{finding.failure}]", wrap(finding.rest)]
    rows = evidence(finding)
    if rows:
        lines.append("  How we know")
        width = min(34, max(len(what) for what, _ in rows))
        for what, said in rows:
            lead = f"    {what:<{width}}  "
            if len(what) > width:
                lines.append(f"    {what}")
                lead = " " * (width + 6)
            lines.append(wrap(said, lead, " " * (width + 6)))
    if finding.fix:
        lines.append("  What helps, best first" if len(finding.fix) > 1 else "  What helps")
    for number, fix in enumerate(finding.fix, 1):
        lines.append(wrap(" · ".join(filter(None, [fix.why, price(fix)])), f"    {number}. ", "       "))
        command = fix.command()
        if command:
            lines.append(f"       {command}")
    if instead(finding):
        lines.append(wrap(instead(finding)))
    return [line for line in lines if line.strip()]


def findings_html(findings: Findings) -> str:
    """The first cause as a card; each further one as a line that opens; the last words are how to check."""
    first, others = next(iter(findings), None), findings.findings[1:]
    broken = findings.verdict == "broken"
    verdict = f"{findings.verdict} · {count(findings)}" if broken else headline(findings)
    out = [
        paragraph(f"<strong>{escape(verdict)}</strong>", size=15),
        paragraph(escape(environment(findings.facts)), faint=True),
    ]
    if first is not None:
        out.append(card(finding_html(first), COLOURS[first.severity]))
    if others:
        out.append(paragraph("<strong>Also found</strong>"))
        for finding in others:
            summary = f"{escape(finding.title)} · {finding.severity}"
            out.append(details(summary, finding_html(finding, title=False)))
    words = "To mend it, and to be able to undo that:" if _mendable(findings) else "Next:"
    out.append(paragraph(f"{words} {code_html(next_command(findings))}", faint=True))
    return section("".join(out))


def finding_html(finding: Finding, title: bool = True, under: str = "", folded: bool = False) -> str:
    """All about a finding; ``under`` is a line under its title, ``folded`` whether the evidence has to be opened."""
    out = []
    if title:
        out.append(paragraph(escape(finding.title), size=15, bold=True))
    if under:
        out.append(paragraph(escape(under), faint=True))
    out.append(paragraph(escape(finding.rest)))
    rows = "".join(
        '<tr><td style="padding:2px 14px 2px 0;vertical-align:top;text-align:left;overflow-wrap:break-word">'
        f"{escape(what)}</td>"
        f'<td style="padding:2px 0;text-align:left;overflow-wrap:anywhere">{escape(said)}</td></tr>'
        for what, said in evidence(finding)
    )
    if rows:
        table = (
            f'<table style="border-collapse:collapse;margin:4px 0 0;background:none;font-size:13px">{rows}</table>'
        )
        out.append(details("<strong>How we know</strong>", table, open=not folded))
    if finding.fix:
        out.append(
            paragraph(
                "<strong>What helps, best first</strong>" if len(finding.fix) > 1 else "<strong>What helps</strong>"
            )
        )
        items = "".join(f'<li style="margin:0 0 6px">{fix_html(fix)}</li>' for fix in finding.fix)
        out.append(f'<ol style="margin:0 0 10px;padding-left:20px">{items}</ol>')
    if instead(finding):
        out.append(paragraph(escape(instead(finding)), faint=True))
    if finding.failure != CRASHED:
        page = f'<pre style="white-space:pre-wrap;margin:4px 0">{escape(str(failure(finding.failure).page))}</pre>'
        out.append(details(f"{finding.severity} · {finding.failure}", page))
    return "".join(out)
