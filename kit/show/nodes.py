"""How the nodes of a cluster look: groups, what they differ in, findings with their nodes; and a page of its own."""

from collections.abc import Iterable, Sequence
from html import escape

from kit.nodes.difference import main, rank
from kit.nodes.records import Group, Nodes
from kit.show.findings import finding_html, finding_lines
from kit.show.nodes_words import (
    FACTS,
    GROUPS,
    ROWS,
    cells,
    changed,
    count,
    fact,
    headline,
    letter,
    many_values,
    more_facts,
    next_step,
    on,
    others,
    shared,
    some,
    speed,
    split,
    state,
    value,
)
from kit.show.parts import COLOURS, card, details, environment, paragraph, section, table_html, wrap
from kit.symbols import printable

# -- text


def nodes_text(nodes: Nodes) -> str:
    """The verdict, the groups, in what they differ, what is wrong on which nodes; at last what to do next."""
    lines = [wrap(headline(nodes), "", "  ")]
    groups = nodes.groups
    if groups:
        lines += [wrap(f"most of them: {environment(groups[0].facts)}", "", "  "), ""]
        widest = max(len(f"{len(g.nodes):,}") for g in groups)
        for number, group in enumerate(groups[:GROUPS]):
            lead = f"  {letter(number):<2} {len(group.nodes):>{widest},} node{'s' if len(group.nodes) > 1 else ' '}  "
            lines.append(wrap(f"{state(group)} · {some(group.nodes)}", lead, " " * len(lead)))
        if len(groups) > GROUPS:
            lines.append(f"  and {count(len(groups) - GROUPS, 'more group')}, see below (--json has all)")
    if len(groups) > 1:
        lines += ["", "In what they differ from A"]
        lines += [line for number in range(1, min(len(groups), GROUPS)) for line in _differs(number, groups[number])]
    if len(groups) > GROUPS:
        lines += ["", "Facts with the most values", *(f"  {line}" for line in many_values(groups))]
    for finding, where in shared(groups)[:ROWS]:
        lines += ["", *finding_lines(finding), wrap(on(groups, where), "  On ", "     ")]
    for heading, rows in others(nodes):
        lines += ["", heading]
        lines += [wrap(f"{r[0]} ({r[1]}) · {r[2]}: {r[3]}", "  ", "    ") for r in rows[:ROWS]]
        lines += _rest(rows)
    if nodes.drift:
        lines += ["", f"Not as in {nodes.baseline}"]
        for row in nodes.drift[:ROWS]:
            new = "a new kind of node; against the nearest that was recorded:" if row.new else ""
            lines.append(wrap(f"{some(row.nodes)} ({len(row.nodes)}) {new}".rstrip(), "  ", "    "))
            shown, more = split(row.changes)
            lines += [wrap(changed(change), "      ", "        ") for change in shown]
            lines += [f"      {more_facts(more)}"] if more else []
        lines += _rest(nodes.drift)
    if nodes.outliers:
        lines += ["", "Far below their peers"]
        lines += [wrap(speed(outlier), "  ", "    ") for outlier in nodes.outliers[:ROWS]]
        lines += _rest(nodes.outliers)
    lines += ["", f"Next: {next_step(nodes)}"]
    return "\n".join(str(printable(line)) for whole in lines for line in whole.split("\n"))


def _rest(rows: Sequence[object]) -> list[str]:
    return [f"  and {len(rows) - ROWS:,} more (--json has all)"] if len(rows) > ROWS else []


def _differs(number: int, group: Group) -> list[str]:
    shown, more = split(group.differs)
    names = [fact(change.path) for change in shown]
    width = min(30, max(map(len, names), default=0))
    lines = []
    for at, (name, change) in enumerate(zip(names, shown)):
        lead = f"  {letter(number) if not at else '':<2} {name:<{width}}  "
        told = f"{value(change.path, change.now)} (A: {value(change.path, change.was)})"
        lines.append(wrap(told, lead, " " * len(lead)))
    return [*lines, f"     {more_facts(more)}"] if more else lines


# -- HTML


def nodes_html(nodes: Nodes) -> str:
    """The verdict, the matrix of what differs, then each thing that stands out as a line that opens."""
    groups = nodes.groups
    out = [paragraph(f"<strong>{escape(headline(nodes))}</strong>", size=15)]
    if groups:
        out.append(paragraph(f"Most of them: {escape(environment(groups[0].facts))}", faint=True))
        out.append(_matrix(groups))
    found = shared(groups)
    if found:
        finding, where = found[0]
        out.append(
            card(finding_html(finding, under=f"On {on(groups, where)}", folded=True), COLOURS[finding.severity])
        )
    if found[1:]:
        out.append(paragraph("<strong>Also found</strong>"))
    for finding, where in found[1:ROWS]:
        summary = f"{escape(finding.title)} · {finding.severity} · {escape(count(_nodes(groups, where)))}"
        out.append(details(summary, finding_html(finding, title=False, under=f"On {on(groups, where)}", folded=True)))
    for heading, rows in others(nodes):
        out.append(paragraph(f"<strong>{escape(heading)}</strong>"))
        out.append(_wide(table_html(rows[:ROWS], ("nodes", "how many", "what", "why"))))
        out += [paragraph(escape(line.strip())) for line in _rest(rows)]
    if nodes.drift:
        out.append(paragraph(f"<strong>Not as in {escape(printable(str(nodes.baseline)))}</strong>"))
        out.append(_wide(table_html(_drift_rows(nodes), ("nodes", "fact", "recorded", "now"))))
    if nodes.outliers:
        out.append(paragraph("<strong>Far below their peers</strong>"))
        out += [paragraph(escape(printable(speed(outlier)))) for outlier in nodes.outliers[:ROWS]]
        out += [paragraph(escape(line.strip())) for line in _rest(nodes.outliers)]
    out.append(paragraph(f"Next: {escape(printable(next_step(nodes)))}", faint=True))
    return section("".join(out), width=80)


def _nodes(groups: Sequence[Group], where: Iterable[int]) -> int:
    return sum(len(groups[number].nodes) for number in where)


def _drift_rows(nodes: Nodes) -> list[tuple[str, ...]]:
    rows = []
    for row in nodes.drift[:ROWS]:
        shown, more = split(row.changes)
        names = some(row.nodes) + (" (a new kind of node)" if row.new else "")
        for at, c in enumerate(shown):
            cells = (fact(c.path), value(c.path, c.was), value(c.path, c.now))
            rows.append((names if not at else "", *map(printable, cells)))
        if more:
            rows.append(("", more_facts(more), "", ""))
    return [*rows, *(("", line.strip(), "", "") for line in _rest(nodes.drift))]


_CELL = "padding:4px 12px 4px 8px;vertical-align:top;text-align:left;overflow-wrap:anywhere;min-width:7em"
_LINE = "border-top:1px solid color-mix(in srgb,currentColor 18%,transparent)"
_FIRST = "position:sticky;left:0;background:var(--jp-layout-color0,Canvas);min-width:6em;overflow-wrap:break-word"


def _matrix(groups: Sequence[Group]) -> str:
    """The groups side by side, a row for each fact that differs; what is not as in A has a sign and is bold."""
    shown = groups[:GROUPS]
    paths = sorted({c.path for g in shown for c in g.differs}, key=lambda path: (rank(path), path))
    first = {path for g in shown for path in main(c.path for c in g.differs)}
    twice = {f"{path}.version" for path in first}  # the driver, where one group has none and another an older one
    leads = [path for path in paths if path in first - twice]
    head = "".join(
        f'<th scope="col" style="{_CELL}"><strong>{letter(number)}</strong> · {count(len(group.nodes))}</th>'
        for number, group in enumerate(shown)
    )
    rows = [_row("nodes", [some(group.nodes) for group in shown], ()), _row("found", [state(g) for g in shown], ())]
    rows += [_row(fact(path), cells(shown, path), {0}) for path in leads[:FACTS]]
    table = (
        f'<table style="border-collapse:collapse;background:none;margin:4px 0 8px;font-size:13px">'
        f'<tr><th style="{_CELL};{_FIRST}">group</th>{head}</tr>{"".join(rows)}</table>'
    )
    out = _wide(table)
    if len(groups) > GROUPS:
        words = "; ".join(many_values(groups))
        out += paragraph(
            escape(f"and {count(len(groups) - GROUPS, 'more group')}. Facts with the most values: {words}")
        )
    rest = [path for path in paths if path not in leads[:FACTS] and path not in first & twice]
    if rest:
        lines = [(path, *cells(shown, path)) for path in rest[:200]]
        more = paragraph(escape(f"and {len(rest) - 200:,} more")) if len(rest) > 200 else ""
        inner = _wide(
            table_html(printable(list(map(list, lines))), ("fact", *(letter(n) for n in range(len(shown)))))
        )
        out += details(f"{count(len(rest), 'fact')} that go{'es' * (len(rest) == 1)} with these", inner + more)
    return out


def _row(name: str, values: Sequence[str], compare: object) -> str:
    told = []
    for number, text in enumerate(values):
        said = escape(str(printable(text)))
        if compare and number and text == values[0]:
            told.append(f'<td style="{_CELL};{_LINE};opacity:.75">as A</td>')
        elif compare and number:
            told.append(f'<td style="{_CELL};{_LINE};border-left:3px solid #b08900"><strong>≠ {said}</strong></td>')
        else:
            told.append(f'<td style="{_CELL};{_LINE}">{said}</td>')
    head = f'<th scope="row" style="{_CELL};{_LINE};{_FIRST}">{escape(str(printable(name)))}</th>'
    return f"<tr>{head}{''.join(told)}</tr>"


def _wide(table: str) -> str:
    """A table that scrolls by itself where there is little room."""
    return f'<div tabindex="0" style="overflow-x:auto;max-width:100%">{table}</div>'


def nodes_page(nodes: Nodes) -> str:
    """A page that stands for itself (``--html FILE``)."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(printable(headline(nodes)))}</title>"
        "<style>:root{color-scheme:light dark}body{font-family:system-ui,sans-serif;margin:16px}</style>"
        f"</head><body>{nodes_html(nodes)}</body></html>\n"
    )
