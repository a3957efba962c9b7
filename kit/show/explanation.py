"""How an explanation looks: the likeliest cause as a card with the lines that tell it, then the others, briefly."""

import dataclasses
from html import escape
from typing import Any

from kit.diagnose import CRASHED
from kit.explaining import GUESS
from kit.facts import Facts
from kit.show.findings import finding_html, finding_lines
from kit.show.parts import COLOURS, card, code_html, paragraph, python_option, section, table_html, wrap
from kit.symbols import printable

_UNKNOWN = "unknown: nothing in this text speaks for a cause that the kit knows"
_WANTED = "What would tell more"
_NAMED = 4  # extensions
_SURE = ((0.9, "nearly certain"), (0.7, "likely"), (GUESS, "possible"), (0.0, "a guess"))


def _sure(confidence: float) -> str:
    """``'likely (confidence 0.83)'``."""
    return f"{next(word for least, word in _SURE if confidence >= least)} (confidence {confidence:.2f})"


def _under_title(cause: Any) -> str:
    blame = f" · to blame: {printable(cause.package)}" if cause.package else ""
    return _sure(cause.confidence) + blame


def _stated(facts: Facts) -> str:
    """What the text itself states of the environment, in one line."""
    parts = [f"Python {facts.python.version}"] if facts.python.version else []
    parts += [f"torch {facts.torch.version}"] if facts.torch else []
    parts += [f"{e.key} {e.version}" for e in facts.extensions if e.version][:_NAMED]
    parts += [gpu.name + (f" ({gpu.capability})" if gpu.capability else "") for gpu in facts.host.gpus]
    parts += [f"driver {facts.host.driver.version}"] if facts.host.driver and facts.host.driver.version else []
    parts += [f"nvcc {toolkit.version}" for toolkit in facts.host.toolkits]
    stated: str = printable(" · ".join(dict.fromkeys(parts)))
    return stated


def _heading(shown: Any) -> str:
    return "The environment: " if shown.whole else "The text states: "


def _split(shown: Any) -> tuple[list[Any], list[Any]]:
    """The causes, and the checks that failed themselves."""
    crashed = [cause for cause in shown.causes if cause.failure == CRASHED]
    return [cause for cause in shown.causes if cause.failure != CRASHED], crashed


def _next(shown: Any) -> tuple[str, str]:
    """What to do next, and its command; '' where nothing is."""
    if shown.harmless:
        return "", ""
    if shown.whole:
        return "After the fix, check:", f"python -m kit verify{python_option(shown.report.facts)}"
    return "To check this against the environment itself:", "python -m kit doctor"


def explanation_text(shown: Any) -> str:
    """The likeliest cause in full, the others a line each, and what to do next last."""
    causes, crashed = _split(shown)
    stated = _stated(shown.report.facts)
    lines = []
    if causes:
        first = causes[0]
        title, *rest = finding_lines(_printed(first))
        lines += [wrap(title, "", "  "), f"  {_under_title(first)}", *rest]
    else:
        lines.append(_UNKNOWN)
    if stated:
        lines += ["", wrap(stated, _heading(shown), "  ")]
    if causes[1:]:
        lines += ["", "Less likely"]
        width = max(len(cause.failure) for cause in causes[1:])
        lead = " " * (width + 10)
        for cause in causes[1:]:
            start = f"  {cause.confidence:.2f}  {cause.failure:<{width}}  "
            lines.append(wrap(printable(cause.title), start, lead))
    for cause in crashed:
        lines += ["", *finding_lines(_printed(cause))]
    if shown.unsure:
        lines += ["", _WANTED]
        for what, command in shown.wanted:
            lines += [wrap(what, "  - ", "    "), f"      {command}"]
        return "\n".join(lines)
    words, command = _next(shown)
    return "\n".join([*lines, *(["", f"{words} {command}"] if command else [])])


def explanation_html(shown: Any) -> str:
    causes, crashed = _split(shown)
    stated = _stated(shown.report.facts)
    out = []
    if causes:
        first = causes[0]
        out.append(card(finding_html(_printed(first), under=_under_title(first)), COLOURS[first.severity]))
    else:
        out.append(paragraph(f"<strong>{escape(_UNKNOWN)}</strong>", size=15))
    if stated:
        out.append(paragraph(escape(_heading(shown) + stated), faint=True))
    if causes[1:]:
        rows = [(f"{cause.confidence:.2f}", printable(cause.title), cause.failure) for cause in causes[1:]]
        out.append(paragraph("<strong>Less likely</strong>") + table_html(rows))
    out += [card(finding_html(_printed(cause)), COLOURS[cause.severity]) for cause in crashed]
    if shown.unsure:
        out.append(paragraph(f"<strong>{_WANTED}</strong>"))
        items = "".join(
            f'<li style="margin:0 0 6px">{escape(what)}<br>{code_html(command)}</li>'
            for what, command in shown.wanted
        )
        out.append(f'<ul style="margin:0 0 10px;padding-left:20px">{items}</ul>')
        return section("".join(out))
    words, command = _next(shown)
    if command:
        out.append(paragraph(f"{escape(words)} {code_html(command)}", faint=True))
    return section("".join(out))


def _printed(cause: Any) -> Any:
    """The cause without what steers a terminal: words of it come from a stranger's text."""
    return dataclasses.replace(
        cause, summary=printable(cause.summary), evidence=tuple(map(printable, cause.evidence))
    )
