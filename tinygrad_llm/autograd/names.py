"""节点的名字：与 torch 的 ``grad_fn`` 同名，打印出来的张量才与书上一样。

流入：节点的算子、属性与各输入的形状；流出：``"MulBackward0"`` 这样的名字。torch 里几步合成的函数，名字是最后一步的；
这里由别的算子合成的，仍用自己最后一步的名字。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_FIXED = {
    "cast": "ToCopyBackward0",
    "clamp": "ClampBackward1",
    "complex_abs": "AbsBackward0",
    "complex_angle": "AngleBackward0",
    "cross_entropy": "NllLossBackward0",
    "fft_c2c": "FftC2CBackward0",
    "fft_c2r": "FftC2RBackward0",
    "fft_r2c": "FftR2CBackward0",
    "imag": "SelectBackward0",
    "layer_norm": "NativeLayerNormBackward0",
    "log1p": "Log1PBackward0",
    "logsigmoid": "LogSigmoidBackward0",
    "matmul": "UnsafeViewBackward0",
    "pad_constant": "ConstantPadNdBackward0",
    "pow": "PowBackward1",
    "pow_scalar": "PowBackward0",
    "real": "SelectBackward0",
    "sum_all": "SumBackward0",
    "vector_norm": "LinalgVectorNormBackward0",
    "vm": "SqueezeBackward4",
}


def _reduction(base: str) -> Callable[[Any, tuple[int, ...]], str]:
    return lambda node, shape: f"{base}Backward{int(len(node.attrs['dim']) < len(shape))}"


def _linear(node: Any, shape: tuple[int, ...]) -> str:
    has_bias = len(node.plan.needs) > 2 and node.plan.needs[2]
    if len(shape) == 2:
        return "AddmmBackward0" if has_bias else "MmBackward0"
    return "ViewBackward0" if has_bias else "UnsafeViewBackward0"


def _reshape(node: Any, shape: tuple[int, ...]) -> str:
    """换形状有几种说法：只插入一根长度 1 的轴是 unsqueeze，只去掉一根是 squeeze，其余是 view。"""
    for longer, shorter, name in ((node.shape, shape, "UnsqueezeBackward0"), (shape, node.shape, "SqueezeBackward1")):
        if len(longer) == len(shorter) + 1:
            places = [i for i, n in enumerate(longer) if n == 1]
            if any(longer[:i] + longer[i + 1 :] == shorter for i in places):
                return name
    return "ViewBackward0"


def _permute(node: Any, shape: tuple[int, ...]) -> str:
    moved = sum(i != d for i, d in enumerate(node.attrs["dims"]))
    return "TransposeBackward0" if moved == 2 and len(shape) > 2 else "PermuteBackward0"


def _index(node: Any, shape: tuple[int, ...]) -> str:
    """下标逐轴生效，名字是最后一步的。"""
    key = node.attrs["key"]
    last = "IndexBackward0"
    for part in key if isinstance(key, tuple) else (key,):
        if part is None:
            last = "UnsqueezeBackward0"
        elif isinstance(part, slice):
            last = last if part == slice(None) else "SliceBackward0"
        elif isinstance(part, int):
            last = "SelectBackward0"
        elif part is not Ellipsis:
            return "IndexBackward0"
    return last


_BY_CASE: dict[str, Callable[[Any, tuple[int, ...]], str]] = {
    "index": _index,
    "linear": _linear,
    "mean": _reduction("Mean"),
    "permute": _permute,
    "prod": _reduction("Prod"),
    "reshape": _reshape,
    "sum": _reduction("Sum"),
}


def torch_name(node: Any) -> str:
    """``node`` 在 torch 里的名字。"""
    name = node.op.name
    if name in _FIXED:
        return _FIXED[name]
    edge = node.edges[0] if node.edges else None
    if name in _BY_CASE and edge is not None:
        return _BY_CASE[name](node, edge.shape if edge.is_node else edge.array.shape)
    return "".join(part.capitalize() for part in name.split("_")) + "Backward0"
