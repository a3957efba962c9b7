"""The schedulers of clusters: whether a process runs in one of their jobs, and how to ask for a node with a GPU."""

import re
from collections.abc import Iterator, Mapping
from typing import Callable, Optional

# What its jobs have in the environment, and the command that hands in a job: a machine with that and no job is one
# from which people start jobs, a login node.
_KNOWN = (("slurm", "SLURM_JOB_ID", "sbatch"), ("pbs", "PBS_JOBID", "qsub"), ("lsf", "LSB_JOBID", "bsub"))

# A distribution's package of Slurm alone makes no cluster: it needs one of these, or SLURM_CONF.  Sites that build
# their own put it elsewhere than here.
_PACKAGED = ("/usr/bin/sbatch", "/bin/sbatch")
_CONFIGURED = ("/etc/slurm/slurm.conf", "/etc/slurm-llnl/slurm.conf", "/run/slurm/conf/slurm.conf")

# Options of salloc and sbatch that srun does not read from the environment; what it does read, it needs not be told.
# SLURM_ACCOUNT, LSB_DEFAULTQUEUE and PBS_DEFAULT are read by srun, bsub and qsub themselves.
_OF_SRUN = ("account", "partition", "qos")


def where(
    env: Mapping[str, str], which: Callable[[str], Optional[str]], exists: Callable[[str], bool], host: str
) -> tuple[Optional[str], bool, Optional[str]]:
    """(scheduler, whether this process runs in one of its jobs, the job that it holds on other machines).

    ``which`` finds a command, ``exists`` tells whether there is a file, ``host`` is the name of this machine.
    """
    for name, variable, command in _KNOWN:
        job = env.get(variable)
        if job is not None:
            elsewhere = name == "slurm" and _held_elsewhere(env, host)
            return name, not elsewhere, job if elsewhere else None
        program = which(command)
        if program in _PACKAGED and "SLURM_CONF" not in env and not any(map(exists, _CONFIGURED)):
            continue
        if program:
            return name, False, None
    return None, False, None


def _held_elsewhere(env: Mapping[str, str], host: str) -> bool:
    """Whether this is the shell of an ``salloc`` on another machine than those of the allocation.

    ``salloc`` sets SLURM_JOB_ID where it was typed, most often on the login node.  What slurmd starts, a batch script
    or a step, has SLURMD_NODENAME besides.
    """
    if "SLURMD_NODENAME" in env or not env.get("SLURM_JOB_NODELIST"):
        return False
    return host.partition(".")[0] not in (n.partition(".")[0] for n in expanded(env["SLURM_JOB_NODELIST"]))


def expanded(names: str) -> Iterator[str]:
    """Slurm's compact notation as single names: ``"node[01-03,7],gpu1"`` -> node01, node02, node03, node7, gpu1."""
    for part in re.findall(r"[^,\[]+(?:\[[^\]]*\][^,\[]*)*", names):
        bracket = re.search(r"\[([^\]]*)\]", part)
        if bracket is None:
            yield part
            continue
        before, after = part[: bracket.start()], part[bracket.end() :]
        for piece in bracket.group(1).split(","):
            first, _, last = piece.partition("-")
            if not (first.isdigit() and (last or first).isdigit()):
                continue
            for number in range(int(first), int(last or first) + 1):
                yield from expanded(f"{before}{number:0{len(first)}d}{after}")


def interactive(scheduler: Optional[str], variables: Mapping[str, str]) -> Optional[tuple[str, ...]]:
    """The command that asks ``scheduler`` for a shell on a node with a GPU, for an hour.

    The account, the partition and the quality of service are those that ``variables``, of the environment, give to
    salloc or sbatch.
    """
    if scheduler == "slurm":
        own = [
            f"--{option}={value}"
            for option in _OF_SRUN
            for value in [_of_srun(option, variables)]
            if value and f"SLURM_{option.upper()}" not in variables
        ]
        return ("srun", *own, "--gres=gpu:1", "--time=1:00:00", "--pty", "bash", "-i")
    if scheduler == "pbs":
        return ("qsub", "-I", "-l", "select=1:ngpus=1", "-l", "walltime=1:00:00")
    if scheduler == "lsf":
        return ("bsub", "-Is", "-gpu", "num=1", "-W", "1:00", "bash")
    return None


def _of_srun(option: str, variables: Mapping[str, str]) -> Optional[str]:
    return variables.get(f"SALLOC_{option.upper()}") or variables.get(f"SBATCH_{option.upper()}")
