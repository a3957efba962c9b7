"""The values of TORCH_CUDA_ARCH_LIST in a recipe, and what torch makes of them."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Optional

from kit.data import table
from kit.gpus import numbers
from kit.published import cuda_of
from kit.recipes.model import Command, Edit, Recipe, Setting, Span
from kit.recipes.rules import Wish
from kit.record import Record

NAME = "TORCH_CUDA_ARCH_LIST"
# torch/utils/cpp_extension.py, _get_cuda_arch_flags (2.13.0); longer names first, as there.
_NAMED = {
    "Kepler+Tesla": "3.7",
    "Kepler": "3.5+PTX",
    "Maxwell+Tegra": "5.3",
    "Maxwell": "5.0;5.2+PTX",
    "Pascal": "6.0;6.1+PTX",
    "Volta+Tegra": "7.2",
    "Volta": "7.0+PTX",
    "Turing": "7.5+PTX",
    "Ampere+Tegra": "8.7",
    "Ampere": "8.0;8.6+PTX",
    "Ada": "8.9+PTX",
    "Hopper": "9.0+PTX",
    "Blackwell+Tegra": "11.0",
    "Blackwell": "10.0;10.3;12.0;12.1+PTX",
}
# The GPUs in use, from V100 to RTX 50.
_USUAL = ("7.0", "7.5", "8.0", "8.6", "8.9", "9.0", "12.0")
ENTRY = re.compile(r"(\d{1,2}\.\d)([af]?)(\+PTX)?")


class ArchList(Record):
    """One setting of it.  ``entries`` are what torch takes the value apart into; ``command`` is one that runs with
    it, None where none does."""

    setting: Setting
    entries: tuple[str, ...]
    command: Optional[Command] = None

    @property
    def architectures(self) -> tuple[str, ...]:
        """``sm_90``, and ``compute_90`` where it has +PTX: of the entries that are well formed."""
        found = []
        for entry in self.entries:
            form = ENTRY.fullmatch(entry)
            if form:
                number = form.group(1).replace(".", "") + form.group(2)
                found += [f"sm_{number}", *([f"compute_{number}"] if form.group(3) else [])]
        return tuple(found)

    @property
    def capabilities(self) -> tuple[str, ...]:
        return tuple(form.group(1) for form in map(ENTRY.fullmatch, self.entries) if form)


def arch_lists(recipe: Recipe) -> Iterator[ArchList]:
    """Every setting whose value is known, once, with the last command that runs with it."""
    used: dict[Span, tuple[Setting, Optional[Command]]] = {}
    for setting in recipe.settings:
        if setting.name == NAME:
            used[setting.span] = (setting, None)
    for command in recipe.commands:
        in_effect = command.variable(NAME) or command.in_shell(NAME)
        if in_effect is not None:
            used[in_effect.span] = (in_effect, command)
    for setting, last in sorted(used.values(), key=lambda one: one[0].span.start):
        if setting.value and "$" not in setting.value and setting.value != "native":
            yield ArchList(setting, entries(setting.value), last)


def entries(value: str) -> tuple[str, ...]:
    value = value.replace(" ", ";")
    for name, stands_for in _NAMED.items():
        value = value.replace(name, stands_for)
    return tuple(value.split(";"))


def rewritten(recipe: Recipe, one: ArchList, value: str) -> tuple[Edit, ...]:
    """Another value in its place; nothing where it is not written there as it is."""
    written, old = recipe.at(one.setting.span), one.setting.value or ""
    at = written.rfind(old)
    if at < 0 or recipe.at(one.setting.span).count(old) != 1:
        return ()
    start = one.setting.span.start + at
    quoted = written[at - 1 : at] in "\"'" if at else False
    return (Edit(Span(start, start + len(old)), value if quoted or ";" not in value else f'"{value}"'),)


@lru_cache(maxsize=1)
def _toolkits() -> tuple[tuple[tuple[int, ...], tuple[str, ...]], ...]:
    return tuple((numbers(row["cuda"]), tuple(row["capabilities"])) for row in table("nvcc")["nvcc"])


def capabilities_of(cuda: str) -> tuple[str, ...]:
    """The compute capabilities that the nvcc of a CUDA release compiles for: of the newest row not above it."""
    rows = [known for release, known in _toolkits() if release <= numbers(cuda)]
    same = [known for release, known in _toolkits() if release <= numbers(cuda) and release[0] == numbers(cuda)[0]]
    return (same or rows or [()])[-1]


def architectures(wish: Wish, cuda: Optional[str]) -> str:
    """What to write into TORCH_CUDA_ARCH_LIST: the GPU that was named, else what is in use and the toolkit knows.

    ``cuda`` is a toolkit's (``12.8``) or a build of torch (``cu128``)."""
    if wish.gpu:
        return wish.gpu
    release = cuda_of(cuda) if cuda and cuda.startswith("c") else cuda
    known = capabilities_of(release) if release else _USUAL[:-1]
    return ";".join(c for c in _USUAL if c in known) + "+PTX"
