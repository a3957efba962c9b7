"""How the choice among published wheels looks."""

from collections import Counter
from html import escape
from typing import Any

from kit.show.parts import code_html, details, environment, fix_html, paragraph, price, section, table_html, wrap
from kit.symbols import printable

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
        lines += [wrap(printable(note), "  note: ", "        ") for note in shown.notes]
        if shown.best:
            lines += [f"  take: {_wheels_taken(shown)}", f"        {shown.best}"]
            lines.append(f"        {shown.install.command()}")
        rows = _wheels_reasons(shown)
        if rows:
            lines.append(
                "  Why the others do not fit, and how many" if shown.best else "  Why they do not fit, and how many"
            )
            lines += [wrap(why, f"    {number:>4}  ", " " * 10) for number, why in rows]
        if not shown.best and _wheels_nearest(shown):
            lines += ["  Nearest", *(wrap(words, "    ", "      ") for words in _wheels_nearest(shown))]
        if shown.otherwise:
            lines.append("  What helps instead, best first" if len(shown.otherwise) > 1 else "  What helps instead")
        for number, fix in enumerate(shown.otherwise, 1):
            lines.append(wrap(" · ".join(filter(None, [fix.why, price(fix)])), f"    {number}. ", "       "))
            lines += [f"       {fix.command()}"] if fix.command() else []
    missing = [p.package for p in wheels.packages if not p.best]
    lines += ["", f"missing: {', '.join(missing)}" if missing else "found: a wheel for each"]
    return "\n".join(lines)


def wheels_html(wheels: Any) -> str:
    out = [paragraph(escape(environment(wheels.facts)), faint=True)]
    for shown in wheels.packages:
        out.append(paragraph(escape(_wheels_sentence(shown)), size=15, bold=True))
        out += [paragraph(escape(printable(note)), faint=True) for note in shown.notes]
        if shown.best:
            out.append(
                paragraph(f"<strong>{escape(_wheels_taken(shown))}</strong><br>{code_html(shown.install.command())}")
            )
        rows = _wheels_reasons(shown)
        if rows:
            table = table_html(rows, ("wheels", "why they do not fit"))
            out.append(details("<strong>Why the others do not fit</strong>", table, open=not shown.best))
        if not shown.best and _wheels_nearest(shown):
            nearest = "".join(f"<li>{escape(words)}</li>" for words in _wheels_nearest(shown))
            out.append(paragraph("<strong>Nearest</strong>") + f"<ul>{nearest}</ul>")
        if shown.otherwise:
            items = "".join(f'<li style="margin:0 0 6px">{fix_html(fix)}</li>' for fix in shown.otherwise)
            out.append(paragraph("<strong>What helps instead, best first</strong>") + f"<ol>{items}</ol>")
        out.append(paragraph(f"page: {code_html(shown.index_url)}", faint=True))
    return section("".join(out), width=80)
