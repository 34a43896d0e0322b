"""形状与下标算子的对照，格式同 ``op_table.py``。"""

from __future__ import annotations

from typing import Any

import torch

from parity_tests.engine import shape_cases as sc
from parity_tests.engine import view_cases as vc
from parity_tests.engine.op_cases import Row


def _copied(x: Any, order: tuple[int, ...]) -> Any:
    return x.permute(order).contiguous().permute([order.index(i) for i in range(x.dim())])


def _scatter_view(g_in: Any, shape: tuple[int, ...], path: Any) -> Any:
    places = torch.arange(vc.count(shape)).reshape(shape)
    for op, attrs in path:
        places = vc.TWINS[op.name](places, **attrs)
    return g_in.new_zeros(vc.count(shape)).index_add(0, places.reshape(-1), g_in.reshape(-1)).reshape(shape)


ROWS: dict[str, Row] = {
    "copied": Row(vc.copied, _copied),
    "roll": Row(vc.roll, lambda x, shifts, dim: torch.roll(x, shifts, dim)),
    "diagonal": Row(vc.diagonal, vc.TWINS["diagonal"]),
    "unfold": Row(vc.unfold, vc.TWINS["unfold"]),
    "scatter_view": Row(vc.scatter_view, _scatter_view),
    "as_strided": Row(vc.as_strided, lambda x, target, source: x.contiguous().as_strided(*target)),
    "through_memory": Row(vc.through_memory, vc.through_memory_twin),
    "scatter_reduce": Row(
        sc.scatter_reduce, lambda x, src, index, dim, reduce: x.scatter_reduce(dim, index, src, reduce)
    ),
}
