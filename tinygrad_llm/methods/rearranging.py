"""Tensor 的搬运：滚动、旋转、重复、对角线、切分成多份。"""

from __future__ import annotations


class Rearranging:
    """搬运元素的方法。"""
