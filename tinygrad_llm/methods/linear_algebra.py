"""Tensor 的矩阵与向量运算。"""

from __future__ import annotations


class LinearAlgebra:
    """矩阵与向量运算的方法。"""
