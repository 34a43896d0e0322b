"""学习率曲线：线性预热，再沿半个余弦或一条直线降到最小值，或先平后降。

流入：步号与几个超参数；流出：这一步的学习率。
下一个文件：``sampling.py``（训练好的模型怎样选出下一个 token）。
"""

from __future__ import annotations

import math
from typing import Literal

from tinygrad_llm.common.errors import UserError

Schedule = Literal["cosine", "linear", "wsd"]


def learning_rate(
    step: int,
    *,
    peak: float,
    minimum: float,
    warmup_steps: int,
    total_steps: int,
    shape: Schedule = "cosine",
    decay_fraction: float = 0.2,
) -> float:
    """第 ``step`` 步的学习率；只由参数决定，断点续训不需要保存任何状态。

    预热共 W 步，第 t 步取 peak · (t + 1) / W：首步大于 0，第 W - 1 步恰为峰值。
    其后下降，进度 p 从 0 走到 1，最后一步恰为最小值：

    - ``cosine``：minimum + (peak - minimum) · (1 + cos(π·p)) / 2；
    - ``linear``：minimum + (peak - minimum) · (1 - p)；
    - ``wsd``（warm-up, stable, decay）：停在峰值，直到最后 ``decay_fraction · total_steps`` 步才沿直线下降。
      停在峰值的那一段与总步数无关，所以训练随时可以延长，要收尾时再降。

    W = 0 与 W = 1 相同，都从峰值开始。总步数不超过预热步数时没有下降的一段，最后一步仍取最小值；
    只跑一步的训练也是如此。

    Args:
        step: 步号，从 0 起；越过 ``total_steps`` 之后一直取最小值。
        peak: 峰值，大于 0。
        minimum: 最小值，在 0 与 ``peak`` 之间。
        warmup_steps: 预热步数 W，可以为 0。
        total_steps: 总步数，至少为 1。
        shape: 预热之后的形状。
        decay_fraction: ``wsd`` 下降的一段占总步数的比例，在 [0, 1] 内；0 表示一直停在峰值，末步也是。

    Returns:
        学习率。

    Raises:
        UserError: 参数越界。
    """
    _check(step, peak, minimum, warmup_steps, total_steps)
    warmup, last = max(warmup_steps, 1), total_steps - 1
    if step < min(warmup, last):
        return peak * ((step + 1) / warmup)  # 先除后乘：预热末步的比值恰为 1，峰值没有舍入误差
    falling = round(decay_fraction * total_steps) if shape == "wsd" else total_steps  # 至多用几步下降
    if not falling:
        return peak
    if step >= last:
        return minimum
    start = max(warmup - 1, last - falling)  # 停在峰值的最后一步
    if step <= start:
        return peak
    progress = (step - start) / (last - start)
    fall = 0.5 * (1.0 + math.cos(math.pi * progress)) if shape == "cosine" else 1.0 - progress
    return minimum + (peak - minimum) * fall


def _check(step: int, peak: float, minimum: float, warmup_steps: int, total_steps: int) -> None:
    """检查取值范围；把 NaN 与无穷也挡在外面。"""
    if not (math.isfinite(peak) and peak > 0):
        raise UserError(f"peak learning rate must be a finite number > 0, got {peak}", fix="try 3e-4")
    if not 0 <= minimum <= peak:
        raise UserError(
            f"minimum learning rate must lie in [0, peak = {peak}], got {minimum}", fix=f"try {peak / 10:g}"
        )
    if warmup_steps < 0 or total_steps < 1 or step < 0:
        raise UserError(
            f"expected step >= 0, warmup_steps >= 0 and total_steps >= 1, got {step}, {warmup_steps} and {total_steps}",
            fix="count steps from 0 and train for at least one step",
        )
