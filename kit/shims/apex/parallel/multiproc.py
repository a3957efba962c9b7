"""``python -m apex.parallel.multiproc script.py ...`` refuses, and names the torchrun command line."""

import shlex
import sys
from collections.abc import Sequence


def torchrun_command(arguments: Sequence[str]) -> str:
    """The torchrun command line for a script and its arguments; apex's own ``--world-size`` is taken out."""
    script, processes = list(arguments), "gpu"
    if "--world-size" in script[:-1]:
        at = script.index("--world-size")
        processes = script[at + 1]
        del script[at : at + 2]
    return shlex.join(["torchrun", f"--nproc_per_node={processes}", *script])


if __name__ == "__main__":
    raise SystemExit(
        "apex.parallel.multiproc is replaced by torchrun.  Run\n"
        f"    {torchrun_command(sys.argv[1:])}\n"
        "and read RANK, LOCAL_RANK and WORLD_SIZE from the environment: torchrun passes no --rank or --world-size."
    )
