"""apex without a compiler: its mixed precision, parallel wrappers, fused optimizers and norms, on plain torch.

This folder is what ``import apex`` finds while the kit's replacement is switched on, as a package of its own or, for
a part that an installed apex lacks, as one more folder of that apex.  So it imports torch and itself, nothing else.
"""

import warnings

from . import amp, fp16_utils, normalization, optimizers, parallel

__all__ = ["amp", "fp16_utils", "normalization", "optimizers", "parallel"]


class DeprecatedFeatureWarning(FutureWarning):
    """The category that apex gave its own warnings; scripts filter by it."""


def deprecated_warning(msg: str) -> None:
    warnings.warn(msg, DeprecatedFeatureWarning)
