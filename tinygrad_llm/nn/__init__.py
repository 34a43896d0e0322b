"""神经网络：名字与 ``torch.nn`` 相同。"""

# ruff: noqa: I001  名单一行排满，不逐行拆开

from tinygrad_llm.absent import attributes
from tinygrad_llm.nn import functional, init, utils
from tinygrad_llm.nn.activation_layers import GELU, ReLU, Sigmoid, SiLU, Softmax, Tanh
from tinygrad_llm.nn.adaptive_layers import (
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d,
    FractionalMaxPool2d, FractionalMaxPool3d,
)  # fmt: skip
from tinygrad_llm.nn.containers import ModuleDict, ModuleList, Sequential
from tinygrad_llm.nn.convolution_layers import (
    Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, Fold, Unfold,
)  # fmt: skip
from tinygrad_llm.nn.embedding_bag import EmbeddingBag
from tinygrad_llm.nn.layers import Dropout, Embedding, Identity, Linear
from tinygrad_llm.nn.loss_layers import CrossEntropyLoss, MSELoss
from tinygrad_llm.nn.module import Module, Parameter
from tinygrad_llm.nn.norm_layers import LayerNorm, RMSNorm
from tinygrad_llm.nn.normalization_layers import (
    BatchNorm1d, BatchNorm2d, BatchNorm3d, GroupNorm, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, LocalResponseNorm,
)  # fmt: skip
from tinygrad_llm.nn.padding_layers import (
    CircularPad1d, CircularPad2d, CircularPad3d, ConstantPad1d, ConstantPad2d, ConstantPad3d, ReflectionPad1d,
    ReflectionPad2d, ReflectionPad3d, ReplicationPad1d, ReplicationPad2d, ReplicationPad3d, ZeroPad1d, ZeroPad2d,
    ZeroPad3d,
)  # fmt: skip
from tinygrad_llm.nn.pooling_layers import (
    AvgPool1d, AvgPool2d, AvgPool3d, LPPool1d, LPPool2d, LPPool3d, MaxPool1d, MaxPool2d, MaxPool3d, MaxUnpool1d,
    MaxUnpool2d, MaxUnpool3d,
)  # fmt: skip
from tinygrad_llm.nn.resampling_layers import Upsample, UpsamplingBilinear2d, UpsamplingNearest2d

__getattr__ = attributes(__name__, ("parallel",), {"DataParallel": "parallel"})

__all__ = [
    "GELU", "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d",
    "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d", "ConstantPad3d", "Conv1d",
    "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "CrossEntropyLoss", "Dropout",
    "Embedding", "EmbeddingBag", "Fold", "FractionalMaxPool2d", "FractionalMaxPool3d", "GroupNorm", "Identity",
    "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "LPPool1d", "LPPool2d", "LPPool3d", "LayerNorm", "Linear",
    "LocalResponseNorm", "MSELoss", "MaxPool1d", "MaxPool2d", "MaxPool3d", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d",
    "Module", "ModuleDict", "ModuleList", "Parameter", "RMSNorm", "ReLU", "ReflectionPad1d", "ReflectionPad2d",
    "ReflectionPad3d", "ReplicationPad1d", "ReplicationPad2d", "ReplicationPad3d", "Sequential", "SiLU", "Sigmoid",
    "Softmax", "Tanh", "Unfold", "Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d", "ZeroPad1d", "ZeroPad2d",
    "ZeroPad3d", "functional", "init", "utils",
]  # fmt: skip
