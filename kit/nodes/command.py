"""The command ``kit nodes``: its arguments, and what it writes."""

import json
import sys
from typing import Any, Callable, Optional

from kit.errors import KitError
from kit.nodes import check, record
from kit.nodes.folder import save
from kit.nodes.records import Nodes, Tell

LIMIT = 60.0  # seconds that a node may take


def add_arguments(parser: Any) -> None:
    """What ``kit nodes`` is given."""
    parser.add_argument("dir", metavar="DIR", nargs="?", help="read one facts file for each node; nothing is asked")
    parser.add_argument("--engine", metavar="local|slurm|srun|pbs|pbsdsh|ADDRESS", help="who asks; local by default")
    parser.add_argument("--nodes", metavar="LIST|N", help="names, e.g. node[001-128], or how many")
    parser.add_argument("--python", metavar="EXE", help="the interpreter to examine on every node")
    parser.add_argument("--limit", metavar="S", type=float, default=LIMIT, help="seconds a node may take; 60")
    parser.add_argument("--workers", metavar="N", type=int, help="with the engine local: how many")
    parser.add_argument("--partition", metavar="P", help="of Slurm")
    parser.add_argument("--queue", metavar="Q", help="of PBS")
    parser.add_argument("--account", metavar="A", help="whom the scheduler charges")
    parser.add_argument("--walltime", metavar="T", help="how long the job may take, e.g. 0:10:00")
    parser.add_argument(
        "--gpus", metavar="N", type=int, help="of each node; most schedulers hide what is not asked for"
    )
    parser.add_argument("--option", metavar="...", action="append", default=[], help="one more for the scheduler")
    parser.add_argument("--baseline", metavar="FILE", help="compare with what --record wrote, or with a facts file")
    parser.add_argument("--record", metavar="FILE", help="write what these nodes are, as a baseline")
    parser.add_argument("--verify", action="store_true", help="also run kit verify on every node")
    parser.add_argument("--bench", action="store_true", help="also a short benchmark on every node")
    parser.add_argument("--gpu", metavar="CC", help="a compute capability, e.g. 12.0")
    parser.add_argument("--html", metavar="FILE", help="also write a page")
    parser.add_argument("-o", "--output", metavar="DIR", help="keep the facts files there")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout and nothing else")


def run(arguments: Any, write: Optional[Callable[[str], Any]] = None, tell: Optional[Tell] = None) -> int:
    """Do what the arguments say: 1 where anything was found."""
    from kit import show

    nodes = result(arguments, tell)
    text = json.dumps(nodes.to_dict()) if arguments.json else show.text(nodes)
    (write or sys.stdout.write)(text + "\n")
    return int(nodes.verdict != "healthy")


def result(arguments: Any, tell: Optional[Tell] = None) -> Nodes:
    """The same for a notebook: the answer, with the files written that the arguments name."""
    nodes = _checked(arguments, tell)
    if arguments.record is not None:
        record(nodes, arguments.record)
    if arguments.html is not None:
        from kit.show.nodes import nodes_page

        save(nodes_page(nodes), arguments.html)
    return nodes


def _checked(arguments: Any, tell: Optional[Tell]) -> Nodes:
    given = vars(arguments)
    if arguments.dir is not None:
        also = [name for name in ("engine", "python", "verify", "bench", "output", "workers") if given[name]]
        if also:
            raise KitError(f"--{also[0]} asks nodes, and DIR only reads what they have answered; give one of them")
    elif arguments.limit <= 0:
        raise KitError("--limit is the seconds that a node may take, e.g. 60")
    return check(
        arguments.dir,
        engine=arguments.engine,
        nodes=arguments.nodes,
        gpu=arguments.gpu,
        baseline=arguments.baseline,
        tell=tell,
        python=arguments.python,
        limit=arguments.limit,
        verify=arguments.verify,
        bench=arguments.bench,
        workers=arguments.workers,
        partition=arguments.partition,
        queue=arguments.queue,
        account=arguments.account,
        walltime=arguments.walltime,
        gpus=arguments.gpus,
        options=tuple(arguments.option),
        keep=arguments.output,
    )
