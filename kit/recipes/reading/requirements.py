"""Requirements and constraints files: packages and options, line by line, as pip reads them."""

import os
import re
from collections.abc import Iterable, Iterator
from typing import Optional

from kit.recipes.model import Install, Options, Package, Recipe, Span, Stage, Unread, Word
from kit.recipes.reading.arguments import Given, Grammar, parse_arguments, sorted_out
from kit.recipes.reading.beside import Beside, attached
from kit.recipes.reading.source import Region, joined
from kit.recipes.reading.specifiers import place_of_source, requirement

_COMMENT = re.compile(r"(^|\s+)#.*$")
_VARIABLE = re.compile(r"\$\{[A-Z0-9_]+\}")
_TOKEN = re.compile(r"""(?:[^\s"']|"[^"]*"|'[^']*')+""")


def read(path: str, text: str) -> Recipe:
    """A requirements file as one :class:`Install` without a command.  A constraints file installs nothing."""
    install, unread = lines(_logical(text), text)
    installs = () if "constraint" in os.path.basename(path) else (attached(install, Beside(path), parse),)
    return Recipe(
        path, "requirements", text, (Stage(None, Span(0, len(text))),), installs=installs, unread=tuple(unread)
    )


def parse(text: str, file: str) -> Install:
    """Another recipe's requirements file."""
    return lines(_logical(text), text, file)[0]


def lines(regions: Iterable[Region], text: str, file: Optional[str] = None) -> tuple[Install, list[Unread]]:
    """What lines of requirements and options say together that stand in a file with this text."""
    packages: list[Package] = []
    local: list[Word] = []
    given: list[Given] = []
    unread: list[Unread] = []
    for region in regions:
        words = list(_line(region, text))
        options = list(parse_arguments((w for w in words if w.text), Grammar.PIP, text))
        given += [g for g in options if g.name]
        wanted = [w for g in options for w in [g.value if g.name in ("-e", "--editable") else g.word] if w]
        for word in wanted[
            : 1 if options and (not options[0].name or options[0].name in ("-e", "--editable")) else 0
        ]:
            package = requirement(word, file)
            if package is None or place_of_source(word.text):
                local.append(word)
            if package is not None:
                packages.append(package)
                if not package.known and not _VARIABLE.search(word.text) and package.url is None:
                    line = text.count("\n", 0, word.span.start) + 1
                    unread.append(Unread(line, f"no requirement that pip can read: {word.raw[:80]}"))
    install = Install("pip", Span(0, len(text)), tuple(packages), sorted_out(given, Options()), local=tuple(local))
    return install, unread


def _logical(text: str) -> Iterator[Region]:
    """The lines, continued ones joined, without comments."""
    start = 0
    parts: list[Region] = []
    for line in text.splitlines(keepends=True):
        end = start + len(line.rstrip("\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"))
        comment = (
            _COMMENT.search(text[start:end]) if not parts or not text[start:end].strip().startswith("#") else None
        )
        if text[start:end].endswith("\\") and not comment:
            parts.append(Region.of(text, start, end - 1))
        else:
            parts.append(Region.of(text, start, start + comment.start() if comment else end))
            yield from _whole(parts)
            parts = []
        start += len(line)
    yield from _whole(parts)


def _whole(parts: list[Region]) -> Iterator[Region]:
    region = parts[0] if len(parts) == 1 else joined(parts)
    if region.text.strip():
        yield region


def _line(region: Region, text: str) -> Iterator[Word]:
    """A requirement as one word, its options as words."""
    tokens = list(_TOKEN.finditer(region.text))
    options = next((i for i, token in enumerate(tokens) if token.group().startswith("-")), len(tokens))
    if options:
        yield _word(region, tokens[0].start(), tokens[options - 1].end(), text)
    for token in tokens[options:]:
        yield _word(region, token.start(), token.end(), text)


def _word(region: Region, start: int, end: int, text: str) -> Word:
    span = region.span(start, end)
    value = region.text[start:end].strip()
    if value[:1] == value[-1:] and value[:1] in ("'", '"') and len(value) > 1:
        value = value[1:-1]
    return Word(value, text[span.start : span.end], span, not _VARIABLE.search(value))
