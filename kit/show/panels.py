"""The parts of the panels that are no result: a list that opens one finding at a time, lines that tell, a log."""

from html import escape
from typing import Any

from kit.findings import Findings
from kit.show.findings import count, finding_html, headline
from kit.show.parts import environment, paragraph, section
from kit.show.repair import left_html, plan_sentence, step_html
from kit.symbols import printable

FAULT = "This is a fault of the kit: please report it, with the lines below."


def findings_html(findings: Findings, name: str) -> str:
    """Every finding as a line that opens, one at a time where the browser knows that; ``name`` is the list's own."""
    verdict = f"{findings.verdict}: {count(findings)}" if findings.verdict == "broken" else headline(findings)
    out = [paragraph(escape(verdict), size=15, bold=True), paragraph(escape(environment(findings.facts)), faint=True)]
    for number, finding in enumerate(findings):
        inner = finding_html(finding, title=False, folded=True)
        out.append(
            f'<details name="{escape(name)}"{" open" if number == 0 else ""} style="margin:0 0 8px">'
            f'<summary style="cursor:pointer;overflow-wrap:anywhere">{escape(finding.severity)}: '
            f"<strong>{escape(finding.title)}</strong></summary>"
            f'<div style="margin:6px 0 4px 1.2em;overflow-wrap:anywhere">{inner}</div></details>'
        )
    return section("".join(out))


def plan_html(plan: Any) -> str:
    """What stands above the steps."""
    title = paragraph(escape(plan_sentence(plan)), size=15, bold=True)
    return section(title + paragraph(escape(environment(plan.facts)), faint=True))


def step_of_html(step: Any) -> str:
    """One step, below its check box."""
    return section(f'<div style="overflow-wrap:anywhere;margin:0 0 2px 1.6em">{step_html(step)}</div>')


def rest_html(plan: Any) -> str:
    """What stands below the steps."""
    return section(f'<div style="overflow-wrap:anywhere">{left_html(plan)}</div>')


def line(words: str, bold: bool = False, indent: bool = False, live: bool = False) -> str:
    """One sentence; where there is none the line keeps its height.  ``live``: a screen reader says it."""
    style = "margin:0;min-height:1.5em;overflow-wrap:anywhere" + (";margin-left:1.6em" if indent else "")
    style += ";font-weight:600" if bold else ""
    role = ' role="status"' if live and words else ""
    return section(f'<p{role} style="{style}">{escape(printable(words))}</p>')


def flowing(html: str) -> str:
    """A view that a narrow screen does not cut: long words break."""
    return f'<div style="overflow-wrap:anywhere">{html}</div>'


def error(words: str, trace: str = "") -> str:
    """What went wrong, said at once by a screen reader; with ``trace`` it was no error that the kit foresaw."""
    out = f'<p role="alert" style="margin:0 0 4px;overflow-wrap:anywhere"><strong>Error:</strong> {escape(words)}</p>'
    if trace:
        out += f'<p style="margin:0 0 4px">{FAULT}</p><details><summary style="cursor:pointer">Where</summary>'
        out += f"{_log(trace, 'Where the error arose')}</details>"
    return section(out)


def log(text: str) -> str:
    """What pip says; the keyboard reaches it, and scrolls in it."""
    return section(_log(text or "Nothing yet.", "What pip says"))


def _log(text: str, label: str) -> str:
    style = "max-height:16em;overflow:auto;margin:4px 0;white-space:pre-wrap;overflow-wrap:anywhere;font-size:12px"
    style += (
        ";border:1px solid color-mix(in srgb,currentColor 22%,transparent);padding:6px;background:none;color:inherit"
    )
    return f'<pre tabindex="0" role="region" aria-label="{label}" style="{style}">{escape(text)}</pre>'
