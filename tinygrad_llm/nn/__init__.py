"""神经网络：名字与 ``torch.nn`` 相同。"""

from tinygrad_llm.absent import attributes
from tinygrad_llm.nn import functional, init, utils
from tinygrad_llm.nn.activation_layers import GELU, ReLU, Sigmoid, SiLU, Softmax, Tanh
from tinygrad_llm.nn.containers import ModuleDict, ModuleList, Sequential
from tinygrad_llm.nn.layers import Dropout, Embedding, Identity, Linear
from tinygrad_llm.nn.loss_layers import CrossEntropyLoss, MSELoss
from tinygrad_llm.nn.module import Module, Parameter
from tinygrad_llm.nn.norm_layers import LayerNorm, RMSNorm

__getattr__ = attributes(__name__, ("parallel",), {"DataParallel": "parallel"})

__all__ = [
    "GELU", "CrossEntropyLoss", "Dropout", "Embedding", "Identity", "LayerNorm", "Linear", "MSELoss", "Module",
    "ModuleDict", "ModuleList", "Parameter", "RMSNorm", "ReLU", "Sequential", "SiLU", "Sigmoid", "Softmax", "Tanh",
    "functional", "init", "utils",
]  # fmt: skip
