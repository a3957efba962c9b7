"""Where am I: a scheduler's job, a login node, a container; and how to come to a node that may compute."""

import os
import shlex
from collections.abc import Mapping
from typing import Optional

from kit import schedulers
from kit.collect.host import Reader, uname
from kit.collect.run import run
from kit.errors import KitError
from kit.record import Record

_NAMES = {"slurm": "Slurm", "pbs": "PBS", "lsf": "LSF"}


class Place(Record):
    """Where this process runs.

    ``scheduler`` is ``slurm``, ``pbs``, ``lsf`` or None, ``job`` whether this runs in one of its jobs.
    ``allocation`` is the job that this session holds on other nodes: the shell of an ``salloc``.  ``command`` asks
    for a shell on a node with a GPU.
    """

    scheduler: Optional[str] = None
    job: bool = False
    allocation: Optional[str] = None
    container: Optional[str] = None
    command: tuple[str, ...] = ()

    @property
    def login(self) -> bool:
        """A login node: the scheduler's commands are here, and this runs in none of its jobs."""
        return self.scheduler is not None and not self.job

    @property
    def words(self) -> str:
        """One line for a person."""
        name = _NAMES.get(self.scheduler or "", "")
        inside = f", in a container ({self.container})" if self.container else ""
        if self.allocation:
            return (
                f"a login node: job {self.allocation} of {name} is yours, and this does not run on its nodes{inside}"
            )
        if self.login:
            return f"a login node: {name} is here, and this runs in none of its jobs{inside}"
        if self.job:
            return f"a node in a job of {name}{inside}"
        return f"a container ({self.container})" if self.container else "a machine without a scheduler"

    def __str__(self) -> str:
        return f"{self.words}; {shlex.join(self.command)} gets a GPU" if self.command else self.words


def here(env: Optional[Mapping[str, str]] = None, root: str = "/") -> Place:
    """Where this process runs."""
    env = os.environ if env is None else env
    reader = Reader("", (), env, root, run)
    scheduler, job, allocation = schedulers.where(env, reader.which, reader.exists, uname()[1])
    container = reader.container()
    command = () if job else schedulers.interactive(scheduler, env) or ()
    if allocation:
        command = ("srun", "--pty", "bash", "-i")  # a step on the nodes that are held already
    return Place(scheduler, job, allocation, container, command)


def refuse_to_compute(
    what: str, place: Optional[Place] = None, instead: str = "say --here to run it all the same"
) -> None:
    """Raise KitError on a login node: it is for all users, and its numbers are those of no node that computes.

    ``what`` says what would run: ``"the benchmark"``; ``instead`` what else there is to do.
    """
    place = here() if place is None else place
    if place.login:
        raise KitError(
            f"{what} is not run here: this is {place.words}; get a node with `{shlex.join(place.command)}`, "
            f"or {instead}"
        )
