"""Reads the log of an installation that failed: the command in it, its exit status, and what it said."""

import re
import shlex
import sys
from typing import Optional

from kit import redact
from kit.errors import KitError
from kit.facts import Attempt

_HEAD, _TAIL = 64 << 10, 1 << 20  # bytes: the command stands at the beginning, the cause near the end
LINES = 400

_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b\x0c\x0e-\x1f]")
# What stands before a command: a prompt, set -x, an instruction of a Dockerfile, a cell, a step number of BuildKit.
_PROMPT = r"(?:.{0,80}?[$#>%!+]\s*|(?:#?\d+\s+)?(?:\[[^\]]*\]\s*)?RUN\s+|In\s*\[\d*\]:\s*)?"
_VARIABLES = r"(?:[A-Za-z_]\w*=(?:'[^']*'|\"[^\"]*\"|[^\s'\"]\S*|)\s+)*"
_PIP = (
    r"(?:\S*python[\d.]*(?:\.exe)?\s+-m\s+)?(?:uv\s+)?(?:\S*[/\\])?pip[\d.]*(?:\.exe)?\s+(?:install|wheel|download)\b"
)
_COMMAND = re.compile(rf"^\s*{_PROMPT}({_VARIABLES}{_PIP}.*)$", re.IGNORECASE)
_STATUS = re.compile(r"(?:exit code|exit status|returned a non-zero code|status)[:\s]+(\d{1,3})\b", re.IGNORECASE)


def read(file: str) -> Attempt:
    """The attempt in a log file, or on stdin where ``file`` is ``-``.  KitError where it cannot be read."""
    try:
        if file == "-":
            data = sys.stdin.buffer.read(_HEAD + _TAIL)
        else:
            with open(file, "rb") as stream:
                data = stream.read(_HEAD + _TAIL)
                if stream.read(1):  # longer: its beginning and its end
                    stream.seek(-_TAIL, 2)
                    data = data[:_HEAD] + b"\n" + stream.read(_TAIL)
    except OSError as error:
        raise KitError(f"{file} cannot be read: {error.strerror or error}") from None
    if not data.strip():
        raise KitError(f"{file} is empty: it should hold what the installation said, its command in the first line")
    return parse(data.decode("utf-8", "replace"))


def parse(text: str) -> Attempt:
    """The attempt that a log's text tells of; colours and progress bars are taken out, secrets are not kept."""
    lines = []
    for line in text.split("\n"):
        said = _ESCAPES.sub("", line.rstrip("\r").rpartition("\r")[2]).rstrip()
        if said:
            lines.append(redact.text(said))
    argv = next((found for at in range(len(lines)) for found in [_command(lines, at)] if found), ())
    status = next((int(m.group(1)) for line in reversed(lines) for m in [_STATUS.search(line)] if m), None)
    return Attempt(argv, status, tuple(lines[-LINES:]))


def _command(lines: list[str], at: int) -> Optional[tuple[str, ...]]:
    match = _COMMAND.match(lines[at])
    if match is None:
        return None
    command, more = match.group(1), at
    while command.endswith("\\") and more + 1 < len(lines):
        more += 1
        command = f"{command[:-1]} {lines[more].lstrip('> ')}"
    try:
        return tuple(shlex.split(command))
    except ValueError:  # a quote that is not closed
        return tuple(command.split())
