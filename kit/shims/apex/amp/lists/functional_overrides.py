"""apex's lists for torch.nn.functional.  They are read at ``amp.init``; what a script adds before is heeded."""

import torch.nn.functional

MODULE = torch.nn.functional

FP16_FUNCS = [
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "conv_tbc",
    "linear",
]

FP32_FUNCS = [
    "interpolate",
    "grid_sample",
    # pointwise
    "softplus",
    "softmin",
    "log_softmax",
    "softmax",
    "gelu",
    # normalization
    "layer_norm",
    "group_norm",
    "local_response_norm",
    "normalize",
    "cosine_similarity",
    # losses
    "poisson_nll_loss",
    "cosine_embedding_loss",
    "cross_entropy",
    "hinge_embedding_loss",
    "kl_div",
    "l1_loss",
    "mse_loss",
    "margin_ranking_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "multi_margin_loss",
    "nll_loss",
    "binary_cross_entropy_with_logits",
    "smooth_l1_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
    "ctc_loss",
]

BANNED_FUNCS = [
    (
        "binary_cross_entropy",
        "amp does not work out-of-the-box with `F.binary_cross_entropy` or `torch.nn.BCELoss`: the output of the "
        "function before it has to be float32.\nWhere a sigmoid comes right before it, use "
        "torch.nn.BCEWithLogitsLoss, which is both in one and safe; or call\n"
        "    amp.register_float_function(torch, 'sigmoid')\nbefore amp.initialize; "
        "or pass allow_banned=True to amp.init().",
    )
]
