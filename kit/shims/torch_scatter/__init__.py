"""torch_scatter without a compiler: all of its functions, with operators that torch has.

This folder is what ``import torch_scatter`` finds while the kit's replacement is switched on.  So it imports torch
and itself, nothing else.  Shapes, types and results are those of torch_scatter 2.1.2.  Where that is wrong (NaN and
-inf in min and max, the gradient of a product with a zero, second derivatives of segments, an index out of range, to
which it writes wherever that leads) the functions' descriptions say what happens here.
"""

from . import _operators as _operators
from .composite import scatter_log_softmax, scatter_logsumexp, scatter_softmax, scatter_std
from .scatter import scatter, scatter_add, scatter_max, scatter_mean, scatter_min, scatter_mul, scatter_sum
from .segment_coo import (
    gather_coo,
    segment_add_coo,
    segment_coo,
    segment_max_coo,
    segment_mean_coo,
    segment_min_coo,
    segment_sum_coo,
)
from .segment_csr import (
    gather_csr,
    segment_add_csr,
    segment_csr,
    segment_max_csr,
    segment_mean_csr,
    segment_min_csr,
    segment_sum_csr,
)

__version__ = "2.1.2+kit"

__all__ = [
    "scatter_sum",
    "scatter_add",
    "scatter_mul",
    "scatter_mean",
    "scatter_min",
    "scatter_max",
    "scatter",
    "segment_sum_csr",
    "segment_add_csr",
    "segment_mean_csr",
    "segment_min_csr",
    "segment_max_csr",
    "segment_csr",
    "gather_csr",
    "segment_sum_coo",
    "segment_add_coo",
    "segment_mean_coo",
    "segment_min_coo",
    "segment_max_coo",
    "segment_coo",
    "gather_coo",
    "scatter_std",
    "scatter_logsumexp",
    "scatter_softmax",
    "scatter_log_softmax",
    "__version__",
]
