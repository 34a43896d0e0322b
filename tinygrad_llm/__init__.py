"""tinygrad_llm：手写的反向模式自动微分，只依赖 NumPy，名字与 PyTorch 相同。

与 tinygrad 框架无关。``import tinygrad_llm as torch`` 即可运行普通的 PyTorch 写法的 GPT 代码。
阅读次序：``ops/`` → ``autograd/`` → ``tensor.py`` → ``nn/`` → ``optim/`` → ``gpt.py`` → ``train.py``。
"""

# ruff: noqa: I001, F401  名单一行排满、不逐行拆开；类型名只在运行时进门面，不列入 __all__

# ruff: noqa: F401, I001  门面按主题分行，名字经 __all__ 与 globals 交出
from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tinygrad_llm import autograd, dtypes, nn, optim, utils
from tinygrad_llm.autograd import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from tinygrad_llm.creation import (
    allclose, arange, as_tensor, bernoulli, cat, empty, empty_like, equal, eye, from_numpy, full, full_like, linspace,
    multinomial, ones, ones_like, outer, rand, rand_like, randint, randn, randn_like, randperm, stack, tensor, unique,
    where, zeros, zeros_like,
)  # fmt: skip
from tinygrad_llm.dtypes import (
    dtype, finfo, float16, float32, float64, get_default_dtype, int8, int16, int32, int64, set_default_dtype, uint8,
)  # fmt: skip
from tinygrad_llm.functions import FUNCTIONS
from tinygrad_llm.gradcheck import gradcheck, gradgradcheck
from tinygrad_llm.methods.shaping import Size
from tinygrad_llm.printing import set_printoptions
from tinygrad_llm.random import Generator, get_rng_state, initial_seed, manual_seed, set_rng_state
from tinygrad_llm.cpu import device
from tinygrad_llm.tensor import Tensor

if not TYPE_CHECKING:  # 类型名会遮住内建名，只在运行时放进门面
    from tinygrad_llm.dtypes import bool, double, float, half, int, long, short

__version__ = "0.1.0"
inf, nan, pi, e = math.inf, math.nan, math.pi, math.e
strided = "strided"

globals().update(FUNCTIONS)


def is_tensor(obj: Any) -> Any:
    """是不是 Tensor。"""
    return isinstance(obj, Tensor)


def __getattr__(name: str) -> Any:
    raise AttributeError(f"tinygrad_llm has no {name!r}; it offers the part of PyTorch that a GPT needs")


__all__ = [
    "FUNCTIONS", "Generator", "Size", "Tensor", "allclose", "arange", "as_tensor", "autograd", "bernoulli", "cat",
    "device", "dtype", "dtypes", "e", "empty", "empty_like", "enable_grad", "equal", "eye", "finfo", "float16",
    "float32", "float64", "from_numpy", "full", "full_like", "get_default_dtype", "get_rng_state", "gradcheck",
    "gradgradcheck", "inf", "inference_mode", "initial_seed", "int8", "int16", "int32", "int64", "is_grad_enabled",
    "is_tensor", "linspace", "manual_seed", "multinomial", "nan", "nn", "no_grad", "ones", "ones_like", "optim",
    "outer", "pi", "rand", "rand_like", "randint", "randn", "randn_like", "randperm", "set_default_dtype",
    "set_grad_enabled", "set_printoptions", "set_rng_state", "stack", "tensor", "uint8", "unique", "utils", "where",
    "zeros", "zeros_like",
]  # fmt: skip
