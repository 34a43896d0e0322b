"""神经网络：名字与 ``torch.nn`` 相同。"""

# ruff: noqa: I001  名单一行排满，不逐行拆开

from tinygrad_llm.absent import attributes
from tinygrad_llm.nn import functional, init, utils
from tinygrad_llm.nn.activation_layers import GELU, ReLU, Sigmoid, SiLU, Softmax, Tanh
from tinygrad_llm.nn.containers import ModuleDict, ModuleList, Sequential
from tinygrad_llm.nn.convolution_layers import (
    Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, Fold, Unfold,
)  # fmt: skip
from tinygrad_llm.nn.layers import Dropout, Embedding, Identity, Linear
from tinygrad_llm.nn.loss_layers import CrossEntropyLoss, MSELoss
from tinygrad_llm.nn.module import Module, Parameter
from tinygrad_llm.nn.norm_layers import LayerNorm, RMSNorm
from tinygrad_llm.nn.padding_layers import (
    CircularPad1d, CircularPad2d, CircularPad3d, ConstantPad1d, ConstantPad2d, ConstantPad3d, ReflectionPad1d,
    ReflectionPad2d, ReflectionPad3d, ReplicationPad1d, ReplicationPad2d, ReplicationPad3d, ZeroPad1d, ZeroPad2d,
    ZeroPad3d,
)  # fmt: skip

__getattr__ = attributes(__name__, ("parallel",), {"DataParallel": "parallel"})

__all__ = [
    "GELU", "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d", "ConstantPad3d",
    "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "CrossEntropyLoss",
    "Dropout", "Embedding", "Fold", "Identity", "LayerNorm", "Linear", "MSELoss", "Module", "ModuleDict",
    "ModuleList", "Parameter", "RMSNorm", "ReLU", "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d",
    "ReplicationPad1d", "ReplicationPad2d", "ReplicationPad3d", "Sequential", "SiLU", "Sigmoid", "Softmax", "Tanh",
    "Unfold", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d", "functional", "init", "utils",
]  # fmt: skip
