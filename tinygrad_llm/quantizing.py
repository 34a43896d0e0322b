"""量化感知训练的舍入：``torch_llm/quantization/qat.py`` 的孪生，前向与梯度两边相同。

流入：``(out, in)`` 的权重；流出：舍入到网格上再还原的权重，梯度原样通过。
"""

from __future__ import annotations

from typing import Any

import tinygrad_llm as tg
from tinygrad_llm import Tensor
from tinygrad_llm.common.quantization import Scheme, dequantize, quantize

__all__ = ["fake_quantize"]


class _FakeQuantize(tg.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor, scheme: Scheme) -> Tensor:
        values = dequantize(quantize(w.array, scheme, search=False))
        return tg.from_numpy(values.astype(w.array.dtype))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return g, None


def fake_quantize(w: Tensor, scheme: Scheme) -> Tensor:
    """舍入到网格上再还原；梯度原样通过（straight-through）。

    Args:
        w: ``(out, in)``。
        scheme: 存法。

    Returns:
        与 ``w`` 同形状、同类型。
    """
    found: Tensor = _FakeQuantize.apply(w, scheme)
    return found
