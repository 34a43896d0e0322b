"""神经网络：名字与 ``torch.nn`` 相同。"""

# ruff: noqa: I001  名单一行排满，不逐行拆开

from tinygrad_llm.nn import functional, init, utils
from tinygrad_llm.nn.layers import (
    GELU, CrossEntropyLoss, Dropout, Embedding, Identity, LayerNorm, Linear, ModuleDict, ModuleList, MSELoss, ReLU,
    RMSNorm, Sequential, Sigmoid, SiLU, Softmax, Tanh,
)  # fmt: skip
from tinygrad_llm.nn.module import Module, Parameter

__all__ = [
    "GELU", "CrossEntropyLoss", "Dropout", "Embedding", "Identity", "LayerNorm", "Linear", "MSELoss", "Module",
    "ModuleDict", "ModuleList", "Parameter", "RMSNorm", "ReLU", "Sequential", "SiLU", "Sigmoid", "Softmax", "Tanh",
    "functional", "init", "utils",
]  # fmt: skip
