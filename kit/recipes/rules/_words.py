"""Words and fixes that rules about extensions share."""

from collections.abc import Iterable, Iterator
from typing import Optional

from kit.findings import Fix
from kit.gpus import numbers
from kit.published import PYG, cuda_of
from kit.recipes.model import Install
from kit.recipes.rules import Wish
from kit.recipes.rules._arches import architectures
from kit.recipes.rules._extensions import SOURCE_ONLY, listed, page_of
from kit.recipes.rules._torch import Torch


def joined(names: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *first, last = dict.fromkeys(names)
    return f"{', '.join(first)} and {last}" if first else last


def verb(names: Iterable[str], one: str = "is", more: str = "are") -> str:
    return one if len(set(names)) == 1 else more


def only_binary(names: Iterable[str]) -> str:
    return "--only-binary=" + ",".join(dict.fromkeys(names))


def has_wheels(names: Iterable[str], torch: Optional[Torch]) -> Optional[bool]:
    """Whether the page of this torch lists wheels of all these extensions; None where that is not known."""
    if torch is None or torch.nightly or torch.ngc:
        return None if torch is None else False
    said = {listed(name, torch.minor, torch.cuda) for name in names}
    return said.pop() if len(said) == 1 else None


def from_page(names: Iterable[str], torch: Torch) -> str:
    """The options and names with which the wheels of a torch's page are installed."""
    return f'{only_binary(names)} -f "{page_of(torch)}" {" ".join(dict.fromkeys(names))}'


def wheels(names: Iterable[str], torch: Optional[Torch]) -> Iterator[Fix]:
    """install-matching-wheel, for extensions of PyG: of this torch, else in general."""
    mine = [name for name in names if name in PYG]
    if not mine or has_wheels(mine, torch) is False:
        return
    if torch is not None and page_of(torch) and has_wheels(mine, torch):
        yield Fix("install-matching-wheel", f"Take the wheels for this torch: pip install {from_page(mine, torch)}")
        return
    release = torch.minor if torch is not None else None
    page = f'-f "https://data.pyg.org/whl/torch-{release or "X.Y"}.0+cuNNN.html"'
    first = (
        f"Name the page of torch {release} and its build"
        if release
        else ("Fix torch to a release up to 2.12, and name the page of that release and build")
    )
    yield Fix("install-matching-wheel", f"{first}: {page} {only_binary(mine)}")


def build(names: Iterable[str], torch: Optional[Torch], wish: Wish, cuda: bool) -> Fix:
    """rebuild-extension, with all that it takes where no GPU is visible."""
    listing = architectures(wish, torch.cuda if torch else None)
    variables = f'FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST="{listing}" ' if cuda else ""
    named = dict.fromkeys(names)
    on_index = set(named) <= SOURCE_ONLY
    what = " ".join(named) if on_index else "and its sources as here"
    needs = ", with nvcc of torch's CUDA" if cuda else ""
    why = f"Compile it against the torch that is installed{needs}: {variables}pip install --no-build-isolation {what}"
    return Fix("rebuild-extension", why)


def shim(names: Iterable[str], torch: Optional[Torch]) -> Iterator[Fix]:
    """use-replacement: the kit's torch_scatter, where nothing else is compiled."""
    old = torch is not None and torch.version is not None and numbers(torch.version) < (2, 3)
    if set(names) == {"torch-scatter"} and not old:
        yield Fix("use-replacement", "Leave it out and run: kit shim enable torch_scatter (on torch's own operators)")


def fitting(torch: Optional[Torch], toolkit: Optional[str]) -> bool:
    """Whether a toolkit's CUDA is known to serve for compiling against a torch: the major is the same."""
    own = cuda_of(torch.cuda) if torch is not None and torch.for_cuda and torch.cuda else None
    return bool(own and toolkit and numbers(own)[0] == numbers(toolkit)[0])


def missing(install: Install, option: str) -> bool:
    """Whether a call does not have an option."""
    texts = install.command.texts if install.command else ()
    return not any(text.partition("=")[0] == option for text in texts)
