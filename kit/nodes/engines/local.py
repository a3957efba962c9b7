"""Asks this machine, as often as there are workers: the engine of a workstation, and the rehearsal for a cluster."""

from collections.abc import Iterator
from typing import Optional

from kit.errors import KitError
from kit.nodes.engines import asking, workers
from kit.nodes.place import refuse_to_compute
from kit.nodes.records import Answer, Asked, Tell

MOST = 64


def local(asked: Asked, tell: Optional[Tell] = None) -> Iterator[Answer]:
    """A Dask cluster inside this process, whose workers start the one file as child processes of this Python."""
    number = asked.workers or (asked.nodes if isinstance(asked.nodes, int) else None) or 1
    if isinstance(asked.nodes, tuple):
        raise KitError("--engine local knows no names of nodes; --workers N asks this machine N times")
    if not 1 <= number <= MOST:
        raise KitError(f"--workers {number}: from 1 to {MOST} on one machine")
    if asked.bench or asked.verify:
        refuse_to_compute(
            "the active check", instead="leave --bench and --verify out, or ask the nodes: --engine slurm"
        )
    distributed = asking.needs("distributed")
    cluster = distributed.LocalCluster(
        n_workers=number, threads_per_worker=1, processes=False, dashboard_address=None, silence_logs="ERROR"
    )
    with cluster, workers.connected(cluster) as client:
        order = sorted(cluster.workers.items())
        addresses = {f"local{i}": worker.address for i, (_, worker) in enumerate(order, 1)}
        yield from workers.ask(client, addresses, Asked(**{**vars(asked), "nodes": None}), tell)
