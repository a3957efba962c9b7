"""requirements.txt from wishes: pins grouped by the index that they come from, with hashes where all have one.

What is compiled against torch stands in a file of its own: pip builds before it installs, so in one file with torch
its setup.py would run without torch.
"""

from collections.abc import Sequence

from kit.recipes.writing.dockerfile import comment
from kit.recipes.writing.wish import PYPI, Pin, Wishes

MAIN, COMPILED = "requirements.txt", "requirements-compiled.txt"


def requirements(wishes: Wishes, head: tuple[str, ...], name: str = MAIN) -> dict[str, str]:
    """The files by name: ``name``, and one beside it where something is compiled."""
    other = second(name)
    files = {name: _main(wishes, head, name, other if wishes.compiled else "")}
    if wishes.compiled:
        files[other] = _compiled(wishes, head, other)
    return files


def second(name: str) -> str:
    """``requirements.txt`` -> ``requirements-compiled.txt``."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}-compiled.{suffix}" if dot else f"{name}-compiled"


def _main(wishes: Wishes, head: tuple[str, ...], name: str, other: str) -> str:
    pins = [pin for pin in wishes.pins if pin.source != "compiled"]
    hashed = wishes.complete and all(pin.sha256 for pin in pins)
    options = ("--no-deps " if wishes.complete else "") + ("--require-hashes " if hashed else "")
    lines = [
        *head,
        f"Into an empty environment of Python {wishes.python} on {_place(wishes)}:",
        f"    pip install {options}-r {name}",
    ]
    lines += [f"then, as pip builds before it installs:  {other}" if other else ""] if other else []
    if not hashed:
        without = sum(not pin.sha256 for pin in pins)
        lines.append(
            f"No hashes: pip wants one for each or none, and {without} of {len(pins)} are without (see below)."
        )
    if not wishes.complete:
        lines.append("Only what was named is pinned: what it requires is chosen by pip when it installs.")
    text = comment(*lines)
    groups: list[tuple[str, Sequence[str], Sequence[Pin]]] = [
        (
            f"PyTorch's index: +{wishes.token} is in no other, so nothing can be taken for it",
            (f"--extra-index-url {wishes.torch_index}",),
            wishes.of("torch"),
        ),
        (
            f"Wheels for torch {wishes.minor}.x and {wishes.token} alone; from source they would be compiled",
            (f"--find-links {wishes.pyg_page}", *(f"--only-binary {p.name}" for p in wishes.of("pyg"))),
            wishes.of("pyg"),
        ),
        (
            f"The package index serves one build of each torch; of this one it is {wishes.token}",
            (f"--index-url {PYPI}",),
            [pin for pin in wishes.of("index") if pin.name == "torch"],
        ),
        (
            "The package index",
            (f"--index-url {PYPI}",),
            [pin for pin in wishes.of("index") if pin.named and pin.name != "torch"],
        ),
        (
            "The package index: what these require",
            (f"--index-url {PYPI}",),
            [p for p in wishes.of("index") if not p.named],
        ),
        ("By address", (), wishes.of("address")),
    ]
    seen: set[str] = set()
    for title, places, group in groups:
        if group:
            new = [place for place in places if place not in seen]
            seen.update(new)
            listed = [_line(pin, hashed) for pin in sorted(group, key=lambda pin: pin.name)]
            text += "\n" + comment(title) + "".join(f"{line}\n" for line in (*new, *listed))
    return text


def _compiled(wishes: Wishes, head: tuple[str, ...], name: str) -> str:
    hashed = all(pin.sha256 for pin in wishes.compiled)
    options = "--no-build-isolation --no-deps --no-cache-dir " + ("--require-hashes " if hashed else "")
    lines = [
        *head,
        "After the other file, for it is compiled against the torch that is there; setuptools has to be there too:",
        f"    {_variables(wishes)}pip install {options}-r {name}",
        "Without --no-build-isolation its setup.py finds no torch; without --no-cache-dir pip may take what was "
        "built against another torch. A compiler is needed"
        + (f", and CUDA {wishes.cuda}'s nvcc in CUDA_HOME." if wishes.cuda else "."),
    ]
    text = comment(*lines)
    for pin in wishes.compiled:
        text += f"--no-binary {pin.name}\n{_line(pin, hashed)}\n"
    return text


def _variables(wishes: Wishes) -> str:
    """Without them an extension is built for the GPUs that are visible, and for the CPU where none is."""
    if wishes.cuda is None:
        return ""
    return f'FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST="{";".join(wishes.architectures)}" '


def _line(pin: Pin, hashed: bool) -> str:
    if hashed:
        return pin.spec + "".join(f" \\\n    --hash=sha256:{digest}" for digest in sorted(pin.sha256))
    return pin.spec + ("" if pin.sha256 else "  # no hash")


def _place(wishes: Wishes) -> str:
    return {"Darwin": "macOS", "Linux": "Linux x86_64"}.get(wishes.system, wishes.system)
