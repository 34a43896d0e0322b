"""激活与损失算子的对照，格式同 ``op_table.py``。"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import strategies as st

from parity_tests.engine.op_cases import Case, Row, size, unary
from parity_tests.strategies import Draw, array, broadcastable, integers


def _with_attributes(*choices: dict[str, Any]) -> Any:
    """一元算子，属性取自 ``choices`` 之一；小整数落在拐点上，大数在两侧的平坦处。"""

    def draw(draw: Draw, small: bool) -> Case:
        domain = "smooth" if small else draw(st.sampled_from(["any", "ties", "large"]))
        return [array(draw, size(draw, small), domain)], dict(draw(st.sampled_from(choices)))

    return draw


def _prelu(draw: Draw, small: bool) -> Case:
    x, w = draw(broadcastable(2, 2 if small else 4, 1 if small else 0))
    return [array(draw, x, "smooth" if small else draw(st.sampled_from(["any", "ties"]))), array(draw, w)], {}


def _probabilities(draw: Draw, small: bool) -> Case:
    shape = size(draw, small)
    x, target = (np.asarray(array(draw, shape, "positive") / 3.3) for _ in range(2))
    if not small and draw(st.booleans()):
        x = np.asarray(x.round())  # 恰为 0 或 1：对数截断在 -100
    return [x, target], {}


def _linear_cross_entropy(draw: Draw, small: bool) -> Case:
    rows, classes, width = (draw(st.integers(1, 2 if small else 5)) for _ in range(3))
    target, share = integers(draw, (rows,), 0, classes), np.asarray(array(draw, (rows,), "ties"), dtype=np.int64)
    bias = array(draw, (classes,)) if draw(st.booleans()) else None
    inputs = [array(draw, (rows, width)), array(draw, (classes, width)), bias, target, share]
    return inputs, {"chunk": draw(st.integers(1, rows))}


def _linear_cross_entropy_twin(x: Any, weight: Any, bias: Any, target: Any, share: Any, chunk: int) -> Any:
    return F.cross_entropy(F.linear(x, weight, bias), target, reduction="none") * share


def _token_loss(draw: Draw, small: bool) -> Case:
    places, classes, width = (draw(st.integers(1, 2 if small else 5)) for _ in range(3))
    target = integers(draw, (2, places), 0, classes)
    target[0, 0] = -100
    return [array(draw, (2, places, width)), array(draw, (classes, width)), target], {"ignore_index": -100}


def _token_loss_twin(x: Any, weight: Any, target: Any, ignore_index: int) -> Any:
    logits = F.linear(x, weight).flatten(0, 1)
    return F.cross_entropy(logits, target.flatten(), ignore_index=ignore_index, reduction="sum")


def _elu(x: Any, alpha: float, scale: float, input_scale: float) -> Any:
    return torch.where(x > 0, x * scale, torch.expm1(torch.where(x > 0, 0.0, x) * input_scale) * (alpha * scale))


ROWS: dict[str, Row] = {
    "prelu": Row(_prelu, lambda x, w: torch.where(x > 0, x, x * w)),
    "hardtanh": Row(
        _with_attributes({"lo": -1.0, "hi": 1.0}, {"lo": -0.3, "hi": 6.0}),
        lambda x, lo, hi: F.hardtanh(x, lo, hi),
    ),
    "hardsigmoid": Row(
        unary("smooth", "ties", "large"), F.hardsigmoid, lambda x: (x + 3).clamp(0, 6) * float(np.float32(1 / 6))
    ),
    "hardswish": Row(unary("smooth", "ties", "large"), F.hardswish),
    "hardshrink": Row(_with_attributes({"lambd": 0.5}, {"lambd": 1.0}), lambda x, lambd: F.hardshrink(x, lambd)),
    "softshrink": Row(_with_attributes({"lambd": 0.5}, {"lambd": 1.0}), lambda x, lambd: F.softshrink(x, lambd)),
    "threshold": Row(
        _with_attributes({"threshold": 0.5, "value": -2.0}, {"threshold": -1.0, "value": 0.0}),
        lambda x, threshold, value: F.threshold(x, threshold, value),
    ),
    "elu": Row(
        _with_attributes(
            {"alpha": 1.0, "scale": 1.0, "input_scale": 1.0}, {"alpha": 1.7, "scale": 1.05, "input_scale": 1.0},
            {"alpha": 0.5, "scale": 1.0, "input_scale": 2.0},
        ),
        _elu,
    ),
    "softplus": Row(
        _with_attributes({"beta": 1.0, "threshold": 20.0}, {"beta": 2.0, "threshold": 3.0}),
        lambda x, beta, threshold: F.softplus(x, beta, threshold),
    ),
    "logsigmoid": Row(unary("any", "ties", "large"), F.logsigmoid),
    "mish": Row(unary("any", "ties", "large"), F.mish),
    "linear_cross_entropy": Row(_linear_cross_entropy, _linear_cross_entropy_twin),
    "token_loss": Row(_token_loss, _token_loss_twin),
    "binary_cross_entropy": Row(
        _probabilities, lambda x, target: F.binary_cross_entropy(x, target, reduction="none")
    ),
}  # fmt: skip
