"""``torch.backends.mha``：推理时多头注意力快路的开关，可读可写；这里没有另一条路，对结果没有影响。"""

from __future__ import annotations

from tinygrad_llm.absent import attributes

_is_enabled = [True]


def get_fastpath_enabled() -> bool:
    """快路的开关。"""
    return _is_enabled[0]


def set_fastpath_enabled(value: bool) -> None:
    """设定快路的开关。"""
    _is_enabled[0] = value


__getattr__ = attributes(__name__)
