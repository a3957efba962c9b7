"""The NVIDIA driver is older than the CUDA of this torch needs.

What it means
-------------
torch brings its own CUDA runtime, and that needs a driver of at least a certain version.  With an older one
``torch.cuda.is_available()`` is False, with the warning ``The NVIDIA driver on your system is too old``, or a
kernel fails with ``the provided PTX was compiled with an unsupported toolchain``.

How it is found
---------------
The driver's version, from NVML, nvidia-smi or /proc, is below NVIDIA's minimum for the CUDA major in
``torch/version.py``: 580 for CUDA 13, 525.60.13 for CUDA 12, 450.80.02 for CUDA 11 (Linux; the CUDA toolkit's
release notes, minor-version compatibility; table ``kit/data/drivers.json``).

Example
-------
torch 2.13.0+cu130 with driver 535.183.01.

Fix
---
Either a newer driver, which needs an administrator and a reboot, or the same torch for an older CUDA, which
only changes this environment.  Inside a container the driver is the host's.

Known limits
------------
Datacenter GPUs with NVIDIA's forward-compatibility package (cuda-compat) can run a newer CUDA than the table says.
"""

import dataclasses
from collections.abc import Iterator

from kit.builds import choose_torch, torch_fix
from kit.facts import Driver, Facts
from kit.findings import Cost, Finding, Fix
from kit.gpus import driver_runs, minimum_driver
from kit.recorded import recorded

RANK = 22
INSTEAD = "A newer CUDA toolkit would change nothing: torch does not use it, and it does not contain this driver."


def find(facts: Facts) -> Iterator[Finding]:
    torch, driver = facts.torch, facts.host.driver
    if torch is None or not torch.cuda or driver is None:
        return
    if driver_runs(driver.version, torch.cuda, facts.host.system) is not False:
        return
    oldest = minimum_driver(torch.cuda, facts.host.system)
    update = Fix(
        "update-driver",
        f"Install NVIDIA driver {oldest} or newer"
        + (" on the host of this container" if facts.host.container else ""),
        safety="manual",
        cost=Cost(restart=True),
    )
    older = (torch_fix(facts, "Install a torch that this driver runs"),) if choose_torch(facts) else ()
    yield Finding(
        "driver-too-old",
        "error",
        "torch",
        f"The NVIDIA driver is too old for this torch. torch {torch.version} is built for CUDA {torch.cuda}, which "
        f"needs driver {oldest}; here is {driver.version}.",
        (
            f"torch/version.py: {torch.version}, CUDA {torch.cuda}",
            f"{driver.source or 'driver'}: {driver.version}",
            f"NVIDIA's release notes: CUDA {torch.cuda.partition('.')[0]}.x needs driver {oldest} or newer",
        ),
        (*older, update),
    )


def example() -> Facts:
    facts = recorded("healthy-gpu")
    driver = Driver("535.183.01", "12.2", "NVML")
    return dataclasses.replace(facts, host=dataclasses.replace(facts.host, driver=driver))
