"""Tensor 的统计量：方差、中位数、分位数、众数、累积、范数。"""

from __future__ import annotations


class Statistics:
    """统计量。"""
