"""学习率曲线：线性预热，再沿半个余弦降到最小值。

流入：步号与四个超参数；流出：这一步的学习率。
下一个文件：``sampling.py``（训练好的模型怎样选出下一个 token）。
"""

from __future__ import annotations

import math

from tinygrad_llm.common.errors import UserError


def learning_rate(step: int, *, peak: float, minimum: float, warmup_steps: int, total_steps: int) -> float:
    """第 ``step`` 步的学习率；只由参数决定，断点续训不需要保存任何状态。

    预热共 W 步，第 t 步取 peak · (t + 1) / W：首步大于 0，第 W - 1 步恰为峰值。
    其后 minimum + (peak - minimum) · (1 + cos(π·p)) / 2，p 从 0 走到 1，最后一步恰为最小值。
    W = 0 与 W = 1 相同，都从峰值开始。总步数不超过预热步数时没有余弦段，最后一步仍取最小值；
    只跑一步的训练也是如此。

    Args:
        step: 步号，从 0 起；越过 ``total_steps`` 之后一直取最小值。
        peak: 峰值，大于 0。
        minimum: 最小值，在 0 与 ``peak`` 之间。
        warmup_steps: 预热步数 W，可以为 0。
        total_steps: 总步数，至少为 1。

    Returns:
        学习率。

    Raises:
        UserError: 参数越界。
    """
    _check(step, peak, minimum, warmup_steps, total_steps)
    warmup, last = max(warmup_steps, 1), total_steps - 1
    if step >= last:
        return minimum
    if step < warmup:
        return peak * ((step + 1) / warmup)  # 先除后乘：预热末步的比值恰为 1，峰值没有舍入误差
    progress = (step - (warmup - 1)) / (last - (warmup - 1))
    return minimum + (peak - minimum) * 0.5 * (1.0 + math.cos(math.pi * progress))


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
