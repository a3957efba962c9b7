"""What the compiled 2.1.2 calls where its operators are not there.  Here they always are: nothing calls these."""

from typing import Any


def cuda_version_placeholder() -> int:
    """-1: there are no kernels for CUDA."""
    return -1


def scatter_placeholder(*_: Any) -> Any:
    """Raises ImportError, as do the others."""
    raise ImportError("this torch_scatter has no compiled operators, and needs none")


scatter_arg_placeholder = segment_coo_placeholder = segment_coo_arg_placeholder = scatter_placeholder
segment_csr_placeholder = segment_csr_arg_placeholder = scatter_placeholder
gather_coo_placeholder = gather_csr_placeholder = scatter_placeholder
