"""The extensions of torch that a recipe installs: where each comes from, and whether it is compiled there."""

import os
import re
from collections.abc import Iterable, Iterator
from typing import Optional
from urllib.parse import unquote

from kit.data import table
from kit.facts import normalise
from kit.gpus import numbers
from kit.published import PYG, PYG_PAGES, pyg_row
from kit.recipes.model import Install, Package, Recipe, Span, Word
from kit.recipes.rules._torch import IMAGE_BUILDS, Torch, addresses, torch_at, torch_before, torch_of, with_cuda
from kit.record import Record

# Their setup.py imports torch, and nothing tells pip that they need it: in an isolated build there is none.
HIDDEN = frozenset([*PYG, "flash-attn", "detectron2", "apex"])
# They tell it, and an isolated build compiles against the newest torch of the index.
ANOTHER = frozenset(["pytorch3d", "xformers", "mamba-ssm", "causal-conv1d"])
# The sources in their repositories do since 2024 too; the newest release of them is older.
_ANOTHER_BY_GIT = frozenset(["torch-scatter", "torch-sparse"])
# The package index has their sources alone, no wheels (2026-11-21).
SOURCE_ONLY = frozenset([*PYG, "flash-attn", "mamba-ssm", "causal-conv1d"])
# Compiled for the CPU alone where no GPU is visible, unless FORCE_CUDA=1 is in the environment; and for the
# architectures that torch is told.
FORCED = frozenset([*PYG, "pytorch3d", "detectron2", "mmcv", "mmcv-full"])
# What the repositories are called.
_REPOSITORIES = {
    "pytorch_scatter": "torch-scatter",
    "pytorch_sparse": "torch-sparse",
    "pytorch_cluster": "torch-cluster",
    "pytorch_spline_conv": "torch-spline-conv",
    "flash-attention": "flash-attn",
    "pytorch3d": "pytorch3d",
    "detectron2": "detectron2",
    "mmcv": "mmcv",
    "xformers": "xformers",
    "apex": "apex",
    "causal-conv1d": "causal-conv1d",
    "state-spaces/mamba": "mamba-ssm",
}
_PYG_PAGE = re.compile(r"https?://(?:data\.pyg\.org|(?:www\.)?pytorch-geometric\.com)/whl/(nightly/)?torch-(.*)$")
_WHOLE = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:\+(cpu|cu\d{2,3}))?\.html$")


class Extension(Record):
    """One extension that is installed.  ``source``: ``index``, ``git`` (an address of sources), ``folder`` or
    ``wheel``.  ``package`` or ``word`` is what is written; ``revision`` is the one that is asked for, of git."""

    name: str
    span: Span
    source: str
    package: Optional[Package] = None
    word: Optional[Word] = None
    revision: str = ""


class Page(Record):
    """A page of PyG's wheels that an installer looks in.  ``word`` is where it is written, None of one from the
    environment.  ``minor`` (``2.9``), ``patch`` and ``cuda`` are None where they cannot be told."""

    text: str
    word: Optional[Word] = None
    minor: Optional[str] = None
    patch: Optional[int] = None
    cuda: Optional[str] = None
    nightly: bool = False


def extensions(recipe: Recipe, install: Install) -> tuple[Extension, ...]:
    """The extensions of torch that an installation names, or whose sources it is given."""
    found = []
    elsewhere = placed(recipe)
    for package in install.packages if install.tool in ("pip", "uv") else ():
        if package.name in elsewhere or _also_a_wheel(install, package) or _is_there(recipe, install, package):
            continue
        if package.url:
            name, _, revision = _repository(package.url)
            if name or package.name in HIDDEN | ANOTHER | FORCED:
                source = "wheel" if ".whl" in package.url else "git"
                found.append(Extension(name or package.name, package.span, source, package, revision=revision))
        elif package.name in HIDDEN | ANOTHER | FORCED and package.name != "apex":
            found.append(Extension(package.name, package.span, "index", package))
    for word in install.local if install.tool in ("pip", "uv", "setup.py") else ():
        if any(one.span == word.span for one in found):
            continue
        address, source = word.text, "git"
        if not re.search(r"git\+|://", word.text):
            source, address = "folder", _cloned(recipe, install, word.text)
        name, _, revision = _repository(address)
        if name:
            found.append(Extension(name, word.span, source, word=word, revision=revision))
    if install.tool == "setup.py" and not install.local:
        name, _, revision = _repository(_cloned(recipe, install, "."))
        if name:
            found.append(Extension(name, install.span, "folder", revision=revision))
    return tuple(found)


def placed(recipe: Recipe) -> frozenset[str]:
    """The packages for which a pyproject.toml tells uv a place: a wheel's address, or an index of their own."""
    told = recipe.data if recipe.kind == "pyproject" else None
    for key in ("tool", "uv", "sources"):
        told = told.get(key) if isinstance(told, dict) else None
    return frozenset(map(normalise, told)) if isinstance(told, dict) else frozenset()


def asks_for_torch(one: Extension) -> bool:
    """Whether its sources tell pip that they are built with torch, so that an isolated build brings the newest."""
    newest = one.source in ("git", "folder") and one.revision in ("", "master", "main")
    return one.name in ANOTHER or (newest and one.name in _ANOTHER_BY_GIT)


def _also_a_wheel(install: Install, package: Package) -> bool:
    """Whether it is asked for on some systems alone, and others have its wheel by address."""
    others = (one for one in install.packages if one.name == package.name and one.url)
    return bool(package.marker) and not package.url and any(".whl" in (one.url or "") for one in others)


def _is_there(recipe: Recipe, install: Install, package: Package) -> bool:
    """Whether a package of a requirements file is installed by a command before, so that pip leaves it as it is."""
    if package.file is None or package.specifier or package.url or install.options.upgrade:
        return False
    return any(one.package(package.name) for one in recipe.before(install) if one.tool in ("pip", "uv"))


def _repository(address: str) -> tuple[str, str, str]:
    """(extension, owner, revision) of a repository's address; '' where it is none that is known."""
    found = re.search(r"github\.com[/:]([\w.-]+)/([\w.-]+?)(?:\.git)?/?(?:@([^#\s]+))?(?:#.*)?$", address)
    if found is None:
        return "", "", ""
    owner, name, revision = found.group(1).lower(), found.group(2).lower(), found.group(3) or ""
    if name == "apex" and owner not in ("nvidia", "ptrblck"):
        return "", owner, revision
    return _REPOSITORIES.get(name) or _REPOSITORIES.get(f"{owner}/{name}") or "", owner, revision


def _cloned(recipe: Recipe, install: Install, place: str) -> str:
    """The address that a folder was cloned from, with the revision that is checked out; '' where none is known."""
    if install.command is None:
        return ""
    at, address, revision = _workdir(recipe, install.command.span.start), "", ""
    clones: dict[str, tuple[str, str]] = {}
    for command in recipe.commands:
        if command is install.command:
            break
        texts = command.texts
        if command.program == "git" and "clone" in texts:
            clone = _clone(texts[texts.index("clone") + 1 :])
            if clone:
                clones[clone[0]] = clone[1:]
        elif command.group != install.command.group:
            continue
        elif command.program in ("cd", "pushd") and len(texts) > 1:
            at = os.path.normpath(os.path.join(at, texts[1]))
        elif command.program == "git" and ("checkout" in texts or "reset" in texts):
            revision = next((t for t in reversed(texts) if not t.startswith("-")), "")
    folder = os.path.basename(os.path.normpath(os.path.join(at, place.partition("[")[0])))
    address, branch = clones.get(folder, ("", ""))
    wanted = revision or branch
    return f"{address}@{wanted}" if address and wanted else address


def _clone(arguments: tuple[str, ...]) -> Optional[tuple[str, str, str]]:
    """(name of the folder, address, branch) of what follows ``git clone``."""
    places, branch, takes = [], "", False
    for before, text in zip(("", *arguments), arguments):
        if takes:
            takes, branch = False, text if before in ("-b", "--branch") else branch
        elif text.startswith("-"):
            takes = text in ("-b", "--branch", "--depth", "-c", "--config", "-o", "--origin", "-j", "--jobs")
            branch = text.partition("=")[2] if text.startswith("--branch=") else branch
        else:
            places.append(text)
    if not places:
        return None
    folder = places[1] if len(places) > 1 else re.sub(r"\.git$", "", places[0].rstrip("/"))
    return os.path.basename(os.path.normpath(folder)), places[0], branch


def _workdir(recipe: Recipe, offset: int) -> str:
    if recipe.kind != "dockerfile":
        return "/"
    return os.path.join("/", *re.findall(r"^\s*WORKDIR\s+(\S+)", recipe.text[:offset], re.M | re.I))


def pages(install: Install) -> tuple[Page, ...]:
    """PyG's pages among the addresses."""
    found = []
    written = {word.text: word for word in install.options.addresses}
    for text in dict.fromkeys([*written, *addresses(install)[0]]):
        page, word = _PYG_PAGE.match(unquote(text)), written.get(text)
        if page is None:
            continue
        whole = _WHOLE.fullmatch(page.group(2)) if word is None or word.known else None
        if whole is None:
            found.append(Page(text, word, nightly=bool(page.group(1))))
        else:
            major, minor, patch, cuda = whole.groups()
            found.append(Page(text, word, f"{major}.{minor}", int(patch), cuda, bool(page.group(1))))
    return tuple(found)


def page_of(torch: Optional[Torch]) -> Optional[str]:
    """The address of PyG's page for a torch; None where the recipe does not say enough of it."""
    return PYG_PAGES + torch.page if torch is not None and torch.page is not None else None


def listed(name: str, minor: Optional[str], cuda: Optional[str]) -> Optional[bool]:
    """Whether PyG's page of this torch lists wheels of an extension; None where the table cannot say."""
    if name not in PYG or minor is None:
        return None
    rows = [row["torch"] for row in table("pyg_wheels")["pyg"]]
    first, last = (numbers(one)[:2] for one in (rows[0], rows[-1]))
    if numbers(minor) > last:
        return False if numbers(minor) >= (2, 13) else None
    if numbers(minor) < first or cuda is None:
        return None
    if pyg_row(name, minor, cuda) is not None:
        return True
    same = {row["cuda"] for row in table("pyg_wheels")["pyg"] if row["torch"].startswith(minor + ".")}
    return None if cuda in same else False  # the row is there, and cannot speak for this extension


def compiled(recipe: Recipe, install: Install, extension: Extension) -> Optional[str]:
    """Why an extension is compiled there, as the end of a sentence; None where it is not, or cannot be told."""
    name, options = extension.name, install.options
    if extension.source in ("git", "folder"):
        return "it is installed from its sources"
    if extension.source == "wheel":
        return None
    if {name, ":all:"} & set(options.no_binary):
        return "--no-binary asks for its sources"
    if {name, ":all:"} & set(options.only_binary) or options.no_index or name not in SOURCE_ONLY:
        return None
    if extension.package is not None and "+" in extension.package.specifier:
        return None  # 2.1.2+pt21cu118 is a wheel's version: no sources have it
    places, known = addresses(install)
    torch, of_pyg = torch_at(recipe, install), pages(install)
    if name == "flash-attn" and torch is not None and torch.ngc:
        return None  # NVIDIA's image has one
    written = [word.text for word in options.addresses]
    if torch is not None and torch.nightly and of_pyg and not _foreign((*places, *written)):
        return "no wheels of it are published for nightlies of torch"
    if not known or _foreign(places):
        return None
    if not of_pyg:
        return "the package index has its sources alone"
    said = [listed(name, page.minor, page.cuda) for page in of_pyg]
    if name in PYG and all(one is False for one in said) and not any(page.nightly for page in of_pyg):
        return f"the page of torch {of_pyg[0].minor} lists no wheel of it"
    return None


def _others(places: tuple[str, ...]) -> set[str]:
    """Of some addresses those that hold no wheels of extensions: of torch, and the package index."""
    return {p for p in places if re.match(r"https?://(download(-r2)?\.pytorch\.org|pypi\.org|pypi\.python\.org)/", p)}


def _foreign(places: tuple[str, ...]) -> bool:
    """Whether somebody else's index is among them, which may hold wheels."""
    return any(_PYG_PAGE.match(unquote(place)) is None for place in set(places) - _others(places))


def reasons(recipe: Recipe, install: Install, found: Iterable[Extension]) -> tuple[str, ...]:
    """Evidence: why each is compiled."""
    return tuple(f"{one.name}: {compiled(recipe, install, one)}" for one in found)


def unseen_gpu(recipe: Recipe, install: Install) -> bool:
    """Whether it runs while an image is built, where no GPU is visible."""
    return recipe.kind in IMAGE_BUILDS and install.command is not None


def value(install: Install, name: str) -> Optional[str]:
    """A variable's value as the installer finds it in its environment; '' where it is not there, None if unknown."""
    setting = install.command.variable(name) if install.command else None
    return setting.value if setting else ""


def other_value(install: Install, *names: str) -> bool:
    """Whether the environment says something that only a person can weigh."""
    return any(value(install, name) != "" for name in names)


def together(recipe: Recipe, install: Install) -> tuple[Extension, ...]:
    """The extensions whose build fails as torch is installed by the same call."""
    own = torch_of(recipe, install)
    if own is None or install.tool not in ("pip", "uv") or torch_before(recipe, install) is not None:
        return ()
    if recipe.kind == "pyproject" and re.search(r"no-build-isolation|extra-build-dependencies", recipe.text):
        return ()
    # Those that ask for torch are compiled against the newest: that is another where this one is fixed.
    fixed = own.version is not None or own.said
    return tuple(
        one
        for one in extensions(recipe, install)
        if one.name in HIDDEN | ANOTHER
        and (fixed or not asks_for_torch(one))
        and one.source in ("index", "git")
        and compiled(recipe, install, one) is not None
    )


def forced_builds(recipe: Recipe) -> Iterator[tuple[Install, tuple[Extension, ...]]]:
    """What is compiled while an image is built, is to use a GPU, and gets CUDA code only where FORCE_CUDA says so."""
    for install in recipe.installs:
        if not unseen_gpu(recipe, install) or not with_cuda(recipe, install) or together(recipe, install):
            continue
        found = tuple(
            one
            for one in extensions(recipe, install)
            if one.name in FORCED and compiled(recipe, install, one) is not None
        )
        if found and not other_value(install, "FORCE_ONLY_CPU"):
            yield install, found


def stable_for(build: Optional[str], names: Iterable[str]) -> Optional[str]:
    """The newest release of torch for a build of CUDA, for which there are wheels of these extensions too where there
    are any; None where the table knows none."""
    wanted = [name for name in names if name in PYG]
    rows = [row for row in table("torch_builds")["torch"] if build in row["cuda"]]
    fitting = [row for row in rows if all(listed(name, row["minor"], build) for name in wanted)]
    best = max(fitting or rows, key=lambda row: numbers(row["minor"]), default=None)
    return best["newest"] if best is not None else None
