"""Asks a node through a job of its own, in which a Dask worker runs: dask-jobqueue's SLURMCluster and PBSCluster.

Every job is bound to one node, and its worker has the node's name: so it is known who gave no answer.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any, Optional

from kit.errors import KitError
from kit.nodes.engines import asking, inventory, workers
from kit.nodes.records import Answer, Asked, Tell

START = 30.0  # seconds beyond the limit that a job may wait for its node
# For the worker and what it starts: that reads files, and imports torch where it is in doubt; more where it computes.
MEMORY, COMPUTING = "2 GB", "8 GB"


def slurm(asked: Asked, tell: Optional[Tell] = None) -> Iterator[Answer]:
    """One job for each node, through ``sbatch``; nodes that Slurm holds to be down are not asked."""
    return _through_jobs("slurm", asked, tell)


def pbs(asked: Asked, tell: Optional[Tell] = None) -> Iterator[Answer]:
    """One job for each node, through ``qsub``; nodes that PBS holds to be down are not asked."""
    return _through_jobs("pbs", asked, tell)


def job_script(scheduler: str, asked: Asked, node: str) -> str:
    """The script of the job that is handed in for ``node``, as a person can read it before."""
    cluster_class = _cluster_class(scheduler)
    job = cluster_class.job_cls("tcp://SCHEDULER:8786", name=node, **_options(scheduler, asked, node))
    return str(job.job_script())


def _through_jobs(scheduler: str, asked: Asked, tell: Optional[Tell]) -> Iterator[Answer]:
    cluster_class = _cluster_class(scheduler)
    there = inventory.slurm(asked.partition or asked.queue) if scheduler == "slurm" else inventory.pbs()
    wanted = asking.chosen(asked, inventory.preferred(there))
    refused = inventory.refused(wanted, there, scheduler)
    yield from refused
    names = [name for name in wanted if name not in {answer.node for answer in refused}]
    if not names:
        return
    with _cluster(cluster_class, scheduler, asked, names) as cluster, workers.connected(cluster) as client:
        addresses = {}
        for name, address in _started(client, names, asked.limit + START, tell):
            addresses[name] = address
        for name in [name for name in names if name not in addresses]:
            yield Answer(
                name, "silent", why=f"its job did not start within {asked.limit + START:.0f} s{_why(cluster, name)}"
            )
        if addresses:
            plain = Asked(**{**vars(asked), "nodes": None, "options": ()})
            yield from workers.ask(client, addresses, plain, tell)


def _cluster_class(scheduler: str) -> Any:
    jobqueue = asking.needs("dask_jobqueue")
    return jobqueue.SLURMCluster if scheduler == "slurm" else jobqueue.PBSCluster


def _cluster(cluster_class: Any, scheduler: str, asked: Asked, names: Sequence[str]) -> Any:
    """A cluster that hands in one job for each of ``names``."""

    class OneOnEveryNode(cluster_class):  # type: ignore[misc]
        def new_worker_spec(self) -> dict[str, Any]:
            name = next(name for name in names if name not in self.worker_spec)
            spec = super().new_worker_spec()
            ((_, one),) = spec.items()
            directives = _options(scheduler, asked, name)
            return {name: {**one, "options": {**one["options"], **directives}}}

    options = _options(scheduler, asked, names[0])
    try:
        return OneOnEveryNode(n_workers=len(names), scheduler_options={"dashboard_address": ":0"}, **options)
    except (RuntimeError, OSError, ValueError) as error:
        raise KitError(f"the jobs cannot be handed in: {_said(error)}") from None


def _options(scheduler: str, asked: Asked, node: str) -> dict[str, Any]:
    """dask-jobqueue's options for the job of one node; what is given there in its configuration counts besides."""
    found: dict[str, Any] = {
        "cores": 1,
        "processes": 1,
        "memory": COMPUTING if asked.verify or asked.bench else MEMORY,
        "job_name": "kit-nodes",
        "walltime": asked.walltime or walltime(asked),
        "death_timeout": int(asked.limit + START),
        "account": asked.account,
        "queue": asked.partition or asked.queue,
    }
    if scheduler == "slurm":
        log = f"{asked.folder}/%x-%N.log" if asked.folder else "/dev/null"
        found["job_extra_directives"] = [
            f"--nodelist={node}",
            f"--output={log}",
            *([f"--gres=gpu:{asked.gpus}"] if asked.gpus else []),
            *asked.options,
        ]
    else:
        log = f"{asked.folder}/{node}.log" if asked.folder else "/dev/null"
        found["resource_spec"] = f"select=1:ncpus=1{of_pbs(asked)}:host={node}"
        found["job_extra_directives"] = ["-j oe", f"-o {log}", *asked.options]
    return found


def of_pbs(asked: Asked) -> str:
    """The GPUs of a chunk, as PBS writes them."""
    return f":ngpus={asked.gpus}" if asked.gpus else ""


def walltime(asked: Asked) -> str:
    """Hours, minutes and seconds that a job may take, when the user gives none: the limit and the way there."""
    seconds = int(asked.limit + START + asking.GRACE) + 60
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _started(client: Any, names: Sequence[str], limit: float, tell: Optional[Tell]) -> Iterator[tuple[str, str]]:
    """(node, address of its worker) of the jobs that have started; ends when all have, or the time is up."""
    end = time.monotonic() + limit
    found: set[str] = set()
    while len(found) < len(names) and time.monotonic() < end:
        for address, worker in workers.known(client).items():
            name = str(worker.get("name"))
            if name in names and name not in found:
                found.add(name)
                yield name, address
        if tell is not None:
            tell("waiting for the jobs", len(found), len(names))
        time.sleep(0.2)


def _why(cluster: Any, name: str) -> str:
    """What the scheduler says of a job that waits."""
    job = cluster.workers.get(name)
    said = inventory.waiting(job.job_id) if job is not None and job.job_id else ""
    return f": {said}" if said else ""


def _said(error: Exception) -> str:
    """What the scheduler's command said, out of dask-jobqueue's many lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    after = lines[lines.index("stderr:") + 1 :] if "stderr:" in lines else lines
    return " ".join(after or lines)[:400]
