"""无状态的层：与 ``torch.nn.functional`` 同名同义。

这里只是门面，每个函数写在旁边按主题分开的文件里。下一站：``layers.py``。
"""

from __future__ import annotations

from tinygrad_llm.absent import attributes
from tinygrad_llm.nn.activations import gelu, log_softmax, relu, sigmoid, silu, softmax, tanh
from tinygrad_llm.nn.attention import rotary, scaled_dot_product_attention
from tinygrad_llm.nn.basics import embedding, linear, one_hot
from tinygrad_llm.nn.class_losses import cross_entropy, nll_loss
from tinygrad_llm.nn.dropouts import dropout
from tinygrad_llm.nn.losses import l1_loss, mse_loss
from tinygrad_llm.nn.norms import layer_norm, rms_norm

__getattr__ = attributes(__name__)

__all__ = [
    "cross_entropy", "dropout", "embedding", "gelu", "l1_loss", "layer_norm", "linear", "log_softmax", "mse_loss",
    "nll_loss", "one_hot", "relu", "rms_norm", "rotary", "scaled_dot_product_attention", "sigmoid", "silu", "softmax",
    "tanh",
]  # fmt: skip
