"""One step of a plan: everything that it needs is fetched and checked first, then it is kept, then changed."""

import json
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, Optional

from kit import causes, shims
from kit.build.process import downloaded, last_words, watch
from kit.collect import collect, redactor
from kit.collect.run import run
from kit.errors import KitError
from kit.facts import Facts, normalise
from kit.record import Record
from kit.repair.footprint import Wheel, installed, wheel
from kit.repair.installer import REPORTS, Installer
from kit.repair.journal import Journal, Scope
from kit.repair.plan import Step
from kit.repair.tree import placed
from kit.shims import installed as installed_shim
from kit.xray import xray

_IMPORTED = 120.0  # seconds that importing a shim, and torch with it, may take
_VALUED = frozenset(
    "-i --index-url --extra-index-url -f --find-links --no-binary --only-binary --trusted-host --proxy --cert "
    "--client-cert --timeout --retries -c --constraint --upgrade-strategy --progress-bar".split()
)
_NOT_FOR_DOWNLOAD = re.compile(
    r"--(force-reinstall|upgrade|user|upgrade-strategy|ignore-installed|no-warn-\w+)$|-U$|-I$"
)


class Tick(Record):
    """How far a repair is: step ``step`` of ``steps`` (from 1), ``what`` it does (``resolving``, ``downloading``,
    ``compiling``, ``checking``, ``keeping``, ``installing``, ``verifying``, ``undoing``), seconds since its start and
    what it usually takes.  ``log`` is the file that holds what pip says."""

    step: int
    steps: int
    what: str
    detail: str = ""
    done: Optional[int] = None
    total: Optional[int] = None
    unit: str = ""
    elapsed: float = 0.0
    usual: Optional[float] = None
    log: str = ""


Progress = Callable[[Tick], None]


class Command(Record):
    """What a step's argv asks for: ``install``, ``build``, ``uninstall``, ``shim``, ``mv`` or ``rm``."""

    action: str
    options: tuple[str, ...]
    operands: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The packages that pip is asked for."""
        if self.action in ("mv", "rm", "shim"):
            return ()
        return tuple(
            normalise(re.split(r"[\s\[<>=!~;@(]", operand.strip(), maxsplit=1)[0]) for operand in self.operands
        )


def command(step: Step) -> Command:
    """The command of a step, understood.  Raises KitError where the kit cannot carry it out."""
    argv = step.argv
    hidden = next((word for word in argv if re.search(r"<(user|host)>", word)), None)
    if hidden and not hidden.endswith("python") and argv[0] in ("mv", "rm"):
        raise KitError(
            f"{hidden} is not a whole path: names were taken out of these facts; diagnose on the machine itself"
        )
    if argv[:1] == ("mv",) and len(argv) == 3:
        return Command("mv", (), argv[1:])
    if argv[:2] == ("rm", "-r") and len(argv) > 2:
        return Command("rm", (), argv[2:])
    if argv[:3] == ("kit", "shim", "enable") and len(argv) > 3:
        return Command("shim", argv[4:], argv[3:4])
    if argv[1:3] != ("-m", "pip") or len(argv) < 5 or argv[3] not in ("install", "uninstall"):
        raise KitError(f"{' '.join(argv)}: this step is for a person, the kit does not do it")
    words = list(argv[4:])
    options: list[str] = []
    operands: list[str] = []
    while words:
        word = words.pop(0)
        if word in ("-r", "--requirement", "-e", "--editable", "-t", "--target", "--prefix", "--root"):
            raise KitError(f"{' '.join(argv)}: pip's {word} cannot be undone by the kit")
        (options if word.startswith("-") else operands).append(word)
        if word in _VALUED and words:
            options.append(words.pop(0))
    build = any(option.startswith("--no-binary") for option in options)
    return Command("build" if argv[3] == "install" and build else argv[3], tuple(options), tuple(operands))


class Worker:
    """Carries out the steps of one repair.  ``held`` is the lock's descriptor: pip holds the lock while it runs."""

    def __init__(
        self, to: Installer, journal: Journal, held: int, facts: Facts, progress: Optional[Progress], steps: int
    ):
        self.to, self.journal, self.held, self.facts, self.progress = to, journal, held, facts, progress
        self.step, self.steps = 0, steps
        self.usual: Optional[float] = None
        self.start = time.monotonic()
        self.redact = redactor()
        self.sources: Optional[dict[str, str]] = None
        self.argv: Optional[tuple[str, ...]] = None

    def tell(self, what: str, detail: str = "", done: Any = None, total: Any = None, unit: str = "") -> None:
        if self.progress is not None:
            elapsed = time.monotonic() - self.start
            log = os.path.join(self.journal.folder, "log")
            self.progress(Tick(self.step, self.steps, what, detail, done, total, unit, elapsed, self.usual, log))

    def carry_out(self, step: Step) -> None:
        """Do one step.  Raises KitError or OSError; what was changed by then is for the journal to undo."""
        self.step, self.start, self.usual = self.step + 1, time.monotonic(), step.cost.seconds
        asked = command(step)
        self.journal.line("prepare", step=self.step, argv=list(step.argv))
        if asked.action in ("mv", "rm"):
            self._move(asked)
        elif asked.action == "uninstall":
            self.to.refuse(asked.names)
            self._change(asked.names, frozenset(), "uninstall", "--yes", *asked.names)
        elif asked.action == "shim":
            self._shim(asked)
        else:
            wheels = self._compiled(step, asked) if asked.action == "build" else self._fetched(asked)
            self._install(wheels)

    def _install(self, wheels: Sequence[Wheel]) -> None:
        names = [one.name for one in wheels]
        if not wheels:
            return
        self.to.refuse(names)
        place = os.path.dirname(wheels[0].path)
        pins = os.path.join(place, "requirements.txt")
        with open(pins, "w", encoding="utf-8") as stream:
            stream.writelines(f"{one.name}=={one.version} --hash=sha256:{one.sha256}\n" for one in wheels)
        options = ["--no-index", "--no-deps", "--force-reinstall", "--only-binary=:all:", "--no-warn-script-location"]
        options += ["--user"] if self.to.kind == "user" else []
        new = frozenset().union(*(one.files for one in wheels))
        self._change(names, new, "install", *options, "--find-links", place, "-r", pins)

    def _change(self, names: Sequence[str], new: frozenset[str], *arguments: str) -> None:
        shown = ", ".join(names)
        old = installed(self.to.sites, names, self.to.places["scripts"])
        scope = Scope((*self.to.sites, self.to.places["scripts"]), old, new)
        self.tell("keeping", shown, 0, len(old), "files")
        self.journal.keep(
            str(self.step), scope, lambda done, total: self.tell("keeping", shown, done, total, "files")
        )
        self.journal.begin_change(str(self.step), argv=list(arguments[:1]), packages=list(names))
        self.pip("installing" if new else "uninstalling", shown, {}, *arguments)
        self.journal.line("changed", change=str(self.step))

    def _shim(self, asked: Command) -> None:
        """Install a replacement of the kit's, and see that a new process imports it."""
        name = asked.operands[0]
        place = os.path.join(self.journal.folder, "wheels", str(self.step))
        os.makedirs(place)
        facts = collect(self.to.python, probes=False)
        made = installed_shim.wheel(
            Path(place), name, installed_shim.distribution(facts, shims.find(name), "--cover" in asked.options)
        )
        self._install([wheel(str(made), self.to)])
        self.tell("checking", f"import {name}")
        code = f"import sys; sys.path[:] = [p for p in sys.path if p]; import {name}"
        outcome = run([self.to.python, "-c", code], _IMPORTED, self.to.environment())
        if outcome.status != 0:
            said = (outcome.err.strip().splitlines() or [f"exit status {outcome.status}"])[-1]
            raise KitError(f"{name} was installed and cannot be imported: {self.redact(said)}")

    def _move(self, asked: Command) -> None:
        paths = [placed(os.path.expanduser(operand)) for operand in asked.operands]
        moves = [(paths[0], paths[1])] if asked.action == "mv" else []
        if asked.action == "rm":
            aside = os.path.join(self.journal.folder, "removed")
            os.makedirs(aside, exist_ok=True)
            for number, path in enumerate(paths):
                far = os.path.lexists(path) and os.lstat(path).st_dev != os.stat(aside).st_dev
                name = f".kit-{self.journal.id}-{self.step}-{number}"
                moves.append((path, os.path.join(os.path.dirname(path) if far else aside, name)))
        for number, (source, target) in enumerate(moves):
            self.tell("moving", self.redact(source))
            if asked.action == "rm" and not os.path.lexists(source):
                continue  # gone already
            _movable(source, target, self.to)
            self.journal.move(f"{self.step}.{number}", source, target)

    def _fetched(self, asked: Command) -> list[Wheel]:
        """Download exactly what pip would install, and check it."""
        place = os.path.join(self.journal.folder, "wheels", str(self.step))
        os.makedirs(place)
        self.tell("resolving", ", ".join(asked.names))
        if self.sources is None:
            self.sources = self.to.sources()
        binary = () if any(o.startswith("--only-binary") for o in asked.options) else ("--only-binary=:all:",)
        plain: list[str] = []
        words = list(asked.options)
        while words:
            word = words.pop(0)
            value = [words.pop(0)] if word in _VALUED and words else []
            plain += [] if _NOT_FOR_DOWNLOAD.match(word) else [word, *value]
        pins, hashes, alone = list(asked.operands), dict[str, str](), "--no-deps" in asked.options
        if not alone and self.to.version >= REPORTS:
            pins, hashes = self._resolved((*asked.options, *binary), pins, place)
            alone = True
        if not pins:
            return []
        options = [*plain, *binary, *(["--no-deps"] if alone and "--no-deps" not in plain else [])]
        self.pip("downloading", ", ".join(asked.names), self.sources, "download", *options, "--dest", place, *pins)
        wheels = []
        for name in sorted(os.listdir(place)):
            self.tell("checking", name)
            one = wheel(os.path.join(place, name), self.to)
            if hashes.get(one.name, one.sha256) != one.sha256:
                raise KitError(
                    f"{name} is not the file that the index promised (its sha256 differs); nothing was installed"
                )
            wheels.append(one)
        missing = set(asked.names) - {one.name for one in wheels} if alone and not hashes else set()
        if missing:
            raise KitError(
                f"asked for {', '.join(sorted(missing))}, the index gave something else; nothing was installed"
            )
        if not alone:  # an old pip cannot leave out what is there: nothing is installed over itself
            wheels = [w for w in wheels if w.name in asked.names or not self._is_there(w)]
        return self._loadable(wheels)

    def _resolved(self, options: Sequence[str], pins: Sequence[str], place: str) -> tuple[list[str], dict[str, str]]:
        file = os.path.join(self.journal.folder, "tmp", "report.json")
        user = ["--user"] if self.to.kind == "user" else []
        report = ("--dry-run", "--quiet", "--report", file)
        self.pip("resolving", ", ".join(pins), self.sources or {}, "install", *report, *user, *options, *pins)
        with open(file, encoding="utf-8") as stream:
            rows = json.load(stream)["install"]
        found, hashes = [], {}
        for row in rows:
            name, version = normalise(row["metadata"]["name"]), row["metadata"]["version"]
            found.append(f"{name}=={version}")
            sha256 = row["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
            if sha256:
                hashes[name] = sha256
        return found, hashes

    def _is_there(self, one: Wheel) -> bool:
        stem = f"{one.name.replace('-', '_')}-{one.version}.dist-info".lower()
        return any(stem == item.lower() for site in self.to.sites for item in os.listdir(site))

    def _compiled(self, step: Step, asked: Command) -> list[Wheel]:
        place = os.path.join(self.journal.folder, "wheels", str(self.step))
        os.makedirs(place)
        built = compile_wheel(step, asked, self)
        copy = os.path.join(place, os.path.basename(built))
        try:
            os.link(built, copy)
        except OSError:
            shutil.copyfile(built, copy)
        return self._loadable([wheel(copy, self.to)])

    def _loadable(self, wheels: list[Wheel]) -> list[Wheel]:
        """The wheels, X-rayed: one for torch that would not load here, or has no code for a GPU here, is refused."""
        wished = next((gpu.capability for gpu in self.facts.host.gpus if gpu.wished), None)
        for one in wheels:
            # What torch brings is loaded beside the rest of it, which is not here yet.
            if not one.compiled or any(other.name == "torch" for other in wheels):
                continue
            self.tell("checking", os.path.basename(one.path))
            files = xray(one.path, against=self.to.python, gpu=wished).files
            loads = [f for f in files if causes.links_torch(f.binary.needs)]
            if loads and all(f.binary.loads is False for f in loads):
                raise KitError(
                    f"{one.name} {one.version} would not load here ({_first(loads[0])}); it was not installed"
                )
            code = [f for f in files if f.binary.device_code]
            if code and all(f.runs_on_gpu is False for f in code):
                raise KitError(
                    f"{one.name} {one.version} has no code for this GPU ({_first(code[0])}); it was not installed"
                )
        return wheels

    def pip(self, what: str, detail: str, sources: Mapping[str, str], *arguments: str) -> None:
        """Run pip to its end.  Raises KitError with its last words where it fails."""
        if self.argv is None:
            self.argv = self.to.unpacked(os.path.join(self.journal.folder, "pip"))
        tmp = os.path.join(self.journal.folder, "tmp")
        os.makedirs(tmp, exist_ok=True)
        env = self.to.environment(sources, TMPDIR=tmp, TEMP=tmp, TMP=tmp)

        def tell(said: Sequence[str]) -> None:
            done, total = downloaded(tmp, said) if what == "downloading" else (None, None)
            self.tell(what, detail, done, total, "bytes" if done is not None else "")

        log = os.path.join(self.journal.folder, "log")
        status, said = watch([*self.argv, *arguments], env, tmp, log, self.redact, (self.held,), tell)
        if status != 0:
            raise KitError(f"pip {arguments[0]} failed: {last_words(said, status)}")


def compile_wheel(step: Step, asked: Command, worker: Worker) -> str:
    """The wheel of a source build, from the kit's one function for that.  Raises KitError."""
    from kit.build import Moment, build  # with the compression libraries

    name, _, version = asked.operands[0].partition("==")
    if len(asked.operands) != 1 or not re.fullmatch(r"[\w.!+-]+", version):
        raise KitError(
            f"{' '.join(asked.operands)}: the kit compiles one package of an exact version (NAME==VERSION)"
        )

    def tell(moment: Moment) -> None:
        worker.usual = moment.usual if moment.usual is not None else step.cost.seconds
        worker.tell("compiling", name, moment.done, moment.total, "files")

    env = {**os.environ, **step.env}
    capabilities = [gpu.capability for gpu in worker.facts.host.gpus if gpu.capability]
    log = os.path.join(worker.journal.folder, "log")
    sources = worker.to.sources()
    built = build(
        name,
        version,
        worker.to.python,
        env=env,
        architectures=capabilities,
        origin=json.dumps(sources, sort_keys=True) if sources else "",
        pip=worker.to.argv,
        progress=tell,
        log=log,
    )
    return built.path


def _movable(source: str, target: str, to: Installer) -> None:
    """Raise KitError where moving ``source`` would lose something or take the ground from under Python."""
    if not os.path.lexists(source):
        raise KitError(f"{redactor()(source)} is not there any more; diagnose again")
    if os.path.lexists(target):
        raise KitError(f"{redactor()(target)} exists, so nothing is moved there; rename it first")
    needed = (to.root, os.path.expanduser("~"), to.python, *to.sites)
    if any((place + os.sep).startswith(os.path.realpath(source) + os.sep) for place in needed):
        raise KitError(f"{redactor()(source)} holds the environment itself: it is not moved")
    if os.lstat(source).st_dev != os.stat(os.path.dirname(target)).st_dev:
        raise KitError(f"{redactor()(source)} and {redactor()(target)} are on two devices; move it yourself")


def _first(file: Any) -> str:
    return str((file.binary.why or file.why or ("no reason was found",))[0])
