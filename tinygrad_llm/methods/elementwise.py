"""Tensor 的逐元素函数：三角、双曲、指数对数的各种写法、取整与特殊函数。"""

from __future__ import annotations


class Elementwise:
    """逐元素函数。"""
