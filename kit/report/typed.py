"""The commands that a person typed, in a report's lines: at a prompt, in a notebook, a Dockerfile, a workflow."""

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Optional

from kit.collect.attempt import LINES
from kit.facts import Attempt
from kit.record import Record
from kit.report import Raised

MOST = 200
_LONGEST = 4000


class Command(Record):
    """One command: its words, the line in which it stands, and the line after it."""

    words: tuple[str, ...]
    at: int
    end: int


# Any of these words in a text means that a command may stand in it.
_HINTS = (
    "pip", "conda", "mamba", "uv ", "python", "poetry", "pdm ", "pixi ", "apt", "docker", "podman", "singularity",
    "apptainer", "export ", "setup.py", "git clone", "module load", "srun", "sbatch", "run ", "make", "nvcc",
    "torchrun", "set ", "env ", "./", "yum ", "dnf ", "$ ", "echo ", "brew ", "accelerate",
    "deepspeed", "cmake", "ninja", "jupyter", "--version",
)  # fmt: skip
_FRAME = ('  File "', 'File "', '    File "')
_PROMPT = re.compile(
    r"(?:\([\w./\\ +-]{1,60}\) ?)?"  # a virtual environment
    r"(?:PS )?(?:[A-Za-z]:[\\/][^<>|\n]{0,200}> ?"  # Windows
    r"|\[[\w.@-]{1,60}[ :][^\]\n]{0,100}\][$#%] ?"
    r"|[\w.-]{1,40}@[\w.-]{1,60}[^\n$#%]{0,120}[$#%] ?"
    r"|(?:~|/)[\w./~-]{0,100} ?[$#%] "
    r"|\$ |# |% |\u276f ?|\u279c\s{1,3}(?:\S{1,60}\s)?|\u03bb |\+{1,3} |> )"
    r"|\([\w./\\ +-]{1,60}\) (?=\S{1,60} )"
    r"|In ?\[\d{0,5}\]: ?|(?:RUN|CMD|ENTRYPOINT)\s+(?:--mount=\S+\s+){0,4}|\[[^\]\n]{1,40}\] RUN\s+|"
    r"(?:- )?(?:run|script|command): (?:\| ?)?|Run (?=\S{1,40} )|- (?=(?:pip|conda|python|apt)\S* )"
)
_FIRST = re.compile(
    r"(?:sudo (?:-\S+ ){0,3}|time |nohup |env |[!%]{1,2}\s?|(?:[A-Za-z_]\w{0,60}=(?:\"[^\"]{0,300}\"|"
    r"'[^']{0,300}'|[^\s'\"]\S{0,300})? )){0,12}"
    r"((?:[\w.~/\\:{}-]{0,200}[/\\])?(?:pip[\d.]{0,5}|uv|uvx|conda|mamba|micromamba|poetry|pipenv|pdm|"
    r"pixi|python[\d.]{0,5}|py|"
    r"apt|apt-get|yum|dnf|brew|docker|docker-compose|podman|singularity|apptainer|git|make|cmake|bash|sh|source|srun|"
    r"sbatch|module|export|set|setx|nvcc|gcc|g\+\+|ninja|torchrun|accelerate|deepspeed|jupyter|wget|curl|ldd|ipython|"
    r"nvidia-smi|echo|printenv|which|cd|ln|setenv|unset|MAX_JOBS|tox|pytest|\{sys\.executable\})(?:\.exe)?|\./[\w./-]{1,200})(?=\s|$)"
)
# Without a prompt a line is a command where the word after the first one says so.
_PLAIN = re.compile(
    r"(?:sudo )?(?:[A-Z_]{3,40}=\S{0,200} ){0,6}(?:[!%]\s?)?(?:"
    r"(?:\S{1,200}[/\\])?(?:pip[\d.]{0,5}(?:\.exe)?|uv|uv pip|poetry|pipenv|pdm|pixi|conda|mamba|"
    r"micromamba) (?:env )?"
    r"(?:install|uninstall|add|remove|sync|update|create|download|wheel|run|list|show|freeze|upgrade|"
    r"lock|pip|cache|i|activate)\b"
    r"|(?:\S{1,200}[/\\])?(?:python|py)[\d.]{0,5}(?:\.exe)? (?:-\w+ )?(?:-m |-c |\S{1,200}\.py\b|setup\.py)"
    r"|apt(?:-get)? (?:install|update|-)|docker (?:run|build|compose|exec)|docker-compose |podman run|singularity |"
    r"apptainer |git clone |module load |srun |sbatch |torchrun |accelerate launch|nvcc -|"
    r"nvcc [\w./-]+\.cu|brew install|yum install|dnf install|"
    r"export [A-Za-z_]\w*=|set \"?[A-Za-z_]\w*=|bash \S+\.sh|sh \S+\.sh|make(?: -j\d*| install)?$|\./\S+\.sh)"
)
_SPOKEN = re.compile(
    r"(?P<before>\b(?:I|we|ran|running|tried|did|used|using|executed|typed|installed|installing|with|via|by|after)\b"
    r"[^`\n]{0,60})`{1,3}(?P<command>(?:[!%]|sudo |[A-Z_]{3,40}=\S{1,100} )?(?:pip|uv|conda|mamba|"
    r"python|poetry|docker)"
    r"[\d.]{0,5} [^`\n]{3,600})`",
    re.I,
)
_ADVISED = re.compile(r"\b(?:please|should|need|can|may|must|could|consider|you|would)\b", re.I)
_BEYOND = re.compile(r"(?:\\|\^|`)$")
_SEPARATOR = re.compile(r"\s*(?:&&|\|\||;|\|&?)\s*")
_WINDOWS = re.compile(r"(?:^|[\s\"'=])[A-Za-z]:\\|\\\w+\.exe")
_SAYS = (
    "Looking in ", "Collecting ", "Requirement already", "ERROR: ", "error: ", "Successfully installed", "Resolved ",
    "Solving environment", "Collecting package metadata", "Channels:", "Processing ", "  Downloading", "Obtaining ",
    "Using cached", "  Using cached", "Found conflicts", "PackagesNotFoundError", "UnsatisfiableError", "Using pip ",
    "Building wheel", "  \u00d7 ", "\u00d7 ", "Could not find a version", "No matching distribution",
    "Updating dependencies",
    "LibMambaUnsatisfiableError", "Defaulting to user installation", "Downloading ", "Using Python ", "Prepared ",
    "WARNING: ", "DEPRECATION: ", "Installing collected", "Could not solve", "ResolvePackageNotFound",
    "Running setup.py", "  \u2022 Installing", "  - Installing", "Installing dependencies from lock", "Updating lock",
)  # fmt: skip
_INSTALLERS_SAY = (
    "Collecting ", "Looking in ", "Successfully installed", "No matching distribution found", "Building wheel",
    "No solution found", "Solving environment", "UnsatisfiableError", "PackagesNotFoundError", "has an invalid wheel",
    "subprocess-exited-with-error", "Could not find a version", "setup.py install", "ResolvePackageNotFound",
    "is not a supported wheel", "Failed building wheel", "metadata-generation-failed", "ChefBuildError",
    "Unable to find installation candidates", "SolverProblemError",
)  # fmt: skip
_STATUS = re.compile(
    r"(?:exit code|exit status|returned a non-zero code|exited with code)[:\s]{1,3}(\d{1,3})\b", re.IGNORECASE
)
_INSTALLERS = frozenset("pip uv conda mamba micromamba poetry pipenv pdm pixi".split())
_VERBS = frozenset("install add sync create update wheel download lock upgrade".split())


def find(lines: Sequence[str], errors: Sequence[Raised] = ()) -> list[Command]:
    """The commands in ``lines``, in their order; what an error advises to type is none."""
    found: list[Command] = []
    within = _within(errors)
    lower = "\n".join(_beside(lines)).lower()
    hints = [hint for hint in _HINTS if hint in lower]
    if not hints:
        return found
    at = 0
    while at < len(lines) and len(found) < MOST:
        line = lines[at]
        start = at
        at += 1
        if line.startswith(_FRAME):
            if at < len(lines) and lines[at].startswith("    "):
                at += 1  # its source
            continue
        lower = line.lower()
        for hint in hints:
            if hint in lower:
                break
        else:
            continue
        advised = start in within or (start - 1 in within and lines[start - 1].endswith(":"))
        command, more = _typed(line, advised), at
        if command is None:
            if "`" in line and start not in within:
                for spoken in _SPOKEN.finditer(line[:_LONGEST]):
                    if not _ADVISED.search(line[max(0, spoken.start() - 40) : spoken.start("command")]):
                        found += [Command(words, start, at) for words in _words(spoken.group("command"))]
            continue
        while _BEYOND.search(command) and more < len(lines) and len(command) < _LONGEST:
            command = f"{command[:-1].rstrip()} {_continued(lines[more])}"
            more += 1
        at = more
        for words in _words(command[:_LONGEST]):
            found.append(Command(words, start, more))
    return found


def _beside(lines: Sequence[str]) -> Iterator[str]:
    """The lines that are no frame of a traceback."""
    return (line for line in lines if not line.startswith(_FRAME))


def _continued(line: str) -> str:
    return line.strip().lstrip(">").lstrip()


def _within(errors: Sequence[Raised]) -> set[int]:
    return {at for raised in errors for at in range(raised.at, min(raised.end, raised.at + 200))}


def _typed(line: str, in_error: bool) -> Optional[str]:
    """The command in a line, without its prompt; None where it is none."""
    said = line.strip()
    if said.startswith((">>>", "...", "#!")) or (said[-1:] == ":" and "] RUN " in said[:40]):
        return None
    prompt = _PROMPT.match(said)
    if prompt and prompt.end():
        rest = said[prompt.end() :].lstrip()
        sure = not said.startswith(("# ", "- ", "> ", "+", "(")) or rest[:1] in "!%"
        if (sure and _FIRST.match(rest)) or _PLAIN.match(rest):
            return rest
        inner = _PROMPT.match(rest)  # (env) user@host:~$
        if inner and inner.end() and _FIRST.match(rest[inner.end() :].lstrip()):
            return rest[inner.end() :].lstrip()
    if said[0] in "!%" and _FIRST.match(said):
        return said
    if not in_error and _PLAIN.match(said):
        return said
    return None


def _words(command: str) -> list[tuple[str, ...]]:
    """The commands of a line, each as words."""
    command = command.lstrip("!%").strip()
    comment = re.search(r"\s#\s?(?!egg)", command)
    if comment:
        command = command[: comment.start()]
    return [words for part in _parts(command) for words in [_split(part)] if words]


def _parts(command: str) -> list[str]:
    """``command`` at each ``&&``, ``;`` and ``|`` that stands in no quotes."""
    if not _SEPARATOR.search(command):
        return [command]
    parts, start, quote, at = [], 0, "", 0
    while at < len(command):
        character = command[at]
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "&;|":
            long = command[at : at + 2] in ("&&", "||")
            if long or character in ";|":
                parts.append(command[start:at])
                at += 1 + long
                start = at
                continue
        at += 1
    return [*parts, command[start:]]


def _split(command: str) -> tuple[str, ...]:
    command = command.strip()
    if _WINDOWS.search(command):
        return tuple(word.strip("\"'") for word in re.findall(r"(?:\"[^\"]*\"|[^\s\"]|\")+", command))
    try:
        return tuple(shlex.split(command))
    except ValueError:  # a quote that is not closed
        return tuple(command.split())


def installs(words: Sequence[str]) -> bool:
    """Whether a command installs packages."""
    names = {re.split(r"[/\\]", word)[-1].lower().rstrip("0123456789.") for word in words[:8]}
    names |= {name[: -len(".exe")] for name in names if name.endswith(".exe")}
    if "setup.py" in words[:6]:
        return any(verb in words for verb in ("install", "develop", "bdist_wheel", "build_ext", "build"))
    return bool(names & _INSTALLERS) and any(word in _VERBS for word in words[:10])


def attempt(lines: Sequence[str], commands: Sequence[Command]) -> Optional[Attempt]:
    """The installation that was tried last, and what it said; None where the text shows none."""
    tried = [command for command in commands if installs(command.words)]
    for command in reversed(tried):
        end = next((c.at for c in commands if c.at >= command.end), len(lines))
        said = [line for line in lines[command.end : end] if line]
        if any(line.startswith(_SAYS) for line in said[:200]):
            return _attempt(command.words, said)
    said = [line for line in lines if line]
    if any(line.startswith(_SAYS) for line in said) and _installer_spoke(lines):
        return _attempt(tried[-1].words if tried else (), said)
    return _attempt(tried[-1].words, []) if tried else None


def _installer_spoke(lines: Sequence[str]) -> bool:
    text = "\n".join(lines)
    return any(words in text for words in _INSTALLERS_SAY)


def _attempt(words: tuple[str, ...], said: Sequence[str]) -> Attempt:
    status = next((int(m.group(1)) for line in reversed(said) for m in [_STATUS.search(line)] if m), None)
    return Attempt(words, status, tuple(said[-LINES:]))
