"""How mended and written recipes look: their diffs, what came of each file, and texts with numbered lines."""

from html import escape
from typing import Any

from kit.show.findings import count
from kit.show.parts import details, paragraph, section, wrap
from kit.show.recipes import Line, code_block, cropped, ways
from kit.symbols import printable


def diff_text(diff: Any) -> str:
    lines = [line for _, text in diff.parts for line in text.rstrip("\n").split("\n")]
    return "\n".join(cropped(line, 1) for line in lines) or "no edit: nothing to show"


def diff_html(diff: Any) -> str:
    if not diff.parts:
        return section(paragraph("no edit: nothing to show"))
    return section("".join(_diff_block(text) for _, text in diff.parts), width=72)


def _diff_block(text: str) -> str:
    rows: list[Line] = []
    for line in text.rstrip("\n").split("\n"):
        head = line.startswith(("--- ", "+++ ")) and len(rows) < 2
        mark = line[:1] if line[:1] in "+-" and line and not head else " "
        rows.append((mark, "", cropped(line[1:] if mark != " " or line[:1] == " " else line, 1)))
    return code_block(rows)


# -- mended


def _edits(fixed: Any) -> str:
    files = sum(change.differs for change in fixed.changes)
    number = len(fixed.steps)
    return f"{number} edit{'s' * (number != 1)} in {files} file{'s' * (files != 1)}"


def fixed_headline(fixed: Any) -> str:
    if fixed.state == "nothing":
        kind = "" if fixed.everything else " that is safe"
        return f"nothing to write: no fault here has an edit{kind}" if len(fixed.checked) else "nothing to write"
    if fixed.state == "written":
        done = sum(bool(change.backup) for change in fixed.changes)
        return f"written: {_edits(fixed)}" if done else "nothing was written"
    unsafe = sum(not fault.safe for fault in fixed.steps)
    if not unsafe:
        return f"{_edits(fixed)}, safe: {'it' if len(fixed.steps) == 1 else 'they'} cannot break what works"
    some = f"{unsafe} of them" if unsafe < len(fixed.steps) else "each" if unsafe > 1 else "one"
    return f"{_edits(fixed)}, {some} to be read first"


def _fixed_rows(fixed: Any) -> list[str]:
    """What came of each file, or will."""
    rows = []
    for change in fixed.changes:
        name = printable(change.before.name)
        if change.backup:
            rows.append(f"{name}: written; as it was: {printable(change.backup)}")
        elif change.why:
            rows.append(printable(change.why))
        if fixed.state == "proposed":
            rows += [f"{name}:{fault.line}: {printable(fault.title)}" for fault in change.applied]
            rows += [f"{name}, after that: {printable(fault.title)}" for fault in change.followed]
        rows += [f"{name}:{f.line}: {printable(f.title)}: settled by another edit" for f in change.settled]
    return rows


def _left(fixed: Any) -> str:
    left = fixed.left
    said = f"{count(left)} ({ways(left)})" if len(left) else "nothing"
    return f"Left {'now' if fixed.state == 'written' else 'then'}: {said}"


def fixed_text(fixed: Any) -> str:
    """The diff and what it mends; once written, where the old text lies and what is left."""
    lines = [fixed_headline(fixed)]
    if fixed.state == "proposed":
        lines += ["", diff_text(fixed.diff)]
    rows = _fixed_rows(fixed)
    lines += ["", *(["mends"] if fixed.state == "proposed" else [])] if rows else []
    lines += [wrap(row, "  ", "    ") for row in rows]
    if fixed.state != "refused":
        lines += ["", wrap(_left(fixed), "", "  ")]
    if fixed.state != "written":
        lines.append("Nothing has been written yet.")
    return "\n".join(lines)


def fixed_html(fixed: Any) -> str:
    out = [paragraph(f"<strong>{escape(fixed_headline(fixed))}</strong>", size=15)]
    if fixed.state == "proposed":
        out += [_diff_block(text) for _, text in fixed.diff.parts]
    rows = _fixed_rows(fixed)
    if rows:
        items = "".join(f"<li>{escape(row)}</li>" for row in rows)
        listed = f'<ul style="margin:0 0 10px;padding-left:20px">{items}</ul>'
        out.append(details("What these edits mend", listed) if fixed.state == "proposed" else listed)
    if fixed.state != "refused":
        out.append(paragraph(escape(_left(fixed)), faint=True))
    if fixed.state != "written":
        out.append(paragraph("Nothing has been written yet.", faint=True))
    return section("".join(out), width=72)


# -- written anew


def written_text(written: Any) -> str:
    """The files as they are, then what could not be had."""
    lines = [printable(line) for line in written.text.rstrip("\n").split("\n")]
    return "\n".join([*lines, *(wrap(printable(note), "note: ", "  ") for note in written.notes)])


def written_html(written: Any) -> str:
    out = []
    for number, (name, text) in enumerate(written.files.items()):
        rows: list[Line] = [(" ", "", cropped(line, 1)) for line in text.rstrip("\n").split("\n")]
        out.append(details(f"<strong>{escape(printable(name))}</strong>", code_block(rows), not number))
    out += [paragraph(f"note: {escape(printable(note))}", faint=True) for note in written.notes]
    return section("".join(out), width=72)


def texts_text(texts: Any) -> str:
    """Files with the numbers of their lines."""
    lines = []
    for name, text in texts.items():
        lines += [printable(name), *(f"  {number:>3} | {line}".rstrip() for _, number, line in _numbered(text)), ""]
    return "\n".join(lines).rstrip()


def texts_html(texts: Any) -> str:
    blocks = (
        paragraph(f"<strong>{escape(printable(n))}</strong>") + code_block(_numbered(t)) for n, t in texts.items()
    )
    return section("".join(blocks), width=72)


def _numbered(text: str) -> list[Line]:
    return [(" ", str(number), cropped(line, 1)) for number, line in enumerate(text.rstrip("\n").split("\n"), 1)]
