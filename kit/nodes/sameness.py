"""What is left out when the facts of nodes are compared, because it differs between healthy nodes, or jobs.

- what the facts say of themselves (name, source and note), and the process that collected them
- the order of variables and of GPUs
- the working directory, also at the head of the import path
- a GPU's memory beyond whole GiB; which GPUs a job was given (how many is compared)
- the node's own name in paths, below a scratch folder the parts that are named after a job or made for the moment,
  and addresses in memory (0x7f...)

All else counts: driver, kernel, libc, GPUs, Python, torch, extensions, packages, toolkits, variables.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from typing import Any

from kit.errors import KitError

_DEVICES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
_ONE_DEVICE = re.compile(r"\d+(?::\d+)?|(?:GPU|MIG)-[\w/-]+")
# Each begins with what is searched for quickly: they are tried on every character of every file.
_SCRATCH = re.compile(
    r"/(?<![\w.~>/-]/)(?:tmp|var/tmp|dev/shm|run/user|l?scratch|local_?scratch|local|localdisk|jobs|jobfs|ssd|work|"
    r"var/spool/(?:slurmd?|pbs|torque))(?:/[^/\":;,\s\\]+)+"
)
_JOB = re.compile(
    r"(?<=/)(?:(?:job|jobid|slurm|slurmd|pbs|lsf|tmp|user|uid|worker|dask)[-_.]?)*\d{3,}(?:[-_.][^/]*)?(?=/|$)"
    r"|(?<=/)(?:tmp|tmp\.|worker-)[A-Za-z0-9_]{8,10}(?=/|$)"
)
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}\b")
_ABOUT = {"name": "", "source": "collected", "note": ""}


def comparable(data: Mapping[str, Any], node: str = "") -> str:
    """The facts of a node (a JSON object) as the JSON text that equal nodes have in common.

    It is that of valid facts where the facts are valid.
    """
    kept = dict(data)
    about = kept.get("about")
    if isinstance(about, dict) and about.keys() <= _ABOUT.keys() and all(isinstance(v, str) for v in about.values()):
        kept["about"] = _ABOUT
    kept["kernel"] = None
    if isinstance(kept.get("host"), dict):
        kept["host"] = _host(kept["host"])
    if isinstance(kept.get("variables"), dict):
        kept["variables"] = _variables(kept["variables"])
    try:
        text = json.dumps(kept, sort_keys=True)
    except RecursionError:
        raise KitError("nested too deeply; this is no facts file") from None
    python = kept.get("python")
    cwd = python.get("cwd") if isinstance(python, dict) else None
    if cwd and isinstance(cwd, str):
        text = text.replace(json.dumps(cwd), '"<cwd>"')
    text = _without_name(text, node)
    text = _SCRATCH.sub(lambda match: _JOB.sub("<job>", match.group()), text)
    return _ADDRESS.sub("0x...", text)


def digest(text: str) -> str:
    """What is equal for equal facts, and differs for others."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _host(host: dict[str, Any]) -> dict[str, Any]:
    gpus = host.get("gpus")
    if not isinstance(gpus, list) or not all(isinstance(gpu, dict) for gpu in gpus):
        return host
    rounded = []
    for gpu in gpus:
        memory = gpu.get("memory_mb")
        rounded.append({**gpu, "memory_mb": round(memory / 1024) * 1024} if type(memory) is int else gpu)
    return {**host, "gpus": sorted(rounded, key=lambda gpu: json.dumps(gpu, sort_keys=True))}


def _variables(variables: dict[str, Any]) -> dict[str, Any]:
    found = {name: variables[name] for name in _DEVICES if isinstance(variables.get(name), str)}
    return {**variables, **{name: _devices(value) for name, value in found.items()}}


def _devices(value: str) -> str:
    """``'0,1'`` and ``'2,3'`` are both ``'<2 GPUs>'``; what hides all, or names them otherwise, is kept."""
    words = [word.strip() for word in value.split(",")]
    if not all(_ONE_DEVICE.fullmatch(word) for word in words):
        return value
    return f"<{len(words)} GPU{'s' * (len(words) > 1)}>"


def _without_name(text: str, node: str) -> str:
    """``text`` without the node's name, whole or without its domain, as a part of a path or of an address."""
    if not re.search(r"[a-zA-Z]", node) or not re.search(r"\d", node):  # torch, login; 10.0.0.1
        return text
    for name in sorted({node, node.partition(".")[0]}, key=len, reverse=True):
        word = json.dumps(name)[1:-1]
        if word in text:
            for before, after in itertools.product("/@", '/:"@\\'):
                text = text.replace(f"{before}{word}{after}", f"{before}<host>{after}")
    return text
