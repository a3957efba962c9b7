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
In text: what CUDA, the container tools and torch say of the driver's version.

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
from kit.failures import _told, _told_prose
from kit.failures._loading import judge
from kit.failures.gpu_arch_missing import fixes, unserved
from kit.findings import Cost, Finding, Fix
from kit.gpus import driver_runs, minimum_driver
from kit.published import choose_torch, torch_fix
from kit.recorded import recorded
from kit.report import Report, Told

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


# (words to look for, pattern, confidence, what it means).
_SIGNS = (
    (
        ("driver version is insufficient", "insufficientdriver", "driver on your system is too old"),
        r"driver version is insufficient for cuda[^\n]*|cudaErrorInsufficientDriver"
        r"|nvidia driver on your system is too old[^\n]*",
        0.95,
        "torch asks the driver for a newer CUDA than it supports.",
    ),
    (
        (
            "unsatisfied condition: cuda",
            "unsatisfied condition: driver",
            "update your gpu driver",
            "please update your driver",
        ),
        r"unsatisfied condition: (?:cuda|driver)[^\n]*|please update your (?:gpu )?driver[^\n]*",
        0.93,
        "The container's CUDA needs a newer driver on the host.",
    ),
    (
        (
            "unsupported toolchain",
            "unsupported ptx version",
            "cudaerrorunsupportedptxversion",
            "ptx jit compilation failed",
        ),
        r"ptx was compiled with an unsupported toolchain|unsupported ptx version|cudaErrorUnsupportedPtxVersion"
        r"|ptx jit compilation failed",
        0.9,
        "It holds code in a form (PTX) that this driver cannot compile, for it was made with a newer CUDA.",
    ),
    (
        ("forward compatibility", "compatnotsupportedondevice"),
        r"forward compatibility was attempted[^\n]*|cudaErrorCompatNotSupportedOnDevice",
        0.75,
        "The container brings its own libcuda for a newer CUDA, which works on data centre GPUs alone.",
    ),
    (
        ("unsupported display driver", "systemdrivermismatch"),
        r"unsupported display driver / cuda driver combination|cudaErrorSystemDriverMismatch",
        0.6,
        "The driver's library and its kernel module are of different versions.",
    ),
    (
        (
            "minimum required driver",
            "requires driver version",
            "driver version or newer",
            "requires an nvidia driver",
        ),
        r"minimum required (?:nvidia )?driver[^\n]*|requires (?:an )?(?:nvidia )?driver (?:version )?(?:>="
        r"|\d{3})[^\n]*",
        0.75,
        "A program asks for a newer driver.",
    ),
)


def told(report: Report) -> Iterator[Told]:
    plain = _told_prose.said(report, "driver-too-old")
    if plain is not None:
        says = f"That is what the text speaks of.{_here(report)}"
        title = "The NVIDIA driver is too old for this program"
        yield Told(plain[0], "driver", f"{title}. {says}", (plain[1],), tuple(_newer(report, False)))
    for words, pattern, confidence, says in _SIGNS:
        if not report.has(*words):
            continue
        hit = report.last(pattern)
        if hit:
            ptx = "toolchain" in pattern
            yield Told(
                confidence,
                "driver",
                f"The NVIDIA driver is too old for this program. {says}{_here(report)}",
                (hit,),
                tuple(_newer(report, ptx)),
            )
            return


def _here(report: Report) -> str:
    driver = report.facts.host.driver
    if driver is not None and driver.version:
        return f" The driver here is {driver.version}" + (f", for CUDA {driver.cuda}." if driver.cuda else ".")
    found = report.hit(r"found version (?P<code>\d{4,5})\b") if report.has("found version") else None
    if found is None:
        return ""
    code = int(found["code"])
    return f" The driver here is for CUDA {code // 1000}.{code % 1000 // 10}."


def _newer(report: Report, ptx: bool) -> Iterator[Fix]:
    where = " on the host" if report.has("docker", "container", "nvcr.io", "apptainer", "singularity") else ""
    yield _told.fix("update-driver", f"Install a newer NVIDIA driver{where}, and start the machine again")
    if ptx:
        package = next((p for p in (_told.named(report),) if p), "the extension")
        why = f"Compile {package} with a CUDA that the driver supports, for this GPU by its own number (no PTX)"
        yield _told.fix("rebuild-extension", why)
    yield _told.torch_for(report, "Install a torch that was built for a CUDA that this driver supports")


def example() -> Facts:
    facts = recorded("healthy-gpu")
    driver = Driver("535.183.01", "12.2", "NVML")
    return dataclasses.replace(facts, host=dataclasses.replace(facts.host, driver=driver))
