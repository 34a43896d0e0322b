"""Tensor 的比较、逻辑、位运算与判断：结果不可导。"""

from __future__ import annotations


class Comparing:
    """比较与逻辑。"""
