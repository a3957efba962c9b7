"""What a recipe says: the records that the readers fill and the rules read.  A place is an offset into its text."""

import bisect
from collections.abc import Iterator
from typing import Optional

from kit.findings import Fix
from kit.record import Record


class Span(Record):
    """Characters ``start`` to ``end`` (exclusive) of a recipe's text."""

    start: int
    end: int


class Word(Record):
    """One word of a command.  ``text`` is what the program is given: without quotes, with the variables filled in
    whose values the recipe says.  ``raw`` is what is written.  ``known`` is False where something in it cannot be
    known from the recipe (``$(...)``, a variable that nothing sets); that part is left in ``text`` as it is written.
    """

    text: str
    raw: str
    span: Span
    known: bool = True


class Setting(Record):
    """A variable that has a value.  ``how``: ``env`` (the image's, an environment file's, a workflow's), ``arg`` (a
    build argument), ``export`` (a shell's), ``prefix`` (before one command) or ``shell`` (set and not exported: the
    commands after it do not get it).  ``value`` is None where it cannot be known."""

    name: str
    value: Optional[str]
    how: str
    span: Span


class Command(Record):
    """One simple command of a shell.  ``after`` is the operator before it (``&&``, ``||``, ``;``, ``|`` or '' for the
    first); ``group`` counts what runs in one shell (one RUN, one step of a workflow, one script); ``settings`` are
    the variables in effect, also those that are not exported, the later ones winning; ``stage`` is an index into
    ``Recipe.stages``."""

    words: tuple[Word, ...]
    span: Span
    after: str = ""
    group: int = 0
    stage: int = 0
    settings: tuple[Setting, ...] = ()

    @property
    def program(self) -> str:
        """The name of what runs, without its folder: ``/opt/venv/bin/pip3.11`` -> ``pip3.11``."""
        return self.words[0].text.rpartition("/")[2] if self.words else ""

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(word.text for word in self.words)

    def variable(self, name: str) -> Optional[Setting]:
        """What the program finds under this name in its environment: a value that is not exported is not there."""
        return _last(self.settings, name, ("env", "arg", "export", "prefix"))

    def in_shell(self, name: str) -> Optional[Setting]:
        """What ``$name`` stands for in this command."""
        return _last(self.settings, name, ("env", "arg", "export", "shell"))


def _last(settings: tuple[Setting, ...], name: str, how: tuple[str, ...]) -> Optional[Setting]:
    return next((s for s in reversed(settings) if s.name == name and s.how in how), None)


class Package(Record):
    """One requirement.  ``name`` is normalised (``torch-scatter``); ``specifier`` is PEP 440's or conda's, '' where
    there is none; ``file`` names another recipe that it stands in (``pip install -r``), whose text ``span`` is of."""

    name: str
    raw: str
    span: Span
    specifier: str = ""
    url: Optional[str] = None
    marker: str = ""
    file: Optional[str] = None
    known: bool = True

    @property
    def pinned(self) -> Optional[str]:
        """``2.12.1+cu130`` for ``==2.12.1+cu130`` (and for conda's ``=2.12.1``, ``2.12.1=py311_0``); None without."""
        text = self.specifier.strip()
        if text.startswith("===") or "," in text or "*" in text or not text.startswith("="):
            return None
        return text.lstrip("=").partition("=")[0].strip() or None


class Options(Record):
    """How an installer is called.  Words keep their places; names of packages are normalised, ``:all:`` stays."""

    index: Optional[Word] = None
    extra_indexes: tuple[Word, ...] = ()
    find_links: tuple[Word, ...] = ()
    only_binary: tuple[str, ...] = ()
    no_binary: tuple[str, ...] = ()
    channels: tuple[Word, ...] = ()
    pre: Optional[Word] = None
    no_build_isolation: bool = False
    no_deps: bool = False
    no_index: bool = False
    upgrade: bool = False
    break_system_packages: bool = False
    global_options: tuple[Word, ...] = ()
    config_settings: tuple[Word, ...] = ()
    requirement_files: tuple[Word, ...] = ()
    constraint_files: tuple[Word, ...] = ()

    @property
    def addresses(self) -> tuple[Word, ...]:
        """Every address that packages may come from."""
        return (*filter(None, [self.index]), *self.extra_indexes, *self.find_links)


class Install(Record):
    """Something that installs packages: a command, or a file that lists requirements (``command`` is None).

    ``tool``: ``pip``, ``uv`` (pip's face of it, and uv add), ``conda`` (also mamba, micromamba), ``apt`` (also apk,
    dnf, yum), ``setup.py``.  ``python`` is the interpreter that it installs into as far as the command says it:
    ``python3.10``, ``/opt/venv/bin/python``, '' for whichever comes first on PATH.  ``local`` are folders, wheels
    and addresses of sources that are installed by place (``.``, ``./apex``, ``git+https://...``)."""

    tool: str
    span: Span
    packages: tuple[Package, ...] = ()
    options: Options = Options()
    command: Optional[Command] = None
    python: str = ""
    stage: int = 0
    local: tuple[Word, ...] = ()

    def package(self, *names: str) -> Optional[Package]:
        """The first of its packages with one of these names."""
        return next((p for p in self.packages if p.name in names), None)


class Stage(Record):
    """A stage of a Dockerfile, or the one place in which any other recipe runs.  ``image`` has build arguments filled
    in, None where it cannot be known or there is none; ``parent`` is the stage that it goes on from."""

    image: Optional[str]
    span: Span
    name: str = ""
    parent: Optional[int] = None
    user: str = ""


class Unread(Record):
    """A part that could not be read, and why.  ``line`` counts from 1."""

    line: int
    why: str


class Recipe(Record):
    """One file that makes an environment, read.  ``kind``: ``dockerfile``, ``requirements``, ``environment``,
    ``pyproject``, ``devcontainer``, ``compose``, ``workflow``, ``notebook``, ``shell``, ``apptainer``.

    ``text`` is the file's; of a notebook it is the JSON as it lies on disk.  ``installs`` and ``commands`` are in the
    order in which they run.  ``data`` holds what a structured file says besides (compose, devcontainer,
    workflow, environment, pyproject), as plain dictionaries and lists; ``places`` gives the span of a value by its
    path in them, e.g. ``("services", "train", "image")``.
    """

    file: str
    kind: str
    text: str
    stages: tuple[Stage, ...] = (Stage(None, Span(0, 0)),)
    commands: tuple[Command, ...] = ()
    installs: tuple[Install, ...] = ()
    settings: tuple[Setting, ...] = ()
    unread: tuple[Unread, ...] = ()
    data: object = None
    places: "tuple[tuple[tuple[object, ...], Span], ...]" = ()

    def line(self, offset: int) -> int:
        """The line of an offset, counted from 1."""
        starts = self.__dict__.get("_starts")
        if starts is None:
            starts = [0, *(i + 1 for i, c in enumerate(self.text) if c == "\n")]
            self.__dict__["_starts"] = starts
        return bisect.bisect_right(starts, offset)

    def at(self, span: Span) -> str:
        """What is written there."""
        return self.text[span.start : span.end]

    def place(self, *path: object) -> Optional[Span]:
        """Where the value at this path of ``data`` is written."""
        return next((span for where, span in self.places if where == path), None)

    def lineage(self, stage: int) -> Iterator[int]:
        """A stage and those that it goes on from, the nearest first."""
        seen: set[int] = set()
        at: Optional[int] = stage
        while at is not None and at not in seen and at < len(self.stages):
            seen.add(at)
            yield at
            at = self.stages[at].parent

    def before(self, install: Install) -> Iterator[Install]:
        """What is installed before, in its stage and those that it goes on from, the latest first."""
        stages = set(self.lineage(install.stage))
        index = next((i for i, one in enumerate(self.installs) if one is install), len(self.installs))
        return (one for one in reversed(self.installs[:index]) if one.stage in stages)

    def image(self, stage: int) -> Optional[str]:
        """The image that a stage goes back to."""
        *_, root = self.lineage(stage)
        return self.stages[root].image


class Edit(Record):
    """Replace ``span`` of the text by ``new``."""

    span: Span
    new: str


class Problem(Record):
    """Something in a recipe that leads to a failure.

    The first sentence of ``summary`` is its title.  ``edits`` put the exact replacement into the file; with ``safe``
    they may be applied without being understood: they cannot break what works.  ``fix`` has the same in words, where
    more than an edit is needed.
    """

    rule: str
    failure: str
    severity: str
    span: Span
    summary: str
    evidence: tuple[str, ...] = ()
    fix: tuple[Fix, ...] = ()
    edits: tuple[Edit, ...] = ()
    safe: bool = False
    package: Optional[str] = None
