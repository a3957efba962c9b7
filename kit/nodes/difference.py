"""In which facts two environments differ: the path of each fact, and what it is on both sides."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Optional

from kit.facts import normalise
from kit.nodes.records import Change

# Lists whose items have a name: by it they are compared, wherever they stand.
_KEYS = {
    "distributions": "name",
    "extensions": "package",
    "modules": "name",
    "others": "how",
    "probes": "imports",
    "unread": "what",
    "binaries": "path",
    "toolkits": "path",
}
# What a thing is, in one value, where the other side does not have it.
_SUMMARY = ("version", "status", "why", "python", "path", "name")

# The facts that matter most, in this order; what is not among them follows from one of them, most of the time.
_LEADING = (
    "host.gpus",
    "host.driver.version",
    "host.driver",
    "host.machine",
    "host.os",
    "host.kernel",
    "host.libc",
    "host.libstdcxx",
    "python.version",
    "python.executable",
    "torch",
    "torch.version",
    "torch.cuda",
    "torch.hip",
    "torch.architectures",
    "torch.missing_files",
    "torch.changed_files",
    "extensions[]",
    "extensions[].version",
    "extensions[].built_for_torch",
    "extensions[].built_for_cuda",
    "variables.",
    "host.toolkits[]",
    "host.toolkits[].version",
    "host.compiler",
    "host.container",
    "host.scheduler",
    "host.job",
    "distributions[]",
    "distributions[].version",
    "probes[]",
    "probes[].status",
    "modules[]",
    "modules[].path",
    "unread[]",
    "others[]",
)
# What another torch brings with it.
_BROUGHT_BY_TORCH = re.compile(
    r"torch\.(?:cuda|hip)$|distributions\[(?:torch|nvidia-[\w-]+|cuda-[\w-]+|triton[\w-]*)\]"
)
_RANK = {path: rank for rank, path in enumerate(_LEADING)}

Tree = Mapping[str, Any]


def tree(data: Mapping[str, Any]) -> Tree:
    """The facts (a JSON object) with named items in place of lists, and text in place of other values."""
    return {name: _branch(name, value) for name, value in data.items() if name not in ("schema", "about")}


def _branch(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _branch(key, item) for key, item in value.items()}
    if isinstance(value, list):
        if name == "gpus":
            return _gpus(value)
        if name in _KEYS and all(isinstance(item, dict) for item in value):
            return _named(value, _KEYS[name])
        return ", ".join(_item(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if value is None else str(value)


def _item(value: Any) -> str:
    """One item of a list, in a line: of a thing, what is known of it."""
    if isinstance(value, dict):
        return " ".join(f"{key} {value[key]}" for key in sorted(value) if value[key] is not None)
    return str(_branch("", value))


def _named(items: Iterable[Mapping[str, Any]], key: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        name = normalise(str(item[key])) if key in ("name", "package") else str(item[key])
        again = sum(known == name or known.startswith(f"{name}#") for known in found)
        found[f"{name}#{again + 1}" if again else name] = {k: _branch(k, v) for k, v in item.items() if k != key}
    return found


def _gpus(gpus: Iterable[Mapping[str, Any]]) -> str:
    """``'4 x NVIDIA H200 (9.0, 140 GiB)'``; '' without any."""
    kinds: Counter[str] = Counter()
    for gpu in gpus:
        more = [gpu["capability"] or "", f"{gpu['memory_mb'] // 1024} GiB" if gpu["memory_mb"] else ""]
        told = ", ".join(filter(None, more))
        kinds[gpu["name"] + (f" ({told})" if told else "")] += 1
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.items())


def changes(was: Tree, now: Tree) -> tuple[Change, ...]:
    """Every fact in which ``now`` differs from ``was``, the ones that matter most first."""
    return tuple(sorted(_walk(was, now, ""), key=lambda change: (rank(change.path), change.path)))


def _walk(was: Any, now: Any, path: str) -> Iterator[Change]:
    if isinstance(was, dict) and isinstance(now, dict):
        if was == now:
            return
        within = path.rpartition(".")[2].rpartition("]")[2]
        for key in sorted({*was, *now}):
            inner = f"{path}[{key}]" if within in _KEYS else f"{path}.{key}" if path else key
            yield from _walk(was.get(key), now.get(key), inner)
    elif was != now:
        yield Change(path, summary(was), summary(now))


def summary(value: Any) -> Optional[str]:
    """A value in one line; of a thing with several facts the one that tells most."""
    if isinstance(value, dict):
        told = next((value[name] for name in _SUMMARY if value.get(name)), None)
        return told if isinstance(told, str) else "there"
    return value if value is None else str(value)


def rank(path: str) -> int:
    """How much a fact matters: 0 is most; ``len(_LEADING)`` and more for what follows from another one."""
    general = _general(path)
    found = _RANK.get("variables." if general.startswith("variables.") else general)
    return len(_LEADING) if found is None else found


def leading(path: str) -> bool:
    """Whether it is a fact of its own, and none that follows from another, most of the time."""
    return rank(path) < len(_LEADING)


def main(paths: Iterable[str]) -> list[str]:
    """Of the facts in which something differs those to look at first; all, where each follows from others."""
    given = sorted(set(paths), key=lambda path: (rank(path), path))
    known = set(given)
    leads = [path for path in given if leading(path) and not _follows(path, known)]
    return leads or given


def _follows(path: str, known: set[str]) -> bool:
    """Whether another difference says the same, or brings this one with it."""
    if path.endswith(".version") and path[: -len(".version")] in known:
        return True
    if path == "unread[GPUs]":
        return "host.gpus" in known
    kind, _, rest = path.partition("[")
    name = normalise(rest.partition("]")[0])
    if kind == "modules":
        return f"distributions[{name}]" in known or f"extensions[{name}]" in known
    if kind == "distributions" and not known.isdisjoint((f"extensions[{name}]", f"extensions[{name}].version")):
        return True
    return bool(_BROUGHT_BY_TORCH.match(path)) and not known.isdisjoint(("torch", "torch.version"))


def _general(path: str) -> str:
    """``'extensions[torch-scatter].version'`` -> ``'extensions[].version'``."""
    start, bracket, rest = path.partition("[")
    return f"{start}[]{rest.rpartition(']')[2]}" if bracket else path
