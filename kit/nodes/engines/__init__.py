"""The engines that reach the nodes: each asks every node once and yields its answers as they come.

local          as many workers as are wanted on this machine, through Dask
tcp://...      a Dask cluster that runs already, by its scheduler's address
slurm, pbs     a job for each node, with a Dask worker in it (dask-jobqueue)
srun, pbsdsh   the scheduler's own way to run a command on many nodes; no Dask
"""

import importlib
import re

from kit.errors import KitError
from kit.nodes.records import Engine

_NAMES = {"local": "local", "slurm": "jobs", "pbs": "jobs", "srun": "srun", "pbsdsh": "pbsdsh"}
_ADDRESS = re.compile(r"(tcp|tls|ucx|ws|wss|inproc)://\S+|\S+:\d+")


def engine(name: str) -> Engine:
    """The engine of this name, or that of the Dask cluster at this address."""
    if name in _NAMES:
        found: Engine = getattr(importlib.import_module(f"kit.nodes.engines.{_NAMES[name]}"), name)
        return found
    if _ADDRESS.fullmatch(name):
        from kit.nodes.engines.workers import at

        return at(name)
    raise KitError(
        f"no engine is called {name!r}; there are {', '.join(_NAMES)}, and the address of a Dask cluster, "
        "e.g. tcp://10.0.0.1:8786"
    )
