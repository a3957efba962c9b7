"""What the failures of apex share: the ways out, and how its libraries and its age are told."""

from kit.facts import Facts
from kit.findings import Cost, Fix
from kit.published import pip, shim

# What the import of an apex says that is of another time than torch.
GONE = r"No module named 'torch\.|(module|cannot import name '\w+' from) 'torch(\.[\w.]+)?'"


def lacks_libraries(facts: Facts) -> bool:
    """Whether none of apex's main libraries is installed."""
    extension = facts.extension("apex")
    libraries = extension.libraries if extension else ()
    return not any(name in file for file in libraries for name in ("amp_C", "fused_layer_norm_cuda"))


def replacement(facts: Facts, cover: bool = False) -> Fix:
    """The kit's own apex.amp, for code that calls it; with ``cover`` in place of what is installed."""
    return Fix(
        "use-replacement",
        "Where code calls apex.amp: install the kit's, real mixed precision on torch.amp",
        shim(facts, "apex.amp", cover),
        safety="changes-environment",
        cost=Cost(seconds=5),
    )


def uninstall(facts: Facts, why: str) -> Fix:
    """Doing without apex."""
    argv = pip(facts, "uninstall", "--yes", "apex")
    return Fix("uninstall-package", why, argv, safety="changes-environment", cost=Cost(seconds=2))
