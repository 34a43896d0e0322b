"""训练时的小工具：与 ``torch.nn.utils`` 同名同义。"""

from tinygrad_llm.absent import attributes
from tinygrad_llm.nn.utils import rnn, stateless
from tinygrad_llm.nn.utils.clip_grad import (
    clip_grad_norm,
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
)  # fmt: skip
from tinygrad_llm.nn.utils.convert_parameters import parameters_to_vector, vector_to_parameters

__getattr__ = attributes(
    __name__,
    ("fusion", "parametrizations", "parametrize", "prune"),
    {
        "fuse_conv_bn_eval": "fusion", "fuse_conv_bn_weights": "fusion", "fuse_linear_bn_eval": "fusion",
        "fuse_linear_bn_weights": "fusion", "skip_init": "fusion",
        "remove_spectral_norm": "spectral_normalization", "remove_weight_norm": "weight_normalization",
        "spectral_norm": "spectral_normalization", "weight_norm": "weight_normalization",
    },
)  # fmt: skip

__all__ = [
    "clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm",
    "parameters_to_vector", "rnn", "stateless", "vector_to_parameters",
]  # fmt: skip
