"""神经网络：名字与 ``torch.nn`` 相同。"""

# ruff: noqa: I001  名单一行排满，不逐行拆开

from tinygrad_llm.absent import attributes
from tinygrad_llm.nn import functional, init, modules, parameter, utils
from tinygrad_llm.nn.activation_layers import (
    CELU, ELU, GELU, GLU, SELU, LogSigmoid, Mish, SiLU, Sigmoid, Softplus, Softsign, Tanh, Tanhshrink,
)  # fmt: skip
from tinygrad_llm.nn.adaptive_softmax import AdaptiveLogSoftmaxWithLoss
from tinygrad_llm.nn.class_loss_layers import CTCLoss, CrossEntropyLoss, LinearCrossEntropyLoss, NLLLoss
from tinygrad_llm.nn.containers import ModuleDict, ModuleList, Sequential
from tinygrad_llm.nn.distance_layers import CosineSimilarity, PairwiseDistance
from tinygrad_llm.nn.dropout_layers import AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d, FeatureAlphaDropout
from tinygrad_llm.nn.embedding_bag import EmbeddingBag
from tinygrad_llm.nn.layers import Bilinear, Embedding, Identity, Linear
from tinygrad_llm.nn.linear_cross_entropy import LinearCrossEntropyOptions
from tinygrad_llm.nn.loss_layers import (
    BCELoss, BCEWithLogitsLoss, GaussianNLLLoss, HuberLoss, KLDivLoss, L1Loss, MSELoss, PoissonNLLLoss, SmoothL1Loss,
    SoftMarginLoss,
)  # fmt: skip
from tinygrad_llm.nn.margin_loss_layers import (
    CosineEmbeddingLoss, HingeEmbeddingLoss, MarginRankingLoss, MultiLabelMarginLoss, MultiLabelSoftMarginLoss,
    MultiMarginLoss, TripletMarginLoss, TripletMarginWithDistanceLoss,
)  # fmt: skip
from tinygrad_llm.nn.multihead_layers import MultiheadAttention
from tinygrad_llm.nn.normalization_layers import (
    BatchNorm1d, BatchNorm2d, BatchNorm3d, GroupNorm, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, LocalResponseNorm,
)  # fmt: skip
from tinygrad_llm.nn.parameter_containers import ParameterDict, ParameterList
from tinygrad_llm.nn.piecewise_layers import (
    Hardshrink, Hardsigmoid, Hardswish, Hardtanh, LeakyReLU, PReLU, RReLU, ReLU, ReLU6, Softshrink, Threshold,
)  # fmt: skip
from tinygrad_llm.nn.rearranging_layers import ChannelShuffle, Flatten, PixelShuffle, PixelUnshuffle, Unflatten
from tinygrad_llm.nn.recurrent import GRU, LSTM, RNN, RNNBase
from tinygrad_llm.nn.recurrent_cells import GRUCell, LSTMCell, RNNCell
from tinygrad_llm.nn.softmax_layers import LogSoftmax, Softmax, Softmax2d, Softmin
from tinygrad_llm.nn.adaptive_layers import (
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d,
    FractionalMaxPool2d, FractionalMaxPool3d,
)  # fmt: skip
from tinygrad_llm.nn.convolution_layers import (
    Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, Fold, Unfold,
)  # fmt: skip
from tinygrad_llm.nn.module import Buffer, Module, Parameter
from tinygrad_llm.nn.norm_layers import LayerNorm, RMSNorm
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
from tinygrad_llm.nn.transformer import TransformerDecoderLayer, TransformerEncoderLayer
from tinygrad_llm.nn.transformer_stacks import Transformer, TransformerDecoder, TransformerEncoder

_LAZY = {
    "DataParallel": "parallel",
    "UninitializedBuffer": "parameter",
    "UninitializedParameter": "parameter",
} | dict.fromkeys(
    [
        "LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d", "LazyConv1d", "LazyConv2d", "LazyConv3d",
        "LazyConvTranspose1d", "LazyConvTranspose2d", "LazyConvTranspose3d", "LazyInstanceNorm1d",
        "LazyInstanceNorm2d", "LazyInstanceNorm3d", "LazyLinear",
    ],
    "lazy",
)  # fmt: skip
__getattr__ = attributes(__name__, ("lazy", "parallel"), _LAZY)

__all__ = [
    "CELU", "ELU", "GELU", "GLU", "GRU", "LSTM", "RNN", "SELU", "AdaptiveAvgPool1d", "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d", "AdaptiveLogSoftmaxWithLoss", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AdaptiveMaxPool3d",
    "AlphaDropout", "AvgPool1d", "AvgPool2d", "AvgPool3d", "BCELoss", "BCEWithLogitsLoss", "BatchNorm1d",
    "BatchNorm2d", "BatchNorm3d", "Bilinear", "Buffer", "CTCLoss", "ChannelShuffle", "CircularPad1d", "CircularPad2d",
    "CircularPad3d", "ConstantPad1d", "ConstantPad2d", "ConstantPad3d", "Conv1d", "Conv2d", "Conv3d",
    "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "CosineEmbeddingLoss", "CosineSimilarity",
    "CrossEntropyLoss", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "Embedding", "EmbeddingBag",
    "FeatureAlphaDropout", "Flatten", "Fold", "FractionalMaxPool2d", "FractionalMaxPool3d", "GRUCell",
    "GaussianNLLLoss", "GroupNorm", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "HingeEmbeddingLoss",
    "HuberLoss", "Identity", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "KLDivLoss", "L1Loss", "LPPool1d",
    "LPPool2d", "LPPool3d", "LSTMCell", "LayerNorm", "LeakyReLU", "Linear", "LinearCrossEntropyLoss",
    "LinearCrossEntropyOptions", "LocalResponseNorm", "LogSigmoid", "LogSoftmax", "MSELoss", "MarginRankingLoss",
    "MaxPool1d", "MaxPool2d", "MaxPool3d", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d", "Mish", "Module", "ModuleDict",
    "ModuleList", "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss", "MultiMarginLoss", "MultiheadAttention",
    "NLLLoss", "PReLU", "PairwiseDistance", "Parameter", "ParameterDict", "ParameterList", "PixelShuffle",
    "PixelUnshuffle", "PoissonNLLLoss", "RMSNorm", "RNNBase", "RNNCell", "RReLU", "ReLU", "ReLU6", "ReflectionPad1d",
    "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d", "ReplicationPad2d", "ReplicationPad3d", "Sequential",
    "SiLU", "Sigmoid", "SmoothL1Loss", "SoftMarginLoss", "Softmax", "Softmax2d", "Softmin", "Softplus", "Softshrink",
    "Softsign", "Tanh", "Tanhshrink", "Threshold", "Transformer", "TransformerDecoder", "TransformerDecoderLayer",
    "TransformerEncoder", "TransformerEncoderLayer", "TripletMarginLoss", "TripletMarginWithDistanceLoss", "Unflatten",
    "Unfold", "Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
    "functional", "init", "modules", "parameter", "utils",
]  # fmt: skip
