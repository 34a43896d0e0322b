"""插值层。

流入：目标的大小或倍数；流出：Module。函数在 ``resampling.py``。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.nn.module import Module
from tinygrad_llm.nn.resampling import interpolate
from tinygrad_llm.tensor import Tensor


class Upsample(Module):
    """插值层，参数同 ``F.interpolate``。

    Args:
        size: 输出的空间形状。
        scale_factor: 放大的倍数，与 ``size`` 二选一。
        mode: 插值的方式。
        align_corners: 对齐四角像素的中心。
        recompute_scale_factor: 坐标按实际的长度之比计算。
    """

    def __init__(
        self,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        self.name, self.size, self.mode = type(self).__name__, size, mode
        if isinstance(scale_factor, tuple):
            self.scale_factor: Any = tuple(float(factor) for factor in scale_factor)
        else:
            self.scale_factor = float(scale_factor) if scale_factor else None
        self.align_corners, self.recompute_scale_factor = align_corners, recompute_scale_factor

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, *空间)`` → 放缩后的 Tensor。"""
        return interpolate(
            input, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor
        )

    def extra_repr(self) -> str:
        """打印目标的大小或倍数，以及插值的方式。"""
        target = f"size={self.size!r}" if self.scale_factor is None else f"scale_factor={self.scale_factor!r}"
        return f"{target}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """二维最近邻放大。"""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """二维双线性放大，对齐四角。"""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)
