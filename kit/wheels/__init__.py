"""Which wheels an index lists for the torch, Python, platform and libc of an environment; why the rest do not fit.

For torch-scatter and its siblings, pyg-lib, and torch itself.  Where nothing fits, what really works from here.
"""

import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Union

from kit import published, redact
from kit.data import table
from kit.errors import KitError
from kit.facts import Extension, Facts, Torch, normalise
from kit.findings import Cost, Fix
from kit.published import PYG, PYG_PAGES, PYTORCH_INDEX
from kit.record import Record
from kit.wheels import pages as wheel_pages
from kit.wheels.fit import Reading, Target, order
from kit.wheels.pages import Candidate

if TYPE_CHECKING:
    from kit.wheels.web import Page, Web

PACKAGES = (*PYG, "pyg-lib", "torch")
# pyg-lib took over their operators with this release (its changelog).
TAKEN_OVER = {"torch-cluster": "0.6.0", "torch-spline-conv": "0.6.0", "torch-scatter": "0.7.0"}
_MOST_TORCHES = 3  # pages of other torch releases that are looked at


class PackageWheels(Record):
    """The wheels of one package: the one to take, all that are listed, and what helps where none fits.

    ``source`` is ``page``, or ``table`` where the page was not read and the dated table speaks (the file names are
    then made by rule); ``notes`` say so.  ``install`` is the command for the best one.
    """

    package: str
    target: str
    index_url: str
    best: Optional[str] = None
    candidates: tuple[Candidate, ...] = ()
    otherwise: tuple[Fix, ...] = ()
    install: Optional[Fix] = None
    source: str = "page"
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        row = dataclasses.asdict(dataclasses.replace(self, otherwise=(), install=None))
        fixes = [fix for fix in (*self.otherwise, self.install) if fix]
        as_json = [{**dataclasses.asdict(fix), "argv": list(fix.argv) if fix.argv else None} for fix in fixes]
        row["install"] = as_json.pop() if self.install else None
        candidates = [{**row, "why_not": list(row["why_not"])} for row in row["candidates"]]
        return {**row, "candidates": candidates, "otherwise": as_json, "notes": list(self.notes)}


class Wheels(Record):
    """What `kit wheel` answers."""

    facts: Facts
    packages: tuple[PackageWheels, ...]

    @property
    def verdict(self) -> str:
        """``found`` where there is a wheel for each of the packages, else ``missing``."""
        return "found" if all(p.best for p in self.packages) else "missing"

    def to_dict(self) -> dict[str, Any]:
        return {"schema": 1, "verdict": self.verdict, "packages": [p.to_dict() for p in self.packages]}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from kit import show

        return show.mimebundle(self)

    def __repr__(self) -> str:
        from kit import show

        return show.text(self)


def wheels(
    packages: Union[str, Sequence[str]],
    facts: Facts,
    torch: Optional[str] = None,
    cuda: Optional[str] = None,
    index: Optional[str] = None,
    offline: bool = False,
    web: "Optional[Web]" = None,
) -> Wheels:
    """The wheels of ``packages`` for the torch of ``facts``, or for ``torch`` (``'2.12.1+cu126'``, ``'2.12'``) and
    ``cuda`` (``'cu126'``, ``'12.6'``, ``'cpu'``).

    ``index`` is a mirror of the pages, or one page.  ``offline`` asks nobody.  Raises KitError where a package, a
    torch or an address is none.
    """
    names = [normalise(name) for name in ([packages] if isinstance(packages, str) else packages)]
    for name in names:
        if name not in PACKAGES:
            raise KitError(f"{name!r} is not among the packages whose pages are known: {', '.join(PACKAGES)}")
    if index is not None and not _is_address(index):
        raise KitError(f"not the address of an index: {redact.text(index)!r}; only http and https addresses are read")
    if not offline and web is None:
        from kit.wheels.web import Web

        web = Web(os.path.expanduser(facts.python.prefix))
    asked = _Asked(facts, None if offline else web, index)
    return Wheels(facts, tuple(asked.answer(name, _target(name, facts, torch, cuda)) for name in names))


def _is_address(url: str) -> bool:
    try:
        return bool(re.match(r"https?://[^/]", wheel_pages.plain(url)))
    except ValueError:
        return False


def _target(package: str, facts: Facts, torch: Optional[str], cuda: Optional[str]) -> Target:
    name = _token(cuda) if cuda else None
    if torch is not None:
        match = re.fullmatch(r"(\d+\.\d+)(\.\d+)?((?:a|b|rc)\d+|\.dev\d+)?(?:\+(\S+))?", torch.strip())
        if not match:
            raise KitError(f"not a version of torch: {torch!r}; it looks like 2.12.1+cu126, 2.12.1 or 2.12")
        local = match[4]
        if local and name and re.fullmatch(r"cpu|cu\d+", local) and local != name:
            raise KitError(f"torch {torch} is not built for {name}; leave out --cuda or the part behind +")
        version = match[1] + (match[2] or ".0") + (match[3] or "")
        name = name or (local if local and re.fullmatch(r"cpu|(cu|rocm)[\d.]+", local) else None)
        same = facts.torch if facts.torch and facts.torch.minor == match[1] else None
        name = name or (_token_of(same) if same else _chosen_token(match[1], facts))
        released = f"{version}+{name}" if not local or local == name else f"{version}+{local}"
        return Target(Torch("", released, cuda=published.cuda_of(name)), name, match[2] is not None)
    here = facts.torch
    if here and name:
        plain = here.version.partition("+")[0]
        return Target(Torch("", f"{plain}+{name}", cuda=published.cuda_of(name)), name)
    useless = package == "torch" and here is not None and _useless(here, facts)
    if here and not useless:
        return Target(here, _token_of(here))
    needs = package if package != "torch" else None
    gpu = facts.gpu_seen and name != "cpu" and facts.host.system != "Darwin"
    choices = published.torch_choices(facts, needs, cpu=not gpu)
    found = next((c for c in choices if name in (None, c[1])), None)
    if found is None:
        raise KitError(
            "torch is not installed and no build is known for this machine: name one, --torch 2.12.1+cu126"
        )
    why = "what is installed does not serve this machine" if here else "torch is not installed"
    note = f"{why}; taken: torch {found[0]}+{found[1]}, the one that serves it"
    return Target(Torch("", "+".join(found), cuda=published.cuda_of(found[1])), found[1], note=note)


def _token(text: str) -> str:
    text = text.strip().lower()
    if re.fullmatch(r"\d+\.\d", text):
        return published.token(text)
    if not re.fullmatch(r"cpu|cu\d{2,3}|rocm[\d.]+", text):
        raise KitError(f"not a build of torch: {text!r}; it looks like cu126, 12.6 or cpu")
    return text


def _token_of(torch: Torch) -> str:
    return f"rocm{torch.hip}" if torch.hip else published.token(torch.cuda)


def _chosen_token(minor: str, facts: Facts) -> str:
    """The build of this release that serves the GPUs and the driver here; the CPU's where there are none."""
    row = next((r for r in table("torch_builds")["torch"] if r["minor"] == minor), None)
    if not facts.gpu_seen or facts.host.system == "Darwin":
        return "cpu"
    names = sorted(row["cuda"], key=lambda name: (name != row["default"], name)) if row else []
    found: Optional[str] = next((name for name in names if published.serves(minor, name, facts)), None)
    if found is None:
        raise KitError(
            f"no build of torch {minor} is known to serve this GPU and driver: name one, e.g. --cuda cu126"
        )
    return found


def _useless(torch: Torch, facts: Facts) -> bool:
    """Whether the torch that is installed is no answer to which torch to install."""
    unserved = published.serves(torch.minor, _token_of(torch), facts) is False
    return not torch.released or unserved or (facts.gpu_seen and not torch.cuda and facts.host.system != "Darwin")


class _Asked(NamedTuple):
    """One question: the machine, the network (None: offline) and the mirror."""

    facts: Facts
    web: "Optional[Web]"
    mirror: Optional[str]

    def answer(self, package: str, target: Target, otherwise: bool = True) -> PackageWheels:
        """What is listed for this torch; with ``otherwise``, what else helps where nothing fits."""
        addresses = self.addresses(package, target)
        page, notes = self.read(addresses)
        source, url = "page", wheel_pages.plain(page.url if page else addresses[0])
        if page:
            listed, dropped = wheel_pages.listed(package, page, target, self.facts)
            notes += [f"{dropped} links of the page are no http addresses and were left out"] if dropped else []
            notes += [] if listed else [f"the page answers, and lists no {package}"]
        elif notes:
            listed, source = wheel_pages.by_rule(package, target, self.facts, url), "table"
            notes += [] if listed else [f"the table knows no {package} for torch {target.minor}, {target.token}"]
        else:
            listed = []
            notes.append(f"there is no page for torch {target.minor}, {target.token}: the index says so")
        listed.sort(key=lambda c: order(c.filename, self.facts), reverse=True)
        best = next((c for c in listed if c.fits), None)
        shown = PackageWheels(
            package=package,
            target=f"torch {target.version if target.exact else target.minor}, {target.token}",
            index_url=url,
            best=best.url if best else None,
            candidates=tuple(listed),
            install=_install(package, best, target, url, self.facts) if best else None,
            source=source,
            notes=tuple(note for note in (target.note, *notes) if note),
        )
        if best or not otherwise:
            return shown
        return dataclasses.replace(shown, otherwise=tuple(self.otherwise(package, target)))

    def addresses(self, package: str, target: Target) -> list[str]:
        """Where the package's page may lie, first the usual place."""
        base = (self.mirror or (PYTORCH_INDEX if package == "torch" else PYG_PAGES)).rstrip("/")
        if base.endswith((".html", ".htm")):
            return [base]
        if package == "torch":
            stage = "" if target.torch.released else "nightly/" if target.nightly else "test/"
            usual = f"{base}/{stage}{target.token}/torch/"
        else:
            stage = "nightly/" if target.nightly and package == "pyg-lib" else ""
            usual = f"{base}/{stage}torch-{target.minor}.0+{target.token}.html"
        return [usual, f"{base}/{package}/"] if self.mirror else [usual]

    def read(self, addresses: list[str]) -> "tuple[Optional[Page], list[str]]":
        """The first page that there is; None and nothing to say: there is none; None and notes: nobody answered."""
        as_of = f"the table of {table('pyg_wheels')['as_of']} speaks, and the file names are made by rule"
        if self.web is None:
            return None, [f"offline: the page was not read; {as_of}"]
        from kit.wheels.web import WebError

        for address in addresses:
            try:
                page = self.web.page(address)
                return page, [page.note] if page.note else []
            except WebError as error:
                if error.status not in (403, 404):
                    if self.mirror and error.status in (300, 400):
                        raise
                    return None, [f"{error}: the page was not read; {as_of}"]
        return None, []

    def otherwise(self, package: str, target: Target) -> Iterator[Fix]:
        """What really works from here, best first."""
        facts, served = self.facts, published.serves(target.minor, target.token, self.facts) is not False
        ours = published.replacement(package, facts) if served else None
        there = facts.extension(package)
        works = there is not None and bool(there.binaries) and all(binary.loads for binary in there.binaries)
        if ours and not works:
            yield ours
        if package in TAKEN_OVER and served:
            yield from self._taken_over(package, target)
        here = facts.torch is not None and (facts.torch.minor, _token_of(facts.torch)) == (target.minor, target.token)
        build = None
        if package != "torch" and here and served and facts.torch and not facts.torch.hip:
            version = published.PYG_VERSIONS.get(package, "")
            build = published.rebuild(Extension(package, version, "", "", ()), facts)
        cuda = (facts.torch.cuda if facts.torch else None) or ""
        nvcc = any(t.version.partition(".")[0] == cuda.partition(".")[0] for t in facts.host.toolkits)
        ready = build is not None and bool(facts.host.compiler) and (nvcc or not cuda)
        if build and package == "pyg-lib":
            build = dataclasses.replace(
                build, why=build.why + "; its source is in its repository, on no package index"
            )
        if build and not facts.host.compiler:
            build = dataclasses.replace(build, why=build.why + "; no C++ compiler was found: install one first")
        if build and ready:
            yield build
        moved = self._another_torch(package, target)
        yield from moved
        if build and not ready:
            yield build
        if not moved:
            yield from self._another_python(package, target)
        if ours and works:  # in place of what is no trouble: last
            yield ours

    def _taken_over(self, package: str, target: Target) -> Iterator[Fix]:
        from packaging.version import Version

        lib = self.answer("pyg-lib", target, otherwise=False)
        reading = next((Reading.of(c.filename) for c in lib.candidates if c.fits), None)
        if lib.install and reading and Version(reading.version.base_version) >= Version(TAKEN_OVER[package]):
            why = f"Install pyg-lib {reading.version.base_version}, which took over {package} for PyTorch"
            why += f" Geometric (since {TAKEN_OVER[package]}); code that imports {package.replace('-', '_')} itself"
            yield dataclasses.replace(lib.install, kind="use-replacement", why=f"{why} still needs {package}")

    def _another_torch(self, package: str, target: Target) -> list[Fix]:
        facts = self.facts
        cpu = facts.host.system == "Darwin" or (target.token == "cpu" and not facts.gpu_seen)
        needs, seen = package if package != "torch" else None, 0
        for version, name in published.torch_choices(facts, needs, cpu):
            other = Target(Torch("", f"{version}+{name}", cuda=published.cuda_of(name)), name)
            if target.torch.released and (other.minor, name) == (target.minor, target.token):
                continue
            seen += 1
            if seen > _MOST_TORCHES:
                break
            found = self.answer(package, other, otherwise=False)
            if found.install and found.install.argv:
                if package == "torch":
                    return [
                        published.torch_install(facts, "Install the torch that serves this machine", version, name)
                    ]
                then = next(a for a in found.install.argv if a.startswith(f"{package}=="))
                fix = published.torch_install(facts, f"Move to a torch that has wheels of {package}", version, name)
                return [dataclasses.replace(fix, why=f"{fix.why}; then install {then} from {found.index_url}")]
        return []

    def _another_python(self, package: str, target: Target) -> Iterator[Fix]:
        """The newest other Python for which the tables know wheels; nobody is asked."""
        facts, needs = self.facts, package if package != "torch" else None
        for minor in range(14, 8, -1):
            python = dataclasses.replace(
                facts.python, version=f"3.{minor}.0", abi=f"cp3{minor}", implementation="cpython"
            )
            other = _Asked(dataclasses.replace(facts, python=python), None, None)
            cpu = facts.host.system == "Darwin" or (target.token == "cpu" and not facts.gpu_seen)
            for version, name in published.torch_choices(other.facts, needs, cpu):
                found = other.answer(package, Target(Torch("", f"{version}+{name}"), name), otherwise=False)
                if found.best:
                    why = (
                        f"Make an environment with Python 3.{minor}: torch {version}+{name} and {package} have wheels"
                    )
                    yield Fix("change-python", f"{why} for it (table of {table('pyg_wheels')['as_of']})")
                    return


def _install(package: str, best: Candidate, target: Target, url: str, facts: Facts) -> Fix:
    """The command for the wheel that fits: page, pin, and no way to a source distribution."""
    reading = Reading.of(best.filename)
    pin = f"{package}=={reading.version}" if reading else package
    here = next((d for d in facts.distributions if d.key == package), None)
    again = ("--force-reinstall",) if here and reading and here.version == str(reading.version) else ()
    place = ("--index-url", url.rstrip("/").rpartition("/")[0]) if url.endswith("/") else ("--find-links", url)
    extra: tuple[str, ...] = () if package == "torch" else ("--no-deps", "--no-cache-dir", "--only-binary=:all:")
    extra += ("--pre",) if reading and reading.version.is_prerelease else ()
    why = f"Install the {package} that fits torch {target.minor}, {target.token}"
    kind = "change-torch" if package == "torch" else "install-matching-wheel"
    size = published.GPU_TORCH_MB if target.token != "cpu" else published.CPU_TORCH_MB
    cost = Cost(download_mb=size if package == "torch" else None, restart=True)
    return Fix(
        kind,
        why,
        published.pip(facts, "install", *again, *extra, pin, *place),
        safety="changes-environment",
        cost=cost,
    )
