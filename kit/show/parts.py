"""The pieces that views are made of: words and lines that several share, and HTML elements."""

import os
import sys
import textwrap
from html import escape
from typing import Any, Optional

from kit.facts import Facts
from kit.findings import Fix, quote

WIDTH = 100
COLOURS = {"error": "#d9480f", "warning": "#b08900", "note": "#1c7ed6"}
MARKS = {True: "ok", False: "FAILED", None: "-"}


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


def price(fix: Fix) -> str:
    """What a fix costs, in words: ``'about 12 min · downloads 3.0 GB · restart'``."""
    cost, parts = fix.cost, []
    if cost.seconds is not None:
        parts.append("at once" if cost.seconds < 3 else "about " + duration(cost.seconds))
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


def duration(seconds: int) -> str:
    return f"{seconds} s" if seconds < 90 else f"{round(seconds / 60)} min"


def python_option(facts: Facts) -> str:
    python = facts.python.executable
    own = os.path.expanduser(python) == sys.executable
    return "" if own else f" --python {quote(python)}"


def wrap(value: str, first: str = "  ", rest: Optional[str] = None) -> str:
    return textwrap.fill(
        value,
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first) if rest is None else rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def columns(rows: Any) -> list[str]:
    """Lines in which the cells of a column stand under each other."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def section(inner: str, width: int = 52) -> str:
    return f'<section style="max-width:{width}em;font-size:13px;line-height:1.5">{inner}</section>'


def card(inner: str, colour: str) -> str:
    return (
        '<section style="max-width:46em;border:1px solid color-mix(in srgb,currentColor 22%,transparent);'
        f'border-left:4px solid {colour};border-radius:4px;padding:12px 16px;margin:8px 0">{inner}</section>'
    )


def paragraph(inner: str, size: int = 13, bold: bool = False, faint: bool = False) -> str:
    style = (
        f"margin:0 0 8px;font-size:{size}px"
        + (";font-weight:600" if bold else "")
        + (";opacity:.75" if faint else "")
    )
    return f'<p style="{style}">{inner}</p>'


def details(summary: str, inner: str, open: bool = False) -> str:
    return (
        f'<details{" open" if open else ""} style="margin:0 0 10px">'
        f'<summary style="cursor:pointer">{summary}</summary>{inner}</details>'
    )


def code_html(command: str) -> str:
    return f'<code style="overflow-wrap:anywhere;background:none;padding:0">{escape(command)}</code>'


def table_html(rows: Any, head: Any = ()) -> str:
    """Rows as a table; where there is little room, the words of its widest column break."""
    cell, rows = "padding:2px 14px 2px 0;vertical-align:top;text-align:left", list(rows)
    widths = [max(map(len, column)) for column in zip(*rows)]
    breaks = ("break-word", "anywhere;min-width:12em")
    styles = [f"{cell};overflow-wrap:{breaks[width == max(widths)]}" for width in widths]
    top = (
        "<tr>" + "".join(f'<th style="{cell};overflow-wrap:break-word">{escape(h)}</th>' for h in head) + "</tr>"
        if head
        else ""
    )
    lines = ("".join(f'<td style="{style}">{escape(c)}</td>' for style, c in zip(styles, row)) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return (
        f'<table style="border-collapse:collapse;background:none;margin:4px 0 8px;font-size:13px">{top}{body}</table>'
    )


def fix_html(fix: Fix) -> str:
    cost, command = price(fix), fix.command()
    return (
        f"<strong>{escape(fix.why)}</strong>"
        + (f" · {escape(cost)}" if cost else "")
        + (f"<br>{code_html(command)}" if command else "")
    )
