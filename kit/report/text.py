"""Pasted text made readable: what a terminal, a web page, a log or a box added is taken out, in bounded time.

What is kept of very long text: its beginning, its end, and of what lies between the places that tell most.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Optional, Union

from kit import redact

# Characters (or bytes) that are kept of longer text, and the longest line.
HEAD, TAIL, MIDDLE = 256 << 10, 512 << 10, 160 << 10
LONGEST = 8000
_BEFORE, _AFTER, _EACH = 400, 600, 60  # around a place in the middle; how many of one kind, from either end

# What is looked for in the middle of very long text, the most telling first.
_TELLING = (
    "Traceback (most recent call last)",
    "undefined symbol",
    "Error: ",
    "error: ",
    "ERROR",
    "not found",
    "CUDA",
    "fatal",
    "Warning: ",
    "Version: ",
    "version",
    "torch",
    "failed",
)

_ESCAPES = re.compile(
    r"\x1b\[[0-?]{0,40}[ -/]{0,4}[@-~]|\x1b\][^\x07\x1b\n]{0,4000}(?:\x07|\x1b\\)?|"
    r"\x1b[PX^_][^\x1b\n]{0,4000}(?:\x1b\\)?"
    r"|\x1b[ -/]{0,3}[0-~]"
)
# Colours whose escape character was lost, or is written out, as in a notebook's JSON.
_COLOURS = re.compile(r"(?:\\u001b|\\x1b|\\033|\\e|\^\[|\u241b|\ufffd)?\[\d{0,3}(?:;\d{1,3}){0,6}m")
_CONTROLS = re.compile(r"[\x00-\x07\x0b\x0c\x0e-\x1f\x7f]")
_NO_CONTROLS = dict.fromkeys((*range(8), 11, 12, *range(14, 32), 127))
_UNSEEN = re.compile(r"[\x80-\x84\x86-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]+")
_SPACES = re.compile(r"[\x85\u00a0\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
_SINGLE = re.compile(r"[\u2018\u2019\u201a\u201b\u00b4\uff07\u2032]")
_DOUBLE = re.compile(r"[\u201c\u201d\u201e\u201f\uff02]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")

_BREAK = "\x01"  # of a web page: a line that the pasted text does not have
_NAMES = (
    "a|abbr|article|aside|b|blockquote|body|br|button|caption|center|code|col|dd|details|div|dl|dt|em|figure|font|"
    "footer|form|h[1-6]|head|header|hr|html|i|iframe|img|input|kbd|label|li|link|main|mark|meta|nav|ol|option|p|path|"
    "pre|s|samp|section|select|small|span|strong|sub|summary|sup|svg|table|tbody|td|textarea|tfoot|th|thead|time|"
    "title|tr|tt|u|ul|var|g-emoji|clipboard-copy|task-lists|relative-time"
)
_PAGE = re.compile(
    r"<(?:!doctype html|html|body|div|pre|span|br|table|p|code|td|li|script|style)\b[^<>]{0,300}>", re.I
)
_TAG = re.compile(rf"</?(?:{_NAMES})(?:[\s/][^<>]{{0,2000}})?>|<!doctype[^<>]{{0,300}}>|<!--[^<>]{{0,2000}}-->", re.I)
_BLOCK = re.compile(
    r"<br\b[^<>]{0,100}>|</(?:p|div|li|tr|pre|h[1-6]|table|blockquote|title|dd|dt)\s{0,5}>|<(?:pre|"
    r"hr)\b[^<>]{0,300}>",
    re.I,
)
_ENTITY = re.compile(r"&(?:lt|gt|quot|amp|apos|nbsp|#x?[0-9a-fA-F]{1,6});")

# What loggers, runners and builders put before each line.  Each keeps the indentation behind it.
_PREFIX = re.compile(
    r"\[?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d| UTC)?\]?(?: [-|] |: ?| |\t|$)"
    r"|\[?\d\d:\d\d:\d\d(?:[.,]\d{1,6})?\]? (?!up\b|[A-Z]{3,4} \d{4})"
    r"|\[(?:(?:local_)?rank|node|worker|proc(?:ess)?)[ _]?\d{1,5}\](?:: ?| |$)|\[default\d{1,5}\]:"
    r"|\[\d{1,5},\d{1,5}\]<std(?:err|out)>:"
    r"|\((?:[\w.:-]{1,60} )?pid=\d{1,9}[^()]{0,100}\) ?|\(raylet\) |\(autoscaler[^()]{0,60}\) "
    r"|#\d{1,3} (?:\d{1,5}\.\d{1,4} |(?=\[|ERROR\b|sha256:))"
    r"|##\[(?:error|warning|group|endgroup|command|debug|section)\]|::(?:error|warning|notice)[^:\n]{0,200}::"
    r"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d [\w.-]{1,60} [\w./@-]{1,60}(?:\[\d{1,9}\])?: "
    r"|[EWIF]\d{4} \d\d:\d\d:\d\d\.\d{1,9} {1,8}\d{1,9} [\w./-]{1,120}:\d{1,6}\] "
    r"|Step \d{1,3}/\d{1,3} : |std(?:err|out): |\[std(?:err|out)\] ?"
    r"|[^\t]{1,80}\t[^\t]{1,80}\t(?=\ufeff?\d{4}-\d\d-\d\dT)"
)
_COMMON = re.compile(r"(?:[A-Za-z][\w./-]{0,40} {0,20}\| ?|[A-Za-z][\w.-]{0,30}\d: |\d{1,4}: ?)")
_BUILDKIT = re.compile(r"\d{1,5}\.\d{1,4} (?=\S| )")
_GUTTER = re.compile(r"\s{0,8}(\d{1,6})(?:\s{0,2}[|:\u2502]\s?|\.\s|\t|\s{1,4})")
_FENCE = re.compile(r"\s{0,8}(?:`{3,}|~{3,})\s?[\w+.{}=-]{0,30}\s*$")
_MARKED = re.compile(r"\s{0,8}(`{1,3}|\*{1,3})(?=\S)([^`*\n]{1,4000}\S)\1\s*$")

_DRAWN = "\u2500-\u257f"
_BOXED = re.compile(rf"[{_DRAWN}\u2771\u25b6]")
_TITLE = re.compile(
    r"\s*[\u256d\u250c\u2554][\u2500\u2501\u2550]*\s?(.*?)\s?[\u2500\u2501\u2550]*[\u256e\u2510\u2557]?\s*$"
)
_SIDE = re.compile(r"(\s*)[\u2502\u2503\u2551](.*)$")
_A_PATH = re.compile(r"(?:/|~|[A-Za-z]:\\)\S{20,}")
_ARROW = re.compile(r"[\u2570\u2514\u251c][\u2500\u2501]*(?:[\u25b6>]|\u2500)")

_URL = re.compile(r"([A-Za-z][\w+.-]{0,20}://)(\S+)")
_LONGEST_URL = 400
_SECRETS = ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "hf_", "AKIA", "xox", "pypi-AgE", "eyJ")
_WORD = re.compile(r"\S+")
_LONGEST_SECRET = 500

# "\n" as a program writes it inside a string: in a log of JSON, in the repr of an exception.
_WRITTEN = re.compile(r"\\n(?=[\s\"'A-Z\[\\^~]|$)")
_QUOTED = re.compile(r"^\s*\"(.*?)(?:\\n)?\",?\s*$")  # a line of a notebook's file
_TORN = re.compile(r"[\w/\\.+-]")
# What begins a line, and never the rest of a word.
_BEGINS = re.compile(
    r"[A-Z][a-z]+(?:$|[\s:,])|[A-Z]{2,}(?:$|[\s:])|(?:pip3?|conda|mamba|python\S*|uv|docker|sudo|git|"
    r"import|from|torch\S*)"
    r"(?:\s|$)|[\w.]+(?:Error|Warning|Exception)\b|- |\d+[.)] "
)
_WIDTHS = (79, 80, 99, 100, 119, 120, 131, 132)
_PATH_TORN = re.compile(r"[^\s]{0,300}[/\\][^\s]{3,300} [^\s/\\]{0,80}[/\\._][^\s]{1,300}")


def clean(data: Union[str, bytes]) -> tuple[list[str], list[int]]:
    """The lines of a text as a person means them, and the line, from 1, in which each began."""
    lines: list[str] = []
    numbers: list[int] = []
    for first, piece in _pieces(data):
        if lines:
            lines.append("")
            numbers.append(first)
        _split(_plain(piece), first, lines, numbers)
    _strip(lines)
    lines, numbers = _shorter(lines, numbers)
    _redact(lines)
    return lines, numbers


# -- what is read of it


def _pieces(data: Union[str, bytes]) -> list[tuple[int, str]]:
    """(number of its first line, text) of what is kept."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        data = bytes(data)
        wide = _wide(data)
        if wide is None:
            encoding = _encoding(data)
            return [(first, _decode(part, encoding)) for first, part in _kept(data, b"\n")]
        data = data.decode(wide, "replace")
    return list(_kept(data, "\n"))


def _wide(data: bytes) -> Optional[str]:
    """The encoding, where each character has two or four bytes."""
    if data[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        return "utf-32"
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    sample = data[:2000]
    half = len(sample) // 2
    if half >= 4:
        if sample[1::2].count(0) > half * 0.7 and sample[::2].count(0) < half * 0.1:
            return "utf-16-le"
        if sample[::2].count(0) > half * 0.7 and sample[1::2].count(0) < half * 0.1:
            return "utf-16-be"
    return None


def _encoding(data: bytes) -> str:
    sample = data[:HEAD] + data[HEAD:][-TAIL:]
    text = sample.decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    # Of a text that was cut, a character or two may be torn.
    if not wrong or (wrong < 4 + len(text) // 1000 and not text.isascii()):
        beyond = len(text) - len(text.encode("ascii", "ignore"))
        if wrong <= beyond // 4 or not wrong:
            return "utf-8"
    return "cp1252"


def _decode(part: bytes, encoding: str) -> str:
    return part.decode(encoding, "replace")


def _kept(data: Any, newline: Any) -> Iterator[tuple[int, Any]]:  # of str, and of bytes
    """(number of its first line, part) of what is kept, in order."""
    size = len(data)
    if size <= HEAD + TAIL + MIDDLE:
        yield 1, data
        return
    head, tail = HEAD, size - TAIL
    cut = data.rfind(newline, HEAD // 2, head)
    head = cut if cut >= 0 else head
    cut = data.find(newline, tail, tail + TAIL // 2)
    tail = cut + 1 if cut >= 0 else tail
    spans = [(0, head), *_between(data, newline, head, tail), (tail, size)]
    number, at = 1, 0
    for start, end in spans:
        number += data.count(newline, at, start)
        at = start
        yield number, data[start:end]


def _between(data: Any, newline: Any, start: int, end: int) -> list[tuple[int, int]]:
    """The places that tell most, between ``start`` and ``end``: spans in order, none over another."""
    share = MIDDLE // len(_TELLING)
    found = set()
    for word in _TELLING:
        marker = word.encode() if isinstance(data, bytes) else word
        room = share
        ahead, behind = start, end
        for _ in range(_EACH):
            at = data.find(marker, ahead, behind)
            last = data.rfind(marker, ahead, behind) if at >= 0 else -1
            for place in {at, last} - {-1}:
                left = max(start, place - _BEFORE)
                cut = data.find(newline, left, place)
                left = cut + 1 if cut >= 0 else left
                cut = data.rfind(newline, place, min(end, place + _AFTER))
                right = cut if cut >= 0 else min(end, place + _AFTER)
                found.add((left, right))
                room -= right - left
            if at < 0 or room < 0:
                break
            ahead, behind = at + _AFTER, max(at + _AFTER, last - _BEFORE)
    spans: list[tuple[int, int]] = []
    for left, right in sorted(found):
        if spans and left <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(right, spans[-1][1]))
        else:
            spans.append((left, right))
    return spans


# -- characters


def _plain(text: str) -> str:
    """Without what a terminal acts on and nobody sees; quotes and spaces as a keyboard writes them."""
    if "\x1b" in text:
        text = _ESCAPES.sub("", text)
    if "[0m" in text or "[39m" in text or "\\u001b[" in text or "\\x1b[" in text:
        text = _COLOURS.sub("", text)
    if text.isascii():
        text = text.translate(_NO_CONTROLS)
    else:
        text = _CONTROLS.sub("", text)
        text = _SURROGATES.sub("\ufffd", text)
        text = _SPACES.sub(" ", _UNSEEN.sub("", text))
        text = _DOUBLE.sub('"', _SINGLE.sub("'", text))
    if "<" in text and ">" in text:
        pages = _PAGE.finditer(text)
        if next(pages, None) and next(pages, None):
            text = _words_of_page(text)
    if "&" in text and _ENTITY.search(text):
        import html

        text = _ENTITY.sub(lambda m: html.unescape(m.group()).replace("\u00a0", " "), text)
        text = _CONTROLS.sub("", text) if _BREAK not in text else text
        text = _SURROGATES.sub("\ufffd", text)
    return text


def _words_of_page(text: str) -> str:
    for name in ("script", "style"):
        text = _without(text, name)
    return _TAG.sub("", _BLOCK.sub(_BREAK, text))


def _without(text: str, name: str) -> str:
    """``text`` without these elements and what they hold; its line breaks stay."""
    lower = text.lower()
    if len(lower) != len(text) or f"<{name}" not in lower:
        return text
    parts: list[str] = []
    at = 0
    while True:
        start = lower.find(f"<{name}", at)
        end = lower.find(f"</{name}", start) if start >= 0 else -1
        if end < 0:
            return "".join([*parts, text[at:]])
        parts += [text[at:start], "\n" * text.count("\n", start, end)]
        closed = text.find(">", end)
        at = closed + 1 if closed >= 0 else len(text)


# -- lines


def _split(text: str, number: int, lines: list[str], numbers: list[int]) -> None:
    """Append the lines of ``text``: each in the state in which a terminal leaves it."""
    if "\n" not in text and "\r" in text:
        text = text.replace("\r", "\n")
    returns, erased, broken = "\r" in text, "\b" in text, _BREAK in text
    written = "\\n  " in text or "\\nFile" in text
    notebook = '"output_type"' in text
    for line in text.split("\n"):
        if notebook:
            line = _QUOTED.sub(_unquoted_string, line, count=1)
        if returns and "\r" in line:
            states = [state for state in line.split("\r") if state.strip()]
            line = states[-1] if states else ""
        if erased and "\b" in line:
            line = _erased(line)
        for part in line.split(_BREAK) if broken else (line,):
            for said in _WRITTEN.split(part) if written and "\\n" in part else (part,):
                if len(said) > LONGEST:
                    said = said[: LONGEST // 2] + " ... " + said[-LONGEST // 2 :]
                lines.append(said.rstrip())
                numbers.append(number)
        number += 1


def _unquoted_string(match: "re.Match[str]") -> str:
    text: str = match.group(1)
    return text.replace('\\"', '"').replace("\\\\", "\\")


def _erased(line: str) -> str:
    kept: list[str] = []
    for character in line:
        if character != "\b":
            kept.append(character)
        elif kept:
            kept.pop()
    return "".join(kept)


def _strip(lines: list[str]) -> None:
    """Take from each line what stands around it: prefixes, quote marks, boxes, gutters; in place."""
    match, torn = _PREFIX.match, -1
    for at, line in enumerate(lines):
        if not line:
            continue
        first = line[0]
        if first == " " and line.isascii() and line[-1] not in "`*":
            continue
        if first == ">":
            line = _unquoted(line)
        for _ in range(3):
            found = match(line)
            if found is None or found.end() == 0:
                break
            line = line[found.end() :]
        if line and (first in "`*~ " or line[0] in "`*~"):
            line = "" if _FENCE.match(line) else _unmarked(line)
        if line and not line.isascii() and _BOXED.search(line):
            full, line = line[-1] == "\u2502" and line[-3:-2].strip() != "", _unboxed(line)
            if torn >= 0 and line and line[0] not in " \u2771":
                lines[torn] += line  # a path that was too long for its box
                line = ""
            torn = at if full and _A_PATH.fullmatch(line) else -1
        lines[at] = line
    _strip_common(lines)
    _strip_gutter(lines)


def _unquoted(line: str) -> str:
    """Without the marks of a quotation; ``>>> `` is Python's prompt."""
    for _ in range(4):
        if not line.startswith(">") or line.startswith(">>>"):
            break
        line = line[2:] if line.startswith("> ") else line[1:]
    return line


def _unmarked(line: str) -> str:
    found = _MARKED.match(line)
    if found:
        return found.group(2)
    return line.lstrip("`") if line.startswith("```") else line


def _unboxed(line: str) -> str:
    """A line of a drawn box: what stands in it.  Spaces take the place of arrows and of guides."""
    title = _TITLE.match(line)
    if title:
        return title.group(1).strip(" \u2500\u2501\u2550\u256e\u2510\u2557")
    if not line.strip(" \u2570\u256f\u2514\u2518\u2500\u2501\u2550\u255a\u255d\u251c\u2524\u253c\u252c\u2534\u2502"):
        return ""
    side = _SIDE.match(line)
    if side:
        line = side.group(1) + side.group(2)
        line = line[:-1].rstrip() if line[-1:] in ("\u2502", "\u2503", "\u2551") else line
        line = line[1:] if line.startswith(" ") and not side.group(1) else line
    line = _ARROW.sub(lambda m: " " * len(m.group()), line)
    return re.sub(r"[\u2502\u2503\u2551\u25b6]", " ", line).rstrip()


def _strip_common(lines: list[str]) -> None:
    """Take out a prefix that most lines have: of a service, a node, a task; BuildKit's seconds."""
    filled = [line for line in lines[:400] if line]
    if len(filled) < 3:
        return
    counts = Counter(found.group() for line in filled for found in [_COMMON.match(line)] if found)
    taken = [p for p, n in counts.items() if (n >= 3 and " |" in p and not p[0].isdigit()) or n > len(filled) * 0.6]
    taken = [p for p in taken if p.rstrip(": |").lower() not in ("error", "warning", "note", "e")]
    if taken:
        prefixes = tuple(taken)
        for at, line in enumerate(lines):
            if line.startswith(prefixes):
                lines[at] = line[max(len(p) for p in prefixes if line.startswith(p)) :]
    if sum(1 for line in filled if _BUILDKIT.match(line)) >= max(3, len(filled) // 3):
        for at, line in enumerate(lines):
            lines[at] = _BUILDKIT.sub("", line, count=1) if _BUILDKIT.match(line) else line


def _strip_gutter(lines: list[str]) -> None:
    """Take out line numbers, where nearly all lines have them and they count."""
    filled = [(at, found) for at, line in enumerate(lines[:2000]) if line for found in [_GUTTER.match(line)]]
    if len(filled) < 5 or sum(1 for _, found in filled[:5] if found) < 4:
        return
    counted = [(at, int(found.group(1))) for at, found in filled if found]
    steps = sum(1 for (_, one), (_, two) in zip(counted, counted[1:]) if 0 < two - one <= 2)
    if len(counted) < 0.9 * len(filled) or steps < 0.9 * (len(counted) - 1):
        return
    for at, line in enumerate(lines):
        found = _GUTTER.match(line)
        if found:
            lines[at] = line[found.end() :]


def _shorter(lines: list[str], numbers: list[int]) -> tuple[list[str], list[int]]:
    """Lines torn at a terminal's width joined, and of lines that repeat only the first."""
    width = _width(lines)
    kept: list[str] = []
    begun: list[int] = []
    torn = False
    before: Optional[str] = None
    for line, number in zip(lines, numbers):
        if torn and _torn(kept[-1], line) and len(kept[-1]) < LONGEST:
            kept[-1] += line
        elif line != before or (line and line[0] in " \t" and len(line) < 40):
            kept.append(line)
            begun.append(number)
        torn = width > 0 and len(line) == width
        before = line
    return kept, begun


def _torn(line: str, below: str) -> bool:
    """Whether ``below`` goes on inside the word with which ``line`` ends."""
    return bool(below and _TORN.match(line[-1]) and _TORN.match(below) and not _BEGINS.match(below))


def _width(lines: list[str]) -> int:
    """The width at which a terminal tore the lines, 0 where none did: the length of the longest, of which there are
    several, each ending inside a word; or a usual width, where a path was torn."""
    longest = max(map(len, lines), default=0)
    if not 60 <= longest <= 250:
        return 0
    full = [at for at, line in enumerate(lines[:-1]) if len(line) == longest]
    torn = [at for at in full if _torn(lines[at], lines[at + 1])]
    if len(torn) * 2 < len(full) or not torn:
        return 0
    if len(torn) == 1:
        word = lines[torn[0]].rpartition(" ")[2] + " " + lines[torn[0] + 1].partition(" ")[0]
        path = _PATH_TORN.fullmatch(word)
        return longest if longest in _WIDTHS and path else 0
    return longest


# -- secrets


def _redact(lines: list[str]) -> None:
    text = "\n".join(lines)
    if "://" in text:
        for at, line in enumerate(lines):
            if "://" in line:
                lines[at] = _URL.sub(_address, line)
    if any(start in text for start in _SECRETS):
        for at, line in enumerate(lines):
            if any(start in line for start in _SECRETS):
                lines[at] = _WORD.sub(_word, line)


def _address(match: "re.Match[str]") -> str:
    scheme, rest = match.groups()
    return redact.text(scheme + (rest if len(rest) <= _LONGEST_URL else rest[:_LONGEST_URL] + "..."))


def _word(match: "re.Match[str]") -> str:
    word: str = match.group()
    if not any(start in word for start in _SECRETS):
        return word
    return redact.text(word) if len(word) <= _LONGEST_SECRET else "****"
