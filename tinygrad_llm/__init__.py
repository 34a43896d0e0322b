"""tinygrad_llm：手写的反向模式自动微分，只依赖 NumPy，名字与 PyTorch 相同。

与 tinygrad 框架无关。``import tinygrad_llm as torch`` 即可运行普通的 PyTorch 写法的 GPT 代码。
阅读次序：``ops/`` → ``autograd/`` → ``tensor.py`` → ``nn/`` → ``optim/`` → ``gpt.py`` → ``train.py``。
"""

# ruff: noqa: F401, I001  门面按主题分行，名字经 __all__ 与 globals 交出
from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tinygrad_llm import autograd, dtypes, finder
from tinygrad_llm.absent import attributes
from tinygrad_llm.autograd import (
    enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled, no_grad, set_grad_enabled,
)  # fmt: skip
from tinygrad_llm.complexes import (
    imag, polar, view_as_complex, view_as_complex_copy, view_as_real, view_as_real_copy,
)  # fmt: skip
from tinygrad_llm.contraction import cdist, chain_matmul, einsum, tensordot
from tinygrad_llm.creation import (
    as_tensor, asarray, empty, empty_like, empty_permuted, empty_strided, from_numpy, frombuffer, full, full_like, ones,
    ones_like, scalar_tensor, tensor, zeros, zeros_like,
)  # fmt: skip
from tinygrad_llm.dtypes import (
    bfloat16, cdouble, cfloat, complex64, complex128, dtype, float16, float32, float64, get_default_dtype, int8, int16,
    int32, int64, set_default_dtype, uint8, uint16, uint32, uint64,
)  # fmt: skip
from tinygrad_llm.function_only import IN_PLACE_FUNCTIONS, fill, real, rsub
from tinygrad_llm.foreach import FOREACH
from tinygrad_llm.functions import FUNCTIONS
from tinygrad_llm.gradcheck import gradcheck, gradgradcheck
from tinygrad_llm.joining import (
    atleast_1d, atleast_2d, atleast_3d, block_diag, broadcast_shapes, broadcast_tensors, cartesian_prod, cat,
    column_stack, combinations, concat, concatenate, dstack, hstack, meshgrid, row_stack, split, stack, unravel_index,
    vstack, where,
)  # fmt: skip
from tinygrad_llm.layouts import (
    channels_last, channels_last_3d, contiguous_format, layout, memory_format, preserve_format, strided,
)  # fmt: skip
from tinygrad_llm.legacy import LEGACY_TYPES, set_default_tensor_type, typename
from tinygrad_llm.methods.shaping import Size
from tinygrad_llm.paths import LAZY
from tinygrad_llm.printing import set_printoptions
from tinygrad_llm.promotion import can_cast, finfo, iinfo, promote_types, result_type
from tinygrad_llm.random import (
    Generator, default_generator, get_rng_state, initial_seed, manual_seed, seed, set_rng_state,
)  # fmt: skip
from tinygrad_llm.ranges import arange, eye, linspace, logspace, range, tril_indices, triu_indices, vander
from tinygrad_llm.sampling import (
    bernoulli, binomial, multinomial, normal, poisson, rand, rand_like, randint, randint_like, randn, randn_like,
    randperm,
)  # fmt: skip
from tinygrad_llm.cpu import device, get_default_device, set_default_device
from tinygrad_llm.searching import bucketize, isin, searchsorted
from tinygrad_llm.statistics import cumulative_trapezoid, histogramdd, std_mean, trapezoid, trapz, var_mean
from tinygrad_llm.tensor import Tensor
from tinygrad_llm.version import TorchVersion, __version__ as _version
from tinygrad_llm.view_copies import COPIES

if TYPE_CHECKING:  # 运行时用到才加载，见 ``_NAMESPACES``
    from tinygrad_llm import linalg, masked, nn, optim, utils
    from tinygrad_llm.linalg.factoring import lu_unpack
    from tinygrad_llm.linalg.lowrank import pca_lowrank, svd_lowrank
else:  # 类型名会遮住内建名，只在运行时放进门面
    from tinygrad_llm.complexes import complex
    from tinygrad_llm.dtypes import bool, double, float, half, int, long, short

inf, nan, pi, e, newaxis = math.inf, math.nan, math.pi, math.e, None
__version__ = TorchVersion(_version)

globals().update(FUNCTIONS)
globals().update(FOREACH)
globals().update(COPIES)
globals().update(LEGACY_TYPES)
globals().update(IN_PLACE_FUNCTIONS)


def is_tensor(obj: Any) -> Any:
    """是不是 Tensor。"""
    return isinstance(obj, Tensor)


def trace(*args: Any, **kwargs: Any) -> Any:
    """给了矩阵，是它的迹；没有给，打开一份记录：``with trace(title=…, composed=…, limit=…) as t:``。"""
    if args or "input" in kwargs:
        return FUNCTIONS["trace"](*args, **kwargs)
    from tinygrad_llm import tracing

    return tracing.trace(**kwargs)


# 用到才加载：``import tinygrad_llm`` 只为张量与自动微分付时间
_NAMESPACES = (
    "__config__", "_dynamo", "_inductor", "accelerator", "amp", "backends", "compiler", "cpu", "cuda", "distributed",
    "distributions", "fft", "func", "jit", "linalg", "masked", "mps", "multiprocessing", "nn", "optim", "profiler",
    "signal", "special", "storage", "testing", "tracing", "types", "utils", "version", "xpu",
)  # fmt: skip
__getattr__ = attributes(__name__, _NAMESPACES, LAZY)


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMESPACES, *LAZY})


__all__ = [
    "FUNCTIONS", "Generator", "Size", "Tensor", "__version__", "allclose", "arange", "as_tensor", "asarray",
    "atleast_1d", "atleast_2d", "atleast_3d", "autograd", "bernoulli", "bfloat16", "binomial", "block_diag",
    "broadcast_shapes", "broadcast_tensors", "can_cast", "cartesian_prod", "cat", "cdist", "cdouble", "cfloat",
    "chain_matmul", "channels_last", "channels_last_3d", "column_stack", "combinations", "complex64", "complex128",
    "concat", "concatenate", "contiguous_format", "default_generator", "device", "dstack", "dtype", "dtypes", "e",
    "einsum", "empty", "empty_like", "empty_permuted", "empty_strided", "enable_grad", "equal", "eye", "finfo",
    "float16", "float32", "float64", "from_numpy", "frombuffer", "full", "full_like", "get_default_device",
    "get_default_dtype", "get_rng_state", "gradcheck", "gradgradcheck", "hstack", "iinfo", "imag", "inf",
    "inference_mode", "initial_seed", "int8", "int16", "int32", "int64", "is_grad_enabled", "is_inference_mode_enabled",
    "is_tensor", "layout", "linalg", "linspace", "logspace", "lu_unpack", "manual_seed", "masked", "memory_format",
    "meshgrid", "multinomial", "nan", "nn", "no_grad", "normal", "ones", "ones_like", "optim", "outer", "pca_lowrank",
    "pi", "poisson", "polar", "preserve_format", "promote_types", "rand", "rand_like", "randint", "randint_like",
    "randn", "randn_like", "randperm", "result_type", "row_stack", "scalar_tensor", "seed", "set_default_device",
    "set_default_dtype", "set_default_tensor_type", "set_grad_enabled", "set_printoptions", "set_rng_state", "split",
    "stack", "strided", "svd_lowrank", "tensor", "tensordot", "tril_indices", "triu_indices", "typename", "uint8",
    "uint16", "uint32", "uint64", "unravel_index", "utils", "vander", "view_as_complex", "view_as_real", "vstack",
    "where", "zeros", "zeros_like",
]  # fmt: skip
