"""A cluster made of recorded machines, with drift between its nodes: for the notebook, tests and the benchmark."""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, Callable, Optional

from kit.errors import KitError
from kit.facts import About, Distribution, Driver, Facts, Gpu, Toolkit
from kit.nodes.records import SCHEMA
from kit.recorded import recorded

MACHINE = "healthy-gpu"
SPEED = 9.2e11  # bytes a second that a healthy GPU copies
_NONE: Mapping[str, float] = {}


def _host(facts: Facts, **changed: Any) -> Facts:
    return dataclasses.replace(facts, host=dataclasses.replace(facts.host, **changed))


def _packages(facts: Facts, name: str, version: str) -> tuple[Distribution, ...]:
    return tuple(dataclasses.replace(d, version=version) if d.key == name else d for d in facts.distributions)


def _torch(facts: Facts) -> Facts:
    version = "2.9.1+cu130"
    torch = facts.torch and dataclasses.replace(facts.torch, version=version, metadata_version=version)
    return dataclasses.replace(facts, torch=torch, distributions=_packages(facts, "torch", version))


def _extension(facts: Facts) -> Facts:
    """torch-scatter as it is built where no GPU is visible: its libraries for CUDA are not there."""
    built = [
        dataclasses.replace(
            e,
            libraries=tuple(name for name in e.libraries if "_cuda" not in name),
            binaries=tuple(b for b in e.binaries if "_cuda" not in b.path),
        )
        for e in facts.extensions
    ]
    return dataclasses.replace(facts, extensions=tuple(built))


def _python(facts: Facts) -> Facts:
    return dataclasses.replace(facts, python=dataclasses.replace(facts.python, version="3.11.2"))


def _variable(facts: Facts) -> Facts:
    return dataclasses.replace(facts, variables={**facts.variables, "LD_LIBRARY_PATH": "/usr/local/cuda-11.8/lib64"})


def _package(facts: Facts) -> Facts:
    return dataclasses.replace(facts, distributions=_packages(facts, "networkx", "3.2.1"))


# What may be otherwise on some nodes: the words for it, and the facts that it makes of those of all others.
DRIFT: dict[str, Callable[[Facts], Facts]] = {
    "driver": lambda f: _host(f, driver=Driver("550.54.15", "12.4", "NVML")),
    "kernel": lambda f: _host(f, kernel="6.1.0-31-amd64"),
    "C library": lambda f: _host(f, libc="glibc 2.31"),
    "kind of GPU": lambda f: _host(f, gpus=(Gpu("NVIDIA L4", "8.9", 23034),)),
    "number of GPUs": lambda f: _host(f, gpus=f.host.gpus * 3),
    "GPU lost": lambda f: _host(f, gpus=(), driver=None, device_nodes=(), pci_gpus=1),
    "torch": _torch,
    "extension": _extension,
    "Python": _python,
    "toolkit": lambda f: _host(f, toolkits=(Toolkit("/usr/local/cuda", "12.4"),)),
    "variable": _variable,
    "package": _package,
}


def drifted(kind: str, facts: Optional[Facts] = None) -> Facts:
    """The recorded machine, or ``facts``, with one kind of :data:`DRIFT`."""
    if kind not in DRIFT:
        raise KitError(f"no drift is called {kind!r}; there are {', '.join(DRIFT)}")
    return DRIFT[kind](recorded(MACHINE) if facts is None else facts)


def of_node(facts: Facts, node: str, number: int) -> Facts:
    """The same facts as another healthy node says them: with what is its own, and its job's."""
    variables = {"CUDA_VISIBLE_DEVICES": str(number % 4), "PIP_TARGET": f"/scratch/{100_000 + number}/pip"}
    in_some_order = {name: variables[name] for name in sorted(variables, reverse=bool(number % 2))}
    gpus = tuple(dataclasses.replace(g, memory_mb=(g.memory_mb or 0) - number % 40) for g in facts.host.gpus)
    return dataclasses.replace(
        _host(facts, gpus=gpus),
        about=About(node, "collected", f"node {number}"),
        python=dataclasses.replace(facts.python, cwd=f"/tmp/{node}/run"),
        variables={**in_some_order, **facts.variables},
    )


def rows(count: int, drift: Mapping[str, int], slow: Mapping[str, float] = _NONE) -> Iterator[dict[str, Any]]:
    """What each of ``count`` nodes says, as the one file writes it.

    ``drift`` tells how many nodes have each kind; they begin behind the first quarter, one kind after the other.
    With ``slow`` each has measured its GPU: it names those that reach but a part of what the others do.
    """
    usual = recorded(MACHINE)
    kinds = [kind for kind, number in drift.items() for _ in range(number)]
    first = min(count // 4, count - len(kinds))
    if first < 0:
        raise KitError(f"{count} nodes cannot have {len(kinds)} with drift")
    made = {kind: drifted(kind) for kind in drift}
    for at in range(count):
        node = f"node{at + 1:0{len(str(count))}}"
        facts = made[kinds[at - first]] if 0 <= at - first < len(kinds) else usual
        row = {"schema": SCHEMA, "node": node, "facts": of_node(facts, node, at).to_dict(), "seconds": 1.5}
        if slow:
            speed = SPEED * slow.get(node, 1 + at % 5 / 100)
            row["measured"] = {"gpu": usual.host.gpus[0].name, "bytes_per_second": speed}
        yield row


def write(folder: str, count: int, drift: Mapping[str, int], slow: Mapping[str, float] = _NONE) -> str:
    """Write a facts file for each of ``count`` nodes into a folder, and return it."""
    os.makedirs(folder, exist_ok=True)
    for row in rows(count, drift, slow):
        with open(os.path.join(folder, row["node"] + ".json"), "w", encoding="utf-8") as stream:
            json.dump(row, stream)
    return folder
