"""无状态的层：与 ``torch.nn.functional`` 同名同义。

这里只是门面，每个函数写在旁边按主题分开的文件里。下一站：``layers.py``。
"""

# ruff: noqa: I001  名单一行排满，不逐行拆开

from __future__ import annotations

from tinygrad_llm.absent import attributes
from tinygrad_llm.nn.activations import (
    celu, celu_, elu, elu_, gelu, glu, hardshrink, hardsigmoid, hardswish, hardtanh, hardtanh_, leaky_relu, leaky_relu_,
    logsigmoid, mish, prelu, relu, relu6, relu_, rrelu, rrelu_, selu, selu_, sigmoid, silu, softplus, softshrink,
    softsign, tanh, tanhshrink, threshold, threshold_,
)  # fmt: skip
from tinygrad_llm.nn.adaptive import (
    adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d, adaptive_max_pool1d, adaptive_max_pool2d,
    adaptive_max_pool3d, fractional_max_pool2d, fractional_max_pool3d,
)  # fmt: skip
from tinygrad_llm.nn.attention import rotary, scaled_dot_product_attention, sliding_attention
from tinygrad_llm.nn.basics import bilinear, linear
from tinygrad_llm.nn.class_losses import cross_entropy, nll_loss
from tinygrad_llm.nn.convolution import (
    conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d, fold, unfold,
)  # fmt: skip
from tinygrad_llm.nn.ctc import ctc_loss
from tinygrad_llm.nn.distances import cosine_similarity, normalize, pairwise_distance, pdist
from tinygrad_llm.nn.dropouts import alpha_dropout, dropout, dropout1d, dropout2d, dropout3d, feature_alpha_dropout
from tinygrad_llm.nn.embedding_bag import embedding_bag
from tinygrad_llm.nn.grid import affine_grid, grid_sample
from tinygrad_llm.nn.likelihood_losses import (
    binary_cross_entropy, binary_cross_entropy_with_logits, gaussian_nll_loss, kl_div, poisson_nll_loss,
    soft_margin_loss,
)  # fmt: skip
from tinygrad_llm.nn.linear_cross_entropy import linear_cross_entropy, token_loss
from tinygrad_llm.nn.lookups import embedding, one_hot
from tinygrad_llm.nn.losses import huber_loss, l1_loss, mse_loss, smooth_l1_loss
from tinygrad_llm.nn.margin_losses import (
    cosine_embedding_loss, hinge_embedding_loss, margin_ranking_loss, multi_margin_loss, multilabel_margin_loss,
    multilabel_soft_margin_loss, triplet_margin_loss, triplet_margin_with_distance_loss,
)  # fmt: skip
from tinygrad_llm.nn.multihead import multi_head_attention_forward
from tinygrad_llm.nn.normalization import batch_norm, group_norm, instance_norm, local_response_norm
from tinygrad_llm.nn.norms import layer_norm, rms_norm
from tinygrad_llm.nn.padding import pad
from tinygrad_llm.nn.pooling import (
    avg_pool1d, avg_pool2d, avg_pool3d, lp_pool1d, lp_pool2d, lp_pool3d, max_pool1d, max_pool2d, max_pool3d,
    max_unpool1d, max_unpool2d, max_unpool3d,
)  # fmt: skip
from tinygrad_llm.nn.pooling_indices import (
    adaptive_max_pool1d_with_indices, adaptive_max_pool2d_with_indices, adaptive_max_pool3d_with_indices,
    fractional_max_pool2d_with_indices, fractional_max_pool3d_with_indices, max_pool1d_with_indices,
    max_pool2d_with_indices, max_pool3d_with_indices,
)  # fmt: skip
from tinygrad_llm.nn.resampling import interpolate, upsample, upsample_bilinear, upsample_nearest
from tinygrad_llm.nn.shuffles import channel_shuffle, pixel_shuffle, pixel_unshuffle
from tinygrad_llm.nn.softmaxes import gumbel_softmax, log_softmax, softmax, softmin

__getattr__ = attributes(__name__)

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool1d_with_indices", "adaptive_max_pool2d", "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d", "adaptive_max_pool3d_with_indices", "affine_grid", "alpha_dropout", "avg_pool1d",
    "avg_pool2d", "avg_pool3d", "batch_norm", "bilinear", "binary_cross_entropy", "binary_cross_entropy_with_logits",
    "celu", "celu_", "channel_shuffle", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "cosine_embedding_loss", "cosine_similarity", "cross_entropy", "ctc_loss", "dropout",
    "dropout1d", "dropout2d", "dropout3d", "elu", "elu_", "embedding", "embedding_bag", "feature_alpha_dropout", "fold",
    "fractional_max_pool2d", "fractional_max_pool2d_with_indices", "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices", "gaussian_nll_loss", "gelu", "glu", "grid_sample", "group_norm",
    "gumbel_softmax", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "hardtanh_", "hinge_embedding_loss",
    "huber_loss", "instance_norm", "interpolate", "kl_div", "l1_loss", "layer_norm", "leaky_relu", "leaky_relu_",
    "linear", "linear_cross_entropy", "local_response_norm", "log_softmax", "logsigmoid", "lp_pool1d", "lp_pool2d",
    "lp_pool3d", "margin_ranking_loss", "max_pool1d", "max_pool1d_with_indices", "max_pool2d",
    "max_pool2d_with_indices", "max_pool3d", "max_pool3d_with_indices", "max_unpool1d", "max_unpool2d", "max_unpool3d",
    "mish", "mse_loss", "multi_head_attention_forward", "multi_margin_loss", "multilabel_margin_loss",
    "multilabel_soft_margin_loss", "nll_loss", "normalize", "one_hot", "pad", "pairwise_distance", "pdist",
    "pixel_shuffle", "pixel_unshuffle", "poisson_nll_loss", "prelu", "relu", "relu6", "relu_", "rms_norm", "rotary",
    "rrelu", "rrelu_", "scaled_dot_product_attention", "selu", "selu_", "sigmoid", "silu", "sliding_attention",
    "smooth_l1_loss", "soft_margin_loss", "softmax", "softmin", "softplus", "softshrink", "softsign", "tanh",
    "tanhshrink", "threshold", "threshold_", "token_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss",
    "unfold", "upsample", "upsample_bilinear", "upsample_nearest",
]  # fmt: skip
