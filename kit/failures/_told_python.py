"""What text says of Python packages: what an import did not find, who asked for it, and in what session."""

import re
import string
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any, Optional

from kit.data import table
from kit.facts import normalise
from kit.findings import Fix
from kit.record import Record
from kit.report import Hit, Report

# Packages are made for a release of these: what they do not have yet is asked for by another package.
BASES = (
    "torch python protobuf typing-extensions pydantic numpy triton huggingface-hub accelerate transformers setuptools"
).split()


class Gone(Record):
    """Something that an import or an attribute did not find: a ``module``, or a ``name`` of it, in line ``at``.

    ``where`` is the file that was searched, ``unknown location`` for a plain folder; ``by`` the innermost file of
    the traceback above; ``attribute``: asked for with a dot; ``circular``: the module was still being imported.
    """

    at: int
    module: str
    name: str = ""
    where: str = ""
    by: str = ""
    attribute: bool = False
    circular: bool = False
    file: bool = False  # 'x' is not a package

    @property
    def top(self) -> str:
        """The package that it belongs to."""
        return self.module.partition(".")[0]

    @property
    def path(self) -> str:
        return f"{self.module}.{self.name}" if self.name else self.module

    @property
    def own(self) -> bool:
        """Whether it was searched for in a file of the user's own."""
        return bool(re.search(r"[/\\]", self.where)) and not owner(self.where) and "-packages" not in self.where

    @property
    def asker(self) -> str:
        """The installed package whose code asked for it; '' where that is the user's own, or not shown."""
        return owner(self.by)


# Packages whose names people write without a word around them.
USUAL = frozenset(
    "torch torchvision torchaudio torchtext torch_geometric torch_scatter torch_sparse torch_cluster pyg_lib dgl "
    "apex torch_spline_conv transformers numpy pandas networkx timm mmcv mmdet mmseg detectron2 pytorch3d xformers "
    "flash_attn bitsandbytes deepspeed pytorch_lightning lightning sklearn scipy matplotlib tensorflow cv2 keras "
    "diffusers accelerate peft datasets tokenizers huggingface_hub triton torchmetrics tensorboard PIL skimage "
    "amp_C".split()
)
# Names on the package index that are no modules.
MISNAMED = {
    "pytorch": "torch",
    "pyg": "torch_geometric",
    "pytorch_geometric": "torch_geometric",
    "pytorch_scatter": "torch_scatter",
    "pytorch_sparse": "torch_sparse",
    "opencv": "cv2",
    "opencv_python": "cv2",
    "scikit": "sklearn",
    "scikit_learn": "sklearn",
    "pillow": "PIL",
    "nvidia_apex": "apex",
    "pyyaml": "yaml",
    "beautifulsoup4": "bs4",
}
_SHORT = {"np": "numpy", "nx": "networkx", "pd": "pandas", "tf": "tensorflow", "pl": "pytorch_lightning"}
_Q = "['\"`]?"
_MODULE = re.compile(
    r"no module (?P<said>(?:named?|called):?\s?|:\s?)?"
    rf"{_Q}(?P<module>\w+(?:\.\w+)*){_Q}(?P<file>; '?[\w.]+'? is not a package)?|"
    rf"\bmodule {_Q}(?P<there>\w+(?:\.\w+)*){_Q} (?:is |was |could |can)?not (?:be )?found",
    re.I,
)
_NAME = re.compile(
    rf"\b(?:cannot|can'?t|can not|could ?n[o']t|unable to) import (?P<said>name:? )?{_Q}(?P<name>\w+){_Q}"
    rf"(?: from (?P<partly>partially initialized module )?{_Q}(?P<module>\w+(?:\.\w+)*){_Q})?(?=(?P<rest>[^\n]*))",
    re.I,
)
_ATTRIBUTE = re.compile(
    rf"(?P<partly>partially initialized )?(?P<said>\bmodule:? )?{_Q}\b(?P<module>\w+(?:\.\w+)*) ?{_Q} has no "
    rf"attribute {_Q}(?P<name>\w+){_Q}",
    re.I,
)
# A terminal breaks long messages: what a line that goes on ends with.
_OPEN = re.compile(r"(?:\b(?:from|has|has no|no attribute|named|import|import name|module|initialized)|[a-z]')\s*$")
# a line of a traceback: Python's, IPython's, rich's, pytest's, and Colab's, which are links
_FRAME = re.compile(
    r"File \"(?P<a>[^\"\n]+)\"|File (?P<b>[^\n]{1,300}?\.py):\d+|"
    r"(?<![^\s│\[])(?P<c>(?:\w:)?[^\s:│\[]{1,300}\.py)(?:\]\([^()\s]{0,200}\))?(?::\d+| in )|"
    r"(?P<d><ipython-input[^>]*>|Cell In\s?\[\d*\]|Input In \[\d*\]|<stdin>)"
)
_BRACKETS = re.compile(r"\((unknown location|[^()\n]*(?:\([^()\n]*\)[^()\n]*)?\.(?:py|pyc|so|pyd)[^()\s]*)(?:\)|$)")


def gone(report: Report) -> tuple[Gone, ...]:
    """What was not found, the cause of the last failure first."""
    if not report.has("no module", "cannot import", "can't import", "not import", "unable to", "has no", "not found"):
        return () if report.errors or not report.has(" import ") else _cut(report)
    found = _gone(report.text)
    if not found and not report.errors:
        found = _cut(report)
    return tuple(sorted(found, key=lambda one: (order(report, one.at), -one.at)))


def _cut(report: Report) -> tuple[Gone, ...]:
    """What the last line imports, where a text ends before it says why that failed; only what the table knows."""
    at = next((n for n in range(len(report.lines) - 1, -1, -1) if report.lines[n].strip(" `-^~")), 0)
    line = report.lines[at][:500] if report.lines else ""
    match = re.search(r"^\W*(?:\d+\s+)?\W*from (\w+(?:\.\w+)*) import (\w[\w, ]*)", line)
    if match is None:
        return ()
    by = _above(list(report.lines), at)
    for name in re.findall(r"\w+", match.group(2))[:20]:
        for one in (Gone(at, match.group(1), name, by=by), Gone(at, match.group(1), by=by)):
            if moves(one) is not None:
                return (one,)
    return ()


def order(report: Report, at: int) -> int:
    """Which of the report's errors a line belongs to; behind them all where none."""
    for place, error in enumerate(report.errors):
        if error.at <= at < error.end:
            return place
    return len(report.errors)


@lru_cache(maxsize=1)
def _gone(text: str) -> tuple[Gone, ...]:
    found = []
    lines = text.split("\n")
    for at, raw in enumerate(lines):
        line = raw.lower()
        if "no module " in line or "not found" in line or ("not be found" in line and "module" in line):
            pattern = _MODULE
        elif "import " in line and ("annot " in line or "can't " in line or "not " in line or "unable " in line):
            pattern = _NAME
        elif "has no attribute" in line or line.rstrip().endswith(("has no", "has no attribute")):
            pattern = _ATTRIBUTE
        else:
            continue
        line = _whole(lines, at)
        for match in pattern.finditer(line):
            group = match.groupdict()
            named = group["module"] or group.get("there") or ""
            bare = not group["said"] and not (pattern is _MODULE and re.match("no module ['\"`]", match[0], re.I))
            if bare and pattern is _MODULE and not group["there"] and "." not in named and named not in USUAL:
                continue
            if bare and pattern is not _MODULE and _top(named) not in USUAL:
                continue
            rest = group.get("rest") or line[match.end() :][:300]
            where = _BRACKETS.search(rest)
            named = _SHORT.get(named, named) if bare else named
            module = named or (_imported(lines, at, group["name"]) if pattern is _NAME else "")
            found.append(
                Gone(
                    at,
                    module,
                    group.get("name") or "",
                    where.group(1) if where and pattern is _NAME else "",
                    _above(lines, at),
                    pattern is _ATTRIBUTE,
                    bool(group.get("partly")) or "circular import" in rest,
                    bool(group.get("file")),
                )
            )
        if len(found) > 50:
            break
    return tuple(found)


def _top(module: str) -> str:
    top = module.partition(".")[0]
    return _SHORT.get(top, top)


def _whole(lines: list[str], at: int) -> str:
    """A line with those after it that it goes on in, where a terminal broke the message."""
    line = lines[at][:2000]
    for after in lines[at + 1 : at + 3]:
        text = after.strip()[:500]
        if _OPEN.search(line[-40:]) and re.match(r"['\"(]|attribute |name |module |from |\w+(?:\.\w+)*['\"]?$", text):
            line = f"{line.rstrip()} {text}"
        elif line.rfind("(") > max(line.rfind(")"), len(line) - 300) and re.match(r"\S*\.py\)", text):
            line = line.rstrip() + text
        else:
            break
    return line


def _imported(lines: list[str], at: int, name: str) -> str:
    """The module of an import statement above, for Pythons before 3.7, which do not name it."""
    for line in reversed(lines[max(0, at - 12) : at]):
        match = re.search(r"\bfrom (\w+(?:\.\w+)*) import\b(.{0,400})", line)
        if match and (re.search(rf"\b{name}\b", match.group(2)) or "(" in match.group(2)):
            return match.group(1)
    return ""


def _above(lines: list[str], at: int) -> str:
    """The innermost file of the traceback above a line."""
    for line in reversed(lines[max(0, at - 40) : at]):
        match = _FRAME.search(line[:500]) if ".py" in line or "n [" in line or "In[" in line or "<" in line else None
        if match:
            return next(path for path in match.groups() if path).strip()
    return ""


def owner(path: str) -> str:
    """The installed package that a file belongs to, as it is imported; ``python`` for the standard library; '' for
    the user's own files."""
    installed = re.search(r"(?:site|dist)-packages[/\\](?:[\w.+-]+\.egg[/\\])?([A-Za-z_]\w*)", path)
    if installed:
        return installed.group(1)
    if re.search(r"[/\\]lib(?:64)?[/\\](?:python3\.\d+[/\\])?[\w/\\]+\.py$", path, re.I) and "envs" not in path[-40:]:
        own = re.search(r"[/\\](?:python3\.\d+|python3\d+|anaconda3?|miniconda3?|envs[/\\][\w.-]+)[/\\]", path, re.I)
        return "python" if own else ""
    return "transformers_modules" if "transformers_modules" in path else ""


def above(report: Report, at: int) -> str:
    """The innermost file of the traceback above a line."""
    return _above(list(report.lines[max(0, at - 40) : at]), min(at, 40))


def hit(report: Report, at: int) -> Hit:
    """A line of the report as evidence."""
    return Hit(at, report.lines[at].strip())


def hits(report: Report, one: Gone) -> tuple[Hit, ...]:
    """The line that says it, and the traceback's line above it."""
    for at in range(one.at - 1, max(-1, one.at - 40), -1):
        if one.by and one.by in report.lines[at]:
            return hit(report, one.at), hit(report, at)
    return (hit(report, one.at),)


_SESSION = (
    "<ipython-input",
    "ipykernel",
    "cell in[",
    "cell in [",
    "input in [",
    "in [1",
    "in [2",
    "jupyter",
    "notebook",
    "colab",
    "kaggle",
    "%pip",
    "!pip",
    "----> 1 ",
    "to use updated packages",
    "restart the runtime",
    "ipython",
)
_BUILDING = (
    "setup.py egg_info",
    "to build wheel",
    "to build editable",
    "subprocess-exited-with-error",
    "pip-build-env",
    "setup.py bdist_wheel",
    "setup.py install",
    "setup.py develop",
    'setup.py", line',
    "running setup.py",
    "building wheel",
    "preparing metadata",
    "prepare_metadata",
    "failed to build",
    "build backend",
    "pip-install-",
    "pip-req-build",
)


def notebook(report: Report) -> bool:
    """Whether the text comes from a notebook."""
    return report.has(*_SESSION)


def hosted(report: Report) -> bool:
    """Whether it is a hosted notebook, which has numpy and torch in memory from the start."""
    if report.has("colab", "kaggle", "/content/", "localhost:8080"):
        return True
    return report.has("/dist-packages/") and report.has("<ipython-input", "cell in[", "cell in [", "ipykernel")


def building(report: Report) -> bool:
    """Whether the text is of an installation that builds."""
    return report.has(*_BUILDING)


def failing(report: Report) -> bool:
    """Whether the text shows an error that is more than a warning."""
    if any(not error.warning for error in report.errors):
        return True
    return report.has("traceback (most recent", "segmentation fault", "core dumped") or bool(
        report.hit(r"^[ \t]{0,40}(?:[\w.]{0,80}(?:Error|Exception)\b|ERROR:)")
    )


_INSTALL = (
    r"\b(?:pip[\d.]*|uv|conda|mamba|micromamba|poetry)(?:\.exe)? (?:pip )?(?:install|add)\s(?P<rest>[^\n|;&#`]+)"
)


def typed(report: Report) -> dict[str, int]:
    """Packages that someone asked pip or conda for, with the line of the command."""
    if not report.has(" install", " add "):
        return {}
    return _typed(report.text)


@lru_cache(maxsize=1)
def _typed(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    lines = [(at, line) for at, line in enumerate(text.split("\n")) if " install" in line or " add " in line]
    for at, match in ((at, match) for at, line in lines for match in re.finditer(_INSTALL, line)):
        skip = False
        for word in match["rest"].split()[:60]:
            if skip or word.startswith("-"):
                skip = not skip and word in _VALUED
                continue
            name = re.match(r"['\"]?([A-Za-z][\w.-]*?)(?:\[[\w,.-]*\])?(?:$|['\"]|[=<>~!@])", word)
            if name:
                found.setdefault(normalise(name.group(1)), at)
    return found


_VALUED = (
    "-c",
    "--channel",
    "-n",
    "--name",
    "-f",
    "--find-links",
    "-i",
    "--index-url",
    "--extra-index-url",
    "-p",
    "-r",
)


def put(report: Report) -> dict[str, tuple[str, int]]:
    """Packages that the text says are installed: the version, '' where it is not said, and the line."""
    found: dict[str, tuple[str, int]] = {}
    if report.has("successfully installed", "already satisfied", "already installed"):
        pattern = (
            r"Successfully installed (?P<many>[^\n]+)|Requirement already satisfied: (?P<one>[\w.-]+)[^\n]*|"
            r"(?P<all>All requested packages) already installed"
        )
        for match in report.hits(pattern):
            for word in match.groups.get("many", "").split():
                name, _, version = word.rpartition("-")
                found[normalise(name)] = (version, match.at)
            if "one" in match.groups:
                said = re.search(r"\(([\d.]+[\w.+]*)\)\s*$", match.line)
                found[normalise(match["one"])] = (said.group(1) if said else "", match.at)
    return found


class Move(Record):
    """What a release did to an import path: ``moved`` to ``now``, ``removed``, or ``added`` (it was not there)."""

    package: str
    path: str
    change: str
    version: str
    now: str = ""
    older: bool = False  # the installed one is older than that release


def moves(one: Gone) -> Optional[Move]:
    """What the table knows of something that was not found."""
    rows = _rows()
    paths = [one.path]
    while "." in paths[-1] and len(paths) < 4:
        paths.append(paths[-1].rpartition(".")[0])
    for path in paths:
        # what was asked for, or a module around it; where a name is missing, its module was found
        row = rows.get(path) if path == one.path or not one.name else None
        if row is not None:
            return row
    return None


@lru_cache(maxsize=1)
def _rows() -> dict[str, Move]:
    found: dict[str, Move] = {}
    data: dict[str, Any] = table("moved_modules")
    for row in data["moved"]:
        for path, now in row["paths"].items():
            found[path] = Move(row["package"], path, "moved" if now else "removed", row["version"], now)
            within = now.partition(".")[0] == path.partition(".")[0] and not path.startswith(now + ".")
            if "." in now and " " not in now and within and not row.get("always"):
                found.setdefault(now, Move(row["package"], now, "moved", row["version"], now, True))
    for row in data["added"]:
        for path in row["paths"]:
            found[path] = Move(row["package"], path, "added", row["version"], older=True)
    return found


def moved_method(report: Report) -> "Optional[tuple[Move, Hit]]":
    """What the table knows of a method that an object no longer has."""
    if not report.has("object has no attribute"):
        return None
    for found in report.hits(r"'(?P<of>\w[\w.]{0,60})' object has no attribute '?(?P<name>\w{1,60})"):
        row = _methods().get(f"{found['of']}.{found['name']}")
        if row is not None:
            return row, found
    return None


@lru_cache(maxsize=1)
def _methods() -> dict[str, Move]:
    return {
        path: Move(row["package"], path, "moved" if now else "removed", row["version"], now)
        for row in table("moved_modules")["methods"]
        for path, now in row["of"].items()
    }


def code(why: str) -> Fix:
    """A change of the user's own files or data."""
    return Fix("change-code-or-data", why)


def version(why: str) -> Fix:
    """Another release of a package."""
    return Fix("change-package-version", why)


def each(report: Report, rows: Any) -> Iterator[tuple[Any, Hit]]:
    """Of rows that begin with words and a pattern those that stand in the text, with the last place.

    Words in a string are divided by ``|``; several words begin and end where a word does.  Where there is no pattern
    the words themselves are looked for."""
    there = _tokens(report.text)
    for row in rows:
        words = [
            one
            for one, key in _keyed(row[0])
            if (key in there and one in _flat(report.text) if key else report.has(one))
        ]
        if not words:
            continue
        if row[1]:
            found = report.last(_loose(row[1]))
        else:
            flat = _flat(report.text)
            at = report.lower.count("\n", 0, max(flat.rfind(one) for one in words))
            found = hit(report, at)
        if found is not None:
            yield row, found


@lru_cache(maxsize=1)
def _flat(text: str) -> str:
    """The text in lower case without its line breaks: messages are broken anywhere."""
    return text.lower().replace("\n", " ")


@cache
def _loose(pattern: str) -> str:
    """The pattern, with a line break allowed wherever it has a space."""
    return pattern.replace(" ", r"\s")


_SPLIT = {ord(sign): " " for sign in string.punctuation if sign != "_"}


@lru_cache(maxsize=1)
def _tokens(text: str) -> frozenset[str]:
    return frozenset(text.lower().translate(_SPLIT).split())


@cache
def _keyed(words: Any) -> tuple[tuple[str, str], ...]:
    """Each of the words with the longest single one in it, which is looked up first."""
    found = words.split("|") if isinstance(words, str) else words
    return tuple((one, max(re.findall(r"\w+", one), key=len) if " " in one.strip() else "") for one in found)
