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
release notes, minor-version compatibility; table ``kit/data/drivers.json``).  Or an extension has for this GPU only
PTX, written by a newer CUDA than the driver's: it cannot compile that.

Example
-------
torch 2.13.0+cu130 with driver 535.183.01.

Fix
---
Either a newer driver, which needs an administrator and a reboot, or the same torch for an older CUDA, which only
changes this environment; an extension is compiled for this very GPU.  Inside a container the driver is the host's.

Known limits
------------
Datacenter GPUs with NVIDIA's forward-compatibility package (cuda-compat) can run a newer CUDA than the table says.
"""

import dataclasses
from collections.abc import Iterator

from kit.facts import Driver, Facts
from kit.failures._loading import judge
from kit.failures.gpu_arch_missing import fixes, unserved
from kit.findings import Cost, Finding, Fix
from kit.gpus import driver_runs, minimum_driver
from kit.published import choose_torch, torch_fix
from kit.recorded import recorded

RANK = 22
INSTEAD = "A newer CUDA toolkit would change nothing: torch does not use it, and it does not contain this driver."


def find(facts: Facts) -> Iterator[Finding]:
    torch, driver = facts.torch, facts.host.driver
    if torch is None or not torch.cuda or driver is None:
        return
    if driver_runs(driver.version, torch.cuda, facts.host.system) is not False:
        yield from _ptx(facts, driver)
        return
    oldest = minimum_driver(torch.cuda, facts.host.system)
    update = _update(facts, f"NVIDIA driver {oldest} or newer")
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


def _ptx(facts: Facts, driver: Driver) -> Iterator[Finding]:
    for extension in facts.extensions if facts.host.gpus else ():
        for it in unserved(extension, facts):
            if not it.for_driver or judge(extension, facts).failure:
                continue
            yield Finding(
                "driver-too-old",
                "error",
                extension.package,
                f"The NVIDIA driver is too old for the code in {extension.key}. For the {it.gpu.name} it holds PTX "
                f"alone ({it.held}), which driver {driver.version} cannot compile.",
                (f"{driver.source or 'driver'}: {driver.version}, for CUDA {driver.cuda}", *it.evidence),
                (*fixes(extension, facts, it.capability)[:2], _update(facts, "a newer NVIDIA driver")),
            )


def _update(facts: Facts, which: str) -> Fix:
    where = " on the host of this container" if facts.host.container else ""
    return Fix("update-driver", f"Install {which}{where}", cost=Cost(restart=True))


def example() -> Facts:
    facts = recorded("healthy-gpu")
    driver = Driver("535.183.01", "12.2", "NVML")
    return dataclasses.replace(facts, host=dataclasses.replace(facts.host, driver=driver))
