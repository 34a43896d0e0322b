"""归约与扫描算子的对照，格式同 ``op_table.py``。"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from parity_tests.engine.op_cases import Case, Row, along_dim, reduce, reduction, size
from parity_tests.strategies import Draw, array, booleans

ORDERS = [1, 2, 3, 1.5, 0.5, -1, -2.5, math.inf, -math.inf]


def _nansum(draw: Draw, small: bool) -> Case:
    (x,), attrs = reduce("any", min_side=0)(draw, small)
    return [x if small else np.where(booleans(draw, x.shape), np.nan, x)], attrs


def _prod(draw: Draw, small: bool) -> Case:
    """积是多项式，零处也能差分。"""
    args, attrs = along_dim("ties" if draw(st.booleans()) else "any")(draw, small)
    return args, {**attrs, "keepdim": draw(st.booleans())}


def _pick(draw: Draw, small: bool) -> Case:
    domain = "smooth" if small else draw(st.sampled_from(["any", "ties"]))
    which = draw(st.sampled_from(["max", "min", "median", "nanmedian"]))
    return [array(draw, size(draw, small, min_side=1), domain)], {"which": which}


def _deviation(draw: Draw, small: bool) -> Case:
    """为差分准备时至少有两个不同的数：标准差在 0 处不光滑。"""
    (x,), attrs = reduce("any", "ties")(draw, small)
    if small:
        x, attrs["dim"] = array(draw, (2, 3), "smooth"), draw(st.sampled_from([(0,), (1,), (0, 1)]))
    allowed = [c for c in (0, 1, 0.5) if c < math.prod(x.shape[d] for d in attrs["dim"])]
    return [x], {**attrs, "correction": draw(st.sampled_from(allowed))}


def _deviation_twin(name: str) -> Any:
    return lambda x, dim, **attrs: getattr(torch, name)(x, dim or None, **attrs)


def _vector_norm(draw: Draw, small: bool) -> Case:
    args, attrs = reduce("nonzero", "ties", "any")(draw, small)
    return args, {**attrs, "p": draw(st.sampled_from(ORDERS))}


def _recurrence(draw: Draw, small: bool) -> Case:
    (a,), attrs = along_dim("any")(draw, small)
    return [a, array(draw, a.shape)], attrs


def _recurrence_twin(a: Any, b: Any, dim: int) -> Any:
    """逐步递推。"""
    state = torch.zeros_like(b.select(dim, 0))
    steps = []
    for factor, term in zip(a.unbind(dim), b.unbind(dim), strict=True):
        state = factor * state + term
        steps.append(state)
    return torch.stack(steps, dim)


ROWS: dict[str, Row] = {
    "nansum": Row(_nansum, reduction("nansum")),
    "prod": Row(_prod, torch.prod),
    "pick": Row(_pick, lambda x, which: getattr(torch, which)(x)),
    "var": Row(_deviation, _deviation_twin("var")),
    "std": Row(_deviation, _deviation_twin("std")),
    "vector_norm": Row(_vector_norm, lambda x, p, dim, keepdim: torch.linalg.vector_norm(x, p, dim or None, keepdim)),
    "recurrence": Row(_recurrence, _recurrence_twin),
    "cumprod": Row(along_dim("any", "ties"), torch.cumprod),
    "logcumsumexp": Row(along_dim("any", "ties", "large"), torch.logcumsumexp),
}
