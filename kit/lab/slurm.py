"""A Slurm for the tests: the programs of Debian's packages, which the tests start and end themselves."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping

from kit.lab.place import Lab, LeftOut, StepFailed

PACKAGES = ("slurm-wlm", "munge")
PROGRAMS = ("slurmctld", "slurmd", "munged", "srun", "sbatch", "salloc", "sinfo", "squeue", "scontrol")
SYSTEM = ("/usr/sbin", "/sbin")


def missing(env: Mapping[str, str]) -> list[str]:
    """The programs that are not here.  Daemons lie where an ordinary user's PATH does not lead."""
    path = os.pathsep.join([env.get("PATH", os.defpath), *SYSTEM])
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


def depends(lab: Lab) -> str:
    """What the step's stamp is a hash of; OSError, and so none, where a program is missing."""
    lacks = missing(lab.environ)
    if lacks and sys.platform == "linux":
        raise FileNotFoundError(f"not here: {', '.join(lacks)}")
    return " ".join(PACKAGES)


def get_slurm(lab: Lab) -> str:
    """Slurm and munge as they are here, or the system's packages; their services are not started."""
    if sys.platform != "linux":
        raise LeftOut("Slurm runs on Linux; its tests are not run here")
    if missing(lab.environ):
        install(lab)
    lacks = missing(lab.environ)
    if lacks:
        raise LeftOut(
            f"no Slurm is here ({', '.join(lacks)}), and it could not be installed: the tests in test_nodes_slurm.py "
            f"will fail; as root on Debian or Ubuntu: apt-get install {' '.join(PACKAGES)}"
        )
    return "Slurm and munge are here"


def install(lab: Lab) -> None:
    """Debian's packages, where this user may install some.  RUNLEVEL: their services stay off in a container."""
    apt = lab.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return
    env = {**lab.install_env(), "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    lab.attempt("slurm", [apt, "update", "-q"], env)  # old lists may still do
    if not lab.attempt("slurm", [apt, "install", "-y", "-q", "--no-install-recommends", *PACKAGES], env):
        raise StepFailed(f"apt-get could not install {' '.join(PACKAGES)}")
