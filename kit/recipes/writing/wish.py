"""What a written recipe is to hold: the torch, the GPUs and the exact packages, each with where it comes from.

Wishes are made from what a person asks for (:mod:`kit.recipes.writing.asking`) or from the facts of an environment
(:mod:`kit.recipes.writing.verified`), and are right by the dated tables when they exist: a torch that was published,
for a CUDA that it was published for, with code for every GPU that is named.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Optional

from kit import gpus, published
from kit.data import table
from kit.errors import KitError
from kit.facts import compute_capability
from kit.record import Record

PYPI = "https://pypi.org/simple"
DEFAULT_PYTHON = "3.11"  # every torch from 2.0 to 2.15 has wheels for it
USUAL_GPUS = ("8.9", "9.0", "12.0")  # Ada, Hopper, consumer Blackwell
# A file of each extension that holds its kernels, and what it needs besides torch (their setup.py).
KERNELS = {
    "torch-scatter": "_scatter",
    "torch-sparse": "_spmm",
    "torch-cluster": "_knn",
    "torch-spline-conv": "_basis",
}
NEEDS = {"torch-sparse": "scipy", "torch-cluster": "scipy"}


class Pin(Record):
    """One package.  ``source``: ``torch`` (PyTorch's index), ``pyg`` (the page of wheels for this torch),
    ``compiled`` (its source, against the torch that is there), ``address`` (``address`` says which), ``index`` (the
    package index).  Without a ``version`` the constraints decide.  ``sha256`` are the hashes of files that may be
    taken, where known."""

    name: str
    version: str = ""
    source: str = "index"
    address: str = ""
    named: bool = True
    sha256: tuple[str, ...] = ()

    @property
    def spec(self) -> str:
        """As pip reads it."""
        if self.source == "address":
            return f"{self.name} @ {self.address}"
        return f"{self.name}=={self.version}" if self.version else self.name

    @property
    def module(self) -> str:
        return self.name.replace("-", "_")


class Wishes(Record):
    """What to write.  ``complete`` where ``pins`` are all that is to be installed, what they require among them;
    ``project`` holds the extras (``''`` for none) with which the folder of the build context is installed, None where
    it is not; ``options`` are those of the command that asked, for the head of the file."""

    python: str
    torch: str
    token: str
    pins: tuple[Pin, ...]
    gpus: tuple[str, ...] = ()
    complete: bool = False
    replacements: tuple[str, ...] = ()
    project: Optional[str] = None
    constraints: Optional[str] = None
    options: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    system: str = "Linux"

    @property
    def minor(self) -> str:
        return ".".join(self.torch.split(".")[:2])

    @property
    def cuda(self) -> Optional[str]:
        return published.cuda_of(self.token)

    @property
    def torch_index(self) -> str:
        return published.PYTORCH_INDEX + self.token

    @property
    def pyg_page(self) -> str:
        """The page of X.Y.0: releases X.Y.Z have the same ABI, and not all have a page."""
        return f"{published.PYG_PAGES}torch-{self.minor}.0+{self.token}.html"

    def of(self, *sources: str) -> tuple[Pin, ...]:
        """The packages from these sources, in their order."""
        return tuple(pin for pin in self.pins if pin.source in sources)

    @property
    def compiled(self) -> tuple[Pin, ...]:
        return self.of("compiled")

    @property
    def served(self) -> tuple[str, ...]:
        """The GPUs that were named, or the usual ones that torch itself serves; none of a torch for the CPU."""
        return self.gpus or tuple(gpu for gpu in USUAL_GPUS if served(self.minor, self.token, gpu))

    @property
    def architectures(self) -> tuple[str, ...]:
        """What extensions are compiled for: the GPU's own code, or the nearest that this nvcc knows and that runs on
        it (8.6 on an 8.9 before CUDA 11.8)."""
        row = nvcc(self.cuda) if self.cuda else None
        known: list[str] = row["capabilities"] if row else []
        found = []
        for gpu in self.served:
            below = [one for one in known if gpus.serves("sm_" + one.replace(".", ""), gpu)]
            found.append(gpu if gpu in known or not below else below[-1])
        return tuple(dict.fromkeys(found))


def served(minor: str, token: str, gpu: str) -> bool:
    """Whether a build of torch has code that runs on this compute capability."""
    row = published.torch_row(minor)
    built = row["cuda"].get(token, []) if row else []
    return gpus.served(["sm_" + capability.replace(".", "") for capability in built], gpu)


def nvcc(cuda: str) -> Optional[dict[str, Any]]:
    """The table's row for an nvcc of this CUDA, or of the nearest older one of the same major."""
    rows = [row for row in table("nvcc")["nvcc"] if row["cuda"].partition(".")[0] == cuda.partition(".")[0]]
    older = [row for row in rows if gpus.numbers(row["cuda"]) <= gpus.numbers(cuda)]
    return older[-1] if older else None


def choose(
    torch: str, cuda: Optional[str] = None, gpu: Sequence[str] = (), python: Optional[str] = None
) -> tuple[str, str, tuple[str, ...], str]:
    """(torch, token, GPUs, Python) as the tables have them: ``('2.13.0', 'cu130', ('8.9',), '3.11')``.

    KitError where torch was never published, not for this CUDA, has no code for one of the GPUs, or no wheels for
    this Python.
    """
    match = re.fullmatch(r"(\d+\.\d+)(?:\.(\d+))?(?:\+(\S+))?", torch.strip())
    if not match:
        raise KitError(f"not a release of torch: {torch!r}; it looks like 2.13.0, 2.13 or 2.13.0+cu130")
    minor, patch, local = match.groups()
    row = published.torch_row(minor)
    if row is None:
        rows, as_of = table("torch_builds")["torch"], table("torch_builds")["as_of"]
        known = f"{rows[0]['minor']} to {rows[-1]['minor']}"
        raise KitError(f"torch {minor} is not known: the table of {as_of} has {known}")
    if patch is not None and int(patch) > int(row["newest"].split(".")[2]):
        raise KitError(f"torch {minor}.{patch} was never published; the newest {minor} is {row['newest']}")
    version = row["newest"] if patch is None else f"{minor}.{patch}"
    if local and cuda and _token(local) != _token(cuda):
        raise KitError(f"torch {torch} is not built for {_token(cuda)}; leave out --cuda or the part behind +")
    named = tuple(dict.fromkeys(compute_capability(one) for one in gpu))
    token = _token(local or cuda or "") if local or cuda else _usual_token(row, named)
    if token not in ("cpu", *row["cuda"]):
        raise KitError(f"torch {minor} was not published for {token}; there are {', '.join(['cpu', *row['cuda']])}")
    if named and token == "cpu":
        raise KitError("a torch for the CPU uses no GPU: leave out --gpu, or name another build than --cuda cpu")
    for one in named:
        if not served(minor, token, one):
            raise KitError(
                f"torch {version}+{token} has no code for compute capability {one}; {_elsewhere(minor, one)}"
            )
    if python is None:
        python = DEFAULT_PYTHON if DEFAULT_PYTHON in row["pythons"] else row["pythons"][-1]
    if python not in row["pythons"]:
        raise KitError(f"torch {version} has no wheels for Python {python}; it has for {', '.join(row['pythons'])}")
    return version, token, named, python


def _token(text: str) -> str:
    text = text.strip().lower()
    if re.fullmatch(r"\d+\.\d", text):
        return published.token(text)
    if not re.fullmatch(r"cpu|cu\d{2,3}", text):
        raise KitError(f"not a build of torch: {text!r}; it looks like cu130, 13.0 or cpu")
    return text


def _usual_token(row: dict[str, Any], named: Iterable[str]) -> str:
    """The build that the package index serves, where it serves these GPUs; else the newest that does."""
    builds: list[str] = [row["default"], *sorted(row["cuda"], reverse=True)]
    fitting = [token for token in builds if all(served(row["minor"], token, one) for one in named)]
    return fitting[0] if fitting else builds[0]


def _elsewhere(minor: str, gpu: str) -> str:
    """Which builds have code for this GPU: of this torch, or else of the nearest ones."""
    here = [
        t for t in table("torch_builds")["torch"] if t["minor"] == minor for t in t["cuda"] if served(minor, t, gpu)
    ]
    if here:
        return f"of torch {minor} these have: {', '.join(here)}"
    others = [
        (r["newest"], t) for r in table("torch_builds")["torch"] for t in r["cuda"] if served(r["minor"], t, gpu)
    ]
    if not others:
        return "no build in the table has"
    at = gpus.numbers(minor)
    later = [pair for pair in others if gpus.numbers(pair[0])[:2] > at]
    version, token = later[0] if later else others[-1]
    return f"the nearest that has is torch {version}+{token}"


def extension(name: str, version: str, wishes: tuple[str, str, str], platform: str = "linux_x86_64") -> Pin:
    """The pin of torch-scatter or a sibling for (torch's minor, token, Python): its wheel where one is
    published, else its source.  ``version`` may be empty."""
    minor, token, python = wishes
    row = published.pyg_row(name, minor, token, python, platform)
    plain = version.partition("+")[0]
    if row is not None and plain in ("", row["version"]):
        local = "" if platform == "macos" else f"+pt{minor.replace('.', '')}{token}"
        return Pin(name, row["version"] + local, "pyg")
    if name == "pyg-lib":
        listed = f"the page lists {row['version']}" if row else "the table knows no wheel of it"
        raise KitError(
            f"pyg-lib {plain} for torch {minor}, {token}, Python {python}: {listed}, and no index has its source"
        )
    return Pin(name, plain or published.PYG_VERSIONS[name], "compiled")
