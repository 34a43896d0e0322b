"""每个算子一行：怎样抽它的输入与属性、torch 里的同一个函数、要不要查二阶导。

流入：``op_cases.py`` 的抽样函数；流出：``TABLE``。各类算子的行另有 ``rows_*.py``。下一站：``test_ops.py``。
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import strategies as st

from parity_tests.engine import (
    rows_complex,
    rows_elementwise,
    rows_linear_algebra,
    rows_nn,
    rows_nn_more,
    rows_reduce,
    rows_shape,
)
from parity_tests.engine import shape_cases as sc
from parity_tests.engine.op_cases import Case, Row, along_dim, binary, reduce, reduction, size, unary
from parity_tests.strategies import Draw, array, booleans, broadcastable, integers, shapes
from tinygrad_llm import ops
from torch_llm.functional import rotary


def _pow_scalar(draw: Draw, small: bool) -> Case:
    exponent = draw(st.sampled_from([-2, -1, -0.5, 0, 0.5, 1, 2, 3, 2.5]))
    domain = "positive" if small or exponent != int(exponent) or exponent < 0 else "ties"
    return [array(draw, size(draw, small), domain)], {"exponent": exponent}


def _where(draw: Draw, small: bool) -> Case:
    cond, a, b = draw(broadcastable(3, 2 if small else 4, 1 if small else 0))
    return [booleans(draw, cond), array(draw, a), array(draw, b)], {}


def _masked_fill(draw: Draw, small: bool) -> Case:
    x, mask = draw(broadcastable(2, 2 if small else 4, 1 if small else 0))
    value = draw(st.sampled_from([0.0, 2.5] if small else [0.0, 2.5, float("-inf")]))
    return [array(draw, x), booleans(draw, mask)], {"value": value}


def _clamp(draw: Draw, small: bool) -> Case:
    low, high = draw(st.sampled_from([(None, 1.0), (-1.0, None), (-1.0, 1.0), (0.0, 0.0), (-0.3, 0.2)]))
    domain = "smooth" if small else draw(st.sampled_from(["any", "ties"]))
    return [array(draw, size(draw, small), domain)], {"min": low, "max": high}


def _cast(draw: Draw, small: bool) -> Case:
    return [array(draw, size(draw, small))], {"dtype": np.float64 if small else np.float32}


def _attention(draw: Draw, small: bool) -> Case:
    side = st.integers(1, 2 if small else 4)
    lead = (draw(side),) if draw(st.booleans()) else ()
    kv, group, t, s, d, width = (draw(side) if i != 1 else draw(st.integers(1, 2)) for i in range(6))
    q, k, v = ((*lead, kv * group, t, d), (*lead, kv, s, d), (*lead, kv, s, width))
    scale = draw(st.sampled_from([1.0, 0.5, 1 / math.sqrt(d)]))
    is_causal = draw(st.booleans())
    window = draw(st.integers(1, 4)) if is_causal and t == s and draw(st.booleans()) else None
    attrs = {"is_causal": is_causal, "scale": scale, "window": window, "recompute": draw(st.booleans())}
    return [array(draw, n) for n in (q, k, v)], attrs


def _attention_twin(
    q: Any, k: Any, v: Any, is_causal: bool, scale: float, window: int | None = None, recompute: bool = False
) -> Any:
    """按定义写的注意力；torch 的融合实现没有二阶导，另在 ``test_nn_functional.py`` 对照。"""
    group = q.shape[-3] // k.shape[-3]
    k, v = (x.repeat_interleave(group, dim=-3) for x in (k, v))
    scores = (q @ k.mT) * scale
    if is_causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(future, float("-inf"))
    if window is not None:
        past = torch.ones(scores.shape[-2:], dtype=torch.bool).tril(-window)
        scores = scores.masked_fill(past, float("-inf"))
    return scores.softmax(-1) @ v


def _rotary(draw: Draw, small: bool) -> Case:
    lead = draw(shapes(0, 2, 1)) if not small else ()
    t, half = draw(st.integers(1, 3)), draw(st.integers(1, 3 if not small else 1))
    angle = array(draw, (t, half), layout=False)
    return [array(draw, (*lead, t, 2 * half)), np.cos(angle), np.sin(angle)], {}


def _matmul(draw: Draw, small: bool) -> Case:
    first, second = ((), ()) if small else draw(broadcastable(2, 2))
    n, k, m = (draw(st.integers(1 if small else 0, 2 if small else 4)) for _ in range(3))
    return [array(draw, (*first, n, k)), array(draw, (*second, k, m))], {}


def _mm(draw: Draw, small: bool) -> Case:
    n, k, m = (draw(st.integers(1 if small else 0, 2 if small else 4)) for _ in range(3))
    return [array(draw, (n, k)), array(draw, (k, m))], {}


def _mv(draw: Draw, small: bool) -> Case:
    n, m = (draw(st.integers(1 if small else 0, 2 if small else 4)) for _ in range(2))
    return [array(draw, (n, m)), array(draw, (m,))], {}


def _vm(draw: Draw, small: bool) -> Case:
    (matrix, vector), attrs = _mv(draw, small)
    return [vector, np.ascontiguousarray(matrix.T)], attrs


def _dot(draw: Draw, small: bool) -> Case:
    n = draw(st.integers(1 if small else 0, 4))
    return [array(draw, (n,)), array(draw, (n,))], {}


def _linear(draw: Draw, small: bool) -> Case:
    lead = (2,) if small else draw(shapes(0, 3))
    wide, out = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    bias = array(draw, (out,)) if draw(st.booleans()) else None
    return [array(draw, (*lead, wide)), array(draw, (out, wide)), bias], {}


def _cross_entropy(draw: Draw, small: bool) -> Case:
    n, classes = draw(st.integers(1 if small else 0, 3 if small else 6)), draw(st.integers(1, 5))
    target = integers(draw, (n,), 0, classes)
    target = np.where(booleans(draw, (n,)), target, draw(st.sampled_from([-100, 0])))
    attrs = {
        "ignore_index": draw(st.sampled_from([-100, 0])),
        "reduction": draw(st.sampled_from(["sum", "none", "mean"])),
    }
    target = np.where((target == -100) & (attrs["ignore_index"] != -100), 0, target)
    if small and (target == attrs["ignore_index"]).all():
        attrs["reduction"] = "sum"  # 一行有效的也没有时均值是 NaN，无从差分
    domain = "any" if small else draw(st.sampled_from(["any", "large"]))
    return [array(draw, (n, classes), domain), target], attrs


def _norm(count: int) -> Callable[[Draw, bool], Case]:
    """归一化：``count`` 个可有可无的 ``(D,)`` 参数。"""

    def draw(draw: Draw, small: bool) -> Case:
        lead, width = (2,) if small else draw(shapes(0, 3)), draw(st.integers(1, 3 if small else 8))
        affine = [array(draw, (width,)) if draw(st.booleans()) else None for _ in range(count)]
        eps = 0.1 if small else draw(st.sampled_from([1e-5, 1e-2]))
        # 只有一列时方差为 0：torch 把 x - μ 的舍入误差放大 1/√ε 倍（真值是 0，我们恰好算出 0），取小一些的数
        domain = "any" if small or width == 1 else "large"
        return [array(draw, (*lead, width), domain), *affine], {"eps": eps}

    return draw


def _layer_norm_twin(x: Any, weight: Any, bias: Any, eps: float) -> Any:
    """按定义写的 LayerNorm：torch 的融合实现在没有 weight 时求不了二阶导。"""
    y = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + eps).sqrt()
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


for _module in pkgutil.iter_modules(ops.__path__, f"{ops.__name__}."):
    importlib.import_module(_module.name)  # 全部加载，``REGISTRY`` 才齐

TABLE: dict[str, Row] = {
    "add": Row(binary(("any", "any")), torch.add),
    "sub": Row(binary(("any", "any")), torch.sub),
    "mul": Row(binary(("any", "any")), torch.mul),
    "div": Row(binary(("any", "nonzero"), "ties"), torch.div),
    "neg": Row(unary("any"), torch.neg),
    "pow": Row(binary(("positive", "any"), "ties"), torch.pow),
    "pow_scalar": Row(_pow_scalar, lambda x, exponent: x**exponent),
    "exp": Row(unary("any", "large"), torch.exp),
    "log": Row(unary("positive", "ties"), torch.log),
    "log1p": Row(unary("positive", "ties"), torch.log1p),
    "sqrt": Row(unary("positive", "ties"), torch.sqrt),
    "rsqrt": Row(unary("positive", "ties"), torch.rsqrt),
    "sin": Row(unary("any", "large"), torch.sin),
    "cos": Row(unary("any", "large"), torch.cos),
    "tanh": Row(unary("any", "large"), torch.tanh),
    "erf": Row(unary("any", "large"), torch.erf),
    "sigmoid": Row(unary("any", "large"), torch.sigmoid),
    "silu": Row(unary("any", "large"), F.silu),
    "relu": Row(unary("smooth", "ties"), torch.relu),
    "abs": Row(unary("smooth", "ties"), torch.abs),
    "sign": Row(unary("smooth", "ties"), torch.sign),
    "maximum": Row(binary(("smooth", "positive"), "ties"), torch.maximum),
    "minimum": Row(binary(("smooth", "positive"), "ties"), torch.minimum),
    "where": Row(_where, torch.where),
    "masked_fill": Row(_masked_fill, lambda x, mask, value: torch.masked_fill(x, mask, value)),
    "clamp": Row(_clamp, lambda x, min, max: torch.clamp(x, min, max)),
    "clone": Row(unary("any"), torch.clone),
    "cast": Row(_cast, lambda x, dtype: x.to(torch.float64 if dtype is np.float64 else torch.float32)),
    "reshape": Row(sc.reshape, lambda x, shape: x.reshape(shape)),
    "permute": Row(sc.permute, lambda x, dims: x.permute(dims)),
    "expand": Row(sc.expand, lambda x, shape: x.expand(shape)),
    "index": Row(sc.index, sc.index_twin),
    "scatter_index": Row(sc.scatter_index, sc.scatter_index_twin),
    "index_put": Row(sc.index_put, sc.index_put_twin),
    "write_region": Row(sc.write_region, sc.write_region_twin),
    "gather": Row(sc.gather, lambda x, index, dim: torch.gather(x, dim, index)),
    "scatter_add_zeros": Row(
        sc.scatter_add, lambda g_in, index, dim, shape: g_in.new_zeros(shape).scatter_add(dim, index, g_in)
    ),
    "embedding": Row(sc.embedding, lambda weight, index: F.embedding(index, weight)),
    "scatter_rows": Row(sc.scatter_rows, sc.scatter_rows_twin),
    "cat": Row(sc.cat, lambda *tensors, dim: torch.cat(tensors, dim)),
    "flip": Row(sc.flip, lambda x, dim: torch.flip(x, dim)),
    "tril": Row(sc.triangle, lambda x, diagonal: torch.tril(x, diagonal)),
    "triu": Row(sc.triangle, lambda x, diagonal: torch.triu(x, diagonal)),
    "sum": Row(reduce("any", min_side=0), reduction("sum")),
    "sum_all": Row(unary("any"), torch.sum),
    "mean": Row(reduce("any", min_side=0), reduction("mean")),
    "amax": Row(reduce("smooth", "ties"), reduction("amax")),
    "amin": Row(reduce("smooth", "ties"), reduction("amin")),
    "logsumexp": Row(reduce("any", "ties", "large"), reduction("logsumexp")),
    "cumsum": Row(along_dim("any"), torch.cumsum),
    "softmax": Row(along_dim("any", "ties", "large"), torch.softmax),
    "log_softmax": Row(along_dim("any", "ties", "large"), torch.log_softmax),
    "gelu_tanh": Row(unary("any", "large"), lambda x: F.gelu(x, approximate="tanh")),
    "gelu": Row(unary("any", "large"), F.gelu),
    "attention": Row(_attention, _attention_twin),
    "rotary": Row(_rotary, rotary),
    "matmul": Row(_matmul, torch.matmul),
    "mm": Row(_mm, torch.mm),
    "mv": Row(_mv, torch.mv),
    "vm": Row(_vm, torch.matmul),
    "dot": Row(_dot, torch.dot),
    "linear": Row(_linear, F.linear),
    "cross_entropy": Row(
        _cross_entropy,
        lambda logits, target, ignore_index, reduction: F.cross_entropy(
            logits, target, ignore_index=ignore_index, reduction=reduction
        ),
    ),
    "layer_norm": Row(
        _norm(2), lambda x, weight, bias, eps: F.layer_norm(x, x.shape[-1:], weight, bias, eps), _layer_norm_twin
    ),
    "rms_norm": Row(_norm(1), lambda x, weight, eps: F.rms_norm(x, x.shape[-1:], weight, eps)),
    **rows_elementwise.ROWS,
    **rows_complex.ROWS,
    **rows_shape.ROWS,
    **rows_reduce.ROWS,
    **rows_linear_algebra.ROWS,
    **rows_nn.ROWS,
    **rows_nn_more.ROWS,
}  # fmt: skip
"""算子名 → 对照；``REGISTRY`` 里多出一个没有行的算子，``test_ops.py`` 就失败。"""
