"""Reductions that are made of others: standard deviation, softmax, log of the sum of exponentials."""

from .logsumexp import scatter_logsumexp
from .softmax import scatter_log_softmax, scatter_softmax
from .std import scatter_std

__all__ = ["scatter_std", "scatter_logsumexp", "scatter_softmax", "scatter_log_softmax"]
