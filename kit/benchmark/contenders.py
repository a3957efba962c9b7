"""Who is timed: compiled torch_scatter, the kit's shim, torch's own operators and pyg-lib, where they are here."""

import importlib
import importlib.util
import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Callable, Optional

from kit.benchmark.cases import REDUCTIONS
from kit.record import Record

COMPILED, SHIM, TORCH, PYG = "torch_scatter", "shim", "torch", "pyg-lib"
# What a package, or its call, may raise on another torch or device than it was made for.
ERRORS = (
    ImportError,
    SyntaxError,
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    MemoryError,
)

# (source, places, groups) -> result
Call = Callable[[Any, Any, int], Any]


class Contender(Record):
    """Who is timed, or ``why`` not: ``state`` is ``timed``, ``absent`` (not installed) or ``unusable``.

    ``library`` is the compiled file that was loaded, ``cuda`` whether it holds code for GPUs.
    """

    name: str
    state: str
    version: str = ""
    library: str = ""
    cuda: Optional[bool] = None
    why: str = ""


def find(device: str) -> list[tuple[Contender, Mapping[str, Call]]]:
    """Each contender with what it offers, by operation.

    The compiled torch_scatter comes first: the shim registers its operators with torch only where they are free.
    """
    return [_compiled(device), _shim(), _torch(), _pyg(device)]


def _compiled(device: str) -> tuple[Contender, Mapping[str, Call]]:
    module, why = _load("torch_scatter")
    if module is None:
        return Contender(COMPILED, "unusable" if why else "absent", why=why or "it is not installed"), {}
    version, library = str(module.__version__), _library(module)
    if not library and version.endswith("+kit"):
        return Contender(COMPILED, "absent", version, why="the kit's own stands in its place"), {}
    if not library:
        why = f"what `import torch_scatter` finds ({version}) has loaded no compiled library"
        return Contender(COMPILED, "unusable", version, why=why), {}
    import torch

    cuda = torch.ops.torch_scatter.cuda_version() != -1
    return _on(device, Contender(COMPILED, "timed", version, library, cuda), module)


def _shim() -> tuple[Contender, Mapping[str, Call]]:
    module, why = _load("kit.shims.torch_scatter")
    if module is None:
        return Contender(SHIM, "unusable", why=why or "this kit has none"), {}
    return Contender(SHIM, "timed", str(module.__version__)), _offered(module)


def _torch() -> tuple[Contender, Mapping[str, Call]]:
    import torch

    return Contender(TORCH, "timed", torch.__version__), by_hand()


def _pyg(device: str) -> tuple[Contender, Mapping[str, Call]]:
    """pyg-lib, which has torch_scatter's operators since 0.7."""
    module, why = _load("pyg_lib")
    if module is None:
        return Contender(PYG, "unusable" if why else "absent", why=why or "it is not installed"), {}
    version, library = str(module.__version__), _library(module)
    if not library:
        return Contender(PYG, "unusable", version, why="it has loaded no compiled library"), {}
    if not _offered(module.ops):
        return Contender(PYG, "absent", version, library, why=f"{version} has no scatter and no segment_csr"), {}
    return _on(device, Contender(PYG, "timed", version, library, module.cuda_version() != -1), module.ops)


def _on(device: str, contender: Contender, module: ModuleType) -> tuple[Contender, Mapping[str, Call]]:
    """A compiled contender, unless it has no code for the device: then it would compute on the CPU, or stop."""
    if device == "cuda" and not contender.cuda:
        why = "it was built without CUDA, so it computes on the CPU alone; python -m kit doctor says what helps"
        return Contender(contender.name, "unusable", contender.version, contender.library, False, why), {}
    return contender, _offered(module)


def _load(name: str) -> tuple[Optional[ModuleType], str]:
    """(module, ''), or (None, why): '' where nothing of that name is installed."""
    try:
        if importlib.util.find_spec(name) is None:
            return None, ""
        return importlib.import_module(name), ""
    except ERRORS as error:
        said = str(error).strip().splitlines()
        return None, f"it cannot be imported: {type(error).__name__}{': ' + said[0] if said else ''}"


def _library(module: ModuleType) -> str:
    """The first library that torch has loaded from the folder of a module, as ``torch_scatter/_scatter_cpu.so``."""
    import torch

    folder = os.path.dirname(os.path.realpath(module.__file__ or ""))
    loaded = sorted(map(os.path.realpath, torch.ops.loaded_libraries))
    names = [os.path.basename(file) for file in loaded if os.path.dirname(file) == folder]
    return f"{os.path.basename(folder)}/{names[0]}" if names else ""


def _offered(module: Any) -> dict[str, Call]:
    """What a module with the interface of torch_scatter offers."""

    def scatter(reduce: str) -> Call:
        return lambda source, index, groups: module.scatter(source, index, dim=0, dim_size=groups, reduce=reduce)

    def segment(reduce: str) -> Call:
        return lambda source, limits, groups: module.segment_csr(source, limits, reduce=reduce)

    offered: dict[str, Call] = {}
    if hasattr(module, "scatter"):
        offered.update({f"scatter-{reduce}": scatter(reduce) for reduce in ("sum", "mean", "min", "max")})
    if hasattr(module, "scatter_softmax"):
        offered["scatter-softmax"] = lambda source, index, groups: module.scatter_softmax(
            source, index, dim=0, dim_size=groups
        )
    if hasattr(module, "segment_csr"):
        offered.update({f"segment-{reduce}": segment(reduce) for reduce in REDUCTIONS["segment"]})
    return offered


# -- what a person would write with torch alone


def by_hand() -> dict[str, Call]:
    """The operations in a few lines of torch each.  Empty groups are 0, as in torch_scatter."""
    import torch

    def new(source: Any, groups: int) -> Any:
        return source.new_zeros((groups, *source.shape[1:]))

    def column(vector: Any, source: Any) -> Any:
        return vector if source.dim() == 1 else vector.unsqueeze(-1)

    def total(source: Any, index: Any, groups: int) -> Any:
        return new(source, groups).index_add_(0, index, source)

    def mean(source: Any, index: Any, groups: int) -> Any:
        sizes = torch.bincount(index, minlength=groups).clamp_(min=1)
        return total(source, index, groups) / column(sizes, source)

    def extreme(reduce: str) -> Call:
        def call(source: Any, index: Any, groups: int) -> Any:
            wide = column(index, source).expand_as(source)
            return new(source, groups).scatter_reduce(0, wide, source, reduce, include_self=False)

        return call

    def softmax(source: Any, index: Any, groups: int) -> Any:
        top = extreme("amax")(source.detach(), index, groups)
        powers = (source - top[index]).exp()
        return powers / total(powers, index, groups)[index]

    def segment(reduce: str, initial: Optional[float]) -> Call:
        def call(source: Any, limits: Any, groups: int) -> Any:
            return torch.segment_reduce(source, reduce, offsets=limits, initial=initial, unsafe=True)

        return call

    def segment_extreme(reduce: str) -> Call:
        def call(source: Any, limits: Any, groups: int) -> Any:
            empty = column(limits.diff() == 0, source)
            return segment(reduce, None)(source, limits, groups).masked_fill(empty, 0)

        return call

    return {
        "scatter-sum": total,
        "scatter-mean": mean,
        "scatter-min": extreme("amin"),
        "scatter-max": extreme("amax"),
        "scatter-softmax": softmax,
        "segment-sum": segment("sum", 0),
        "segment-mean": segment("mean", 0),
        "segment-min": segment_extreme("min"),
        "segment-max": segment_extreme("max"),
    }
