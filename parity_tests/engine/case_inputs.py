"""两个引擎共用的一组输入，以及「连内存布局也比」的结果。

流入：``tinygrad_llm`` 或 ``torch``；流出：装着输入的名字空间；结果里的每个 Tensor 后面跟着它的步长。
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

import tinygrad_llm as tg


def inputs(m: Any) -> Any:
    """0 维到四维的 float32，一个掩码，一个整数矩阵。"""
    x = m.arange(6.0).view(2, 3)
    return SimpleNamespace(
        z=m.tensor(1.0),
        v=m.tensor([1.0, 2, 3]),
        x=x,
        y=m.arange(24.0).view(2, 3, 4),
        q=m.arange(120.0).view(2, 3, 4, 5),
        b=x > 2,
        ids=m.arange(6).view(2, 3),
    )


def described(result: Any) -> Any:
    """Tensor 换成「它自己与步长」；长度为 1 的轴的步长没有意义，不比。"""
    if isinstance(result, (tg.Tensor, torch.Tensor)):
        shape, strides = tuple(result.shape), result.stride()
        return (
            result.detach(),
            result.requires_grad,
            [s for n, s in zip(shape, strides, strict=True) if n > 1 and 0 not in shape],
        )
    if isinstance(result, (tuple, list)):
        return [described(part) for part in result]
    return result
