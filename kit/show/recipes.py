"""How checked recipes look: each fault at its line, with what to write instead."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any

from kit.findings import Fix, quote
from kit.recipes.checking import File
from kit.recipes.faults import Fault
from kit.show.findings import count, evidence
from kit.show.parts import COLOURS, code_html, details, paragraph, section, table_html, wrap
from kit.symbols import printable

_LONGEST = 400  # characters of a line of code: of a longer one, what lies around its fault or its edit
_MOST = 12  # lines of one fault without a replacement
_AROUND = 2  # lines that stay, between two that change
_OPEN = 4  # faults that are open at first; where there are more, only the first is
_ASKED = 4  # files that are named in a command
_NAMED = 8  # files without a fault that are listed

Line = tuple[str, str, str]  # '-', '+' or ' '; its number or ''; the line


# -- the lines of a fault


def code_lines(fault: Fault) -> list[Line]:
    """The lines of a fault; where it has a replacement, those that go and those that come."""
    if fault.replacement is None:
        rows = [(" ", str(number), line) for number, line in enumerate(fault.lines, fault.line)]
        if len(rows) > _MOST:
            rows[_MOST - 1 :] = [(" ", "", f"... {len(rows) - _MOST + 1} more lines")]
        return [(mark, number, cropped(line, fault.column)) for mark, number, line in rows]
    return list(_compared(fault.replaced, fault.replacement, fault.first))


def _compared(before: Sequence[str], after: Sequence[str], first: int) -> Iterator[Line]:
    changes = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    for number, (what, start, end, other, stop) in enumerate(changes):
        if what == "equal":
            rows = [(" ", str(first + at), cropped(before[at], 1)) for at in range(start, end)]
            lead = 0 if number == 0 else _AROUND
            trail = 0 if number == len(changes) - 1 else _AROUND
            if len(rows) > lead + trail + 1:
                rows[lead : len(rows) - trail] = [(" ", "", "...")] if lead and trail else []
            yield from rows
            continue
        pairs = [*zip(before[start:end], after[other:stop])]
        columns = [_differ(old, new) for old, new in pairs]
        for at in range(start, end):
            yield "-", str(first + at), cropped(before[at], columns[at - start] if at - start < len(columns) else 1)
        for at in range(other, stop):
            yield "+", "", cropped(after[at], columns[at - other] if at - other < len(columns) else 1)


def _differ(one: str, other: str) -> int:
    """The column from which on two lines differ."""
    return next((n for n, (a, b) in enumerate(zip(one, other), 1) if a != b), min(len(one), len(other)) + 1)


def cropped(line: str, column: int) -> str:
    """A line as it may be printed; of a very long one what lies around a column."""
    line = line.expandtabs(4)
    if len(line) > _LONGEST:
        start = max(0, min(column - _LONGEST // 3, len(line) - _LONGEST))
        line = "..." * bool(start) + line[start : start + _LONGEST] + "..." * (start + _LONGEST < len(line))
    shown: str = printable(line)
    return shown


# -- checked


def headline(checked: Any) -> str:
    """The verdict in one sentence."""
    files = checked.files
    some = "1 file" if len(files) == 1 else f"{len(files)} files"
    if not files:
        return "no recipe was found"
    faulty = sum(any(f.severity != "note" for f in file.faults) for file in files)
    if faulty:
        return f"broken: {count(checked)} in {some if faulty == len(files) else f'{faulty} of {some}'}"
    partly = any(file.unread for file in files)
    return f"clean: nothing wrong was found in {'what could be read of ' if partly else ''}{some}"


def ways(faults: Iterable[Fault]) -> str:
    """How many of them can be mended in which way."""
    faults = list(faults)
    safe, edits = sum(f.safe for f in faults), sum(f.replacement is not None and not f.safe for f in faults)
    hand = len(faults) - safe - edits
    parts = [f"{safe} with a safe edit"] * bool(safe) + [f"{edits} with an edit to be read first"] * bool(edits)
    return ", ".join([*parts, *[f"{hand} by hand"] * bool(hand)])


def next_step(checked: Any) -> tuple[str, str]:
    """What to do next, in words, and its command."""
    if not len(checked):
        return "Next, in the environment that comes of it:", "python -m kit verify"
    edits = any(fault.replacement is not None for fault in checked)
    safe = any(fault.safe for fault in checked)
    if not any(file.path for file in checked.files):  # texts
        how = f".fixed({'' if safe else 'everything=True'})"
        return (
            ("To see the edits as a diff:", how)
            if edits
            else ("After the edits by hand, check again:", "kit.recipes.check(...)")
        )
    words = ["python", "-m", "kit", "recipe", "check"]
    words += checked.asked if len(checked.asked) <= _ASKED else ["FILE..."]
    words += ["--gpu", checked.wish.gpu] if checked.wish.gpu else []
    words += ["--guarded"] if checked.guarded else []
    if not edits:
        return "After the edits by hand, check again:", _command(words)
    return "To see the edits as a diff, and then to write them:", _command([*words, "--fix", *["--all"] * (not safe)])


def _command(words: Sequence[str]) -> str:
    return " ".join(quote(printable(word)) for word in words)


def _how(fault: Fault) -> str:
    if fault.replacement is None:
        return "by hand"
    return "safe edit (--fix)" if fault.safe else "read the edit first (--fix --all)"


def _unread(file: File) -> list[str]:
    return [f"not read: line {part['line']}: {printable(part['why'])}" for part in file.to_dict()["unread"]]


def _state(file: Any) -> str:
    return count(file.faults) if file.faults else "read in part"


def _rows(files: Sequence[File]) -> list[tuple[str, str, str]]:
    """A row for each file: those with a fault or an unread part, then the others, of which there may be many."""
    told = [file for file in files if file.faults or file.unread]
    clean = [file for file in files if not (file.faults or file.unread)]
    rows = [(printable(f.name), f.kind, _state(f)) for f in told]
    rows += [(printable(f.name), f.kind, "nothing wrong") for f in clean[:_NAMED]]
    if len(clean) > _NAMED:
        rows.append((f"and {len(clean) - _NAMED} more files", "", "nothing wrong"))
    return rows


def checked_text(checked: Any) -> str:
    """The verdict first, then each fault at its line, then the count; the last line is the command to run next."""
    lines = [headline(checked)]
    if len(checked.files) > 1:
        rows = _rows(checked.files)
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines += ["", *("  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)]
    for file in checked.files:
        lines += [
            line for reason in _unread(file) for line in ("", wrap(f"{printable(file.name)}: {reason}", "", "  "))
        ]
        for fault in file.faults:
            lines += ["", *fault_lines(fault)]
    lines += ["", *([f"{count(checked)}: {ways(checked)}"] if len(checked) else [])]
    if checked.files:
        lines.append(" ".join(next_step(checked)))
    return "\n".join(lines).rstrip()


def fault_lines(fault: Fault) -> list[str]:
    where = f"{printable(fault.file)}:{fault.line}" + (f" (cell {fault.cell})" if fault.cell else "")
    lines = [wrap(f"{where}: {fault.severity}: {printable(fault.title)}  [{fault.failure}]", "", "  ")]
    lines.append(wrap(printable(fault.rest)))
    code = code_lines(fault)
    width = max((len(number) for _, number, _ in code), default=0)
    lines += [f"  {mark} {number:>{width}} | {line}".rstrip() for mark, number, line in code]
    for what, said in _evidence(fault):
        lines.append(wrap(f"{what}: {said}" if what else said, "  because ", "    "))
    for fix in fault.fix:
        lines.append(wrap(printable(fix.why), "  helps: ", "    "))
        if fix.command():
            lines.append(f"    {printable(fix.command())}")
    lines.append(f"  {_how(fault)} · rule {fault.rule}")
    return [line for line in lines if line.strip()]


def _evidence(fault: Fault) -> list[tuple[str, str]]:
    rows = [("listed in", fault.listed)] if fault.listed else []
    return [(printable(what), printable(said)) for what, said in (*rows, *evidence(fault))]


def checked_html(checked: Any) -> str:
    """A block for each file with its faults; where there are many, they open."""
    out = [paragraph(f"<strong>{escape(headline(checked))}</strong>", size=15)]
    few = len(checked) <= _OPEN
    told = [file for file in checked.files if file.faults or file.unread]
    for number, file in enumerate(told):
        blocks = [paragraph(escape(reason)) for reason in _unread(file)]
        blocks += [_fault_html(f, few or (number == 0 and n == 0)) for n, f in enumerate(file.faults)]
        kind = "" if file.name.lower().endswith(file.kind) else f" · {escape(file.kind)}"
        said = f"<strong>{escape(printable(file.name))}</strong>{kind} · {_state(file)}"
        single = len(checked.files) == 1
        out.append(paragraph(said) + "".join(blocks) if single else details(said, "".join(blocks), few or not number))
    clean = [row for row in _rows(checked.files) if row[2] == "nothing wrong"]
    if told and clean:
        out.append(details(f"{len(checked.files) - len(told)} with nothing wrong", table_html(clean)))
    elif clean and len(checked.files) > 1:
        out.append(table_html(clean))
    if len(checked):
        out.append(paragraph(f"{escape(count(checked))}: {escape(ways(checked))}", faint=True))
    if checked.files:
        words, command = next_step(checked)
        out.append(paragraph(f"{escape(words)} {code_html(command)}", faint=True))
    return section("".join(out), width=72)


def _fault_html(fault: Fault, open: bool) -> str:
    place = f"cell {fault.cell}, line {fault.line}" if fault.cell else f"line {fault.line}"
    summary = f"{place} · {fault.severity} · <strong>{escape(printable(fault.title))}</strong>"
    inner = paragraph(escape(printable(fault.rest))) if fault.rest else ""
    inner += code_block(code_lines(fault)) if fault.lines or fault.edits else ""
    rows = _evidence(fault)
    if rows:
        inner += details("How we know", table_html(rows))
    if fault.fix:
        items = "".join(f'<li style="margin:0 0 4px">{_fix_html(fix)}</li>' for fix in fault.fix)
        listed = f'<ul style="margin:4px 0 8px;padding-left:20px">{items}</ul>'
        inner += details("What helps", listed, fault.replacement is None)
    inner += paragraph(escape(f"{_how(fault)} · {fault.failure} · rule {fault.rule}"), faint=True)
    style = f"border-left:4px solid {COLOURS[fault.severity]};padding:2px 0 2px 12px;margin:0 0 6px"
    return f'<section style="{style}">{details(summary, inner, open)}</section>'


def _fix_html(fix: Fix) -> str:
    command = fix.command()
    return escape(printable(fix.why)) + (f"<br>{code_html(printable(command))}" if command else "")


_LINE = "display:block;text-decoration:none;padding:0 4px"
_STYLES = {
    "-": ("del", f"{_LINE};color:inherit;background-color:rgba(217,72,15,.18)"),
    "+": ("ins", f"{_LINE};color:inherit;background-color:rgba(47,158,68,.2)"),
    " ": ("span", _LINE),
}


def code_block(rows: Sequence[Line]) -> str:
    """Lines of code; those that go and come are marked with - and +, and not by their colour alone."""
    width = max((len(number) for _, number, _ in rows), default=0)
    lines = []
    for mark, number, line in rows:
        tag, style = _STYLES[mark]
        said = f"{mark} {number:>{width}}  {line}" if width else f"{mark} {line}"
        lines.append(f'<{tag} style="{style}">{escape(said)}</{tag}>')
    style = "margin:0 0 8px;padding:6px 0;font-size:12px;line-height:1.5;white-space:pre-wrap;overflow-wrap:anywhere"
    return f'<pre style="{style}">{"".join(lines)}</pre>'
