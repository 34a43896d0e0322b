"""数值守卫：坏掉的一步不更新参数；损失忽然跳高也不更新，跳个不停就退回上一个检查点，绕开那一段数据。

流入：每一步的损失与梯度范数；流出：更新与否、接着走还是退回去。判断只看这两个数与先前的记录，不看权重，也不看钟：
各进程拿到同样的数就做同样的决定，续训重走一遍也一样。下一个文件：``loop.py``。
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, median, pstdev
from typing import Any, Literal

from tinygrad_llm.common.errors import CheckpointError, DivergedError

__all__ = ["MAX_ROLLBACKS", "MAX_SKIPPED", "WINDOW", "Guard", "is_finite", "is_spike"]

Kind = Literal["", "non-finite", "spike"]

MAX_SKIPPED = 10
"""连续这么多步没有更新，就认定训练已经发散。"""
WINDOW = 200
"""尖峰与最近这么多个更新了的步相比；还没有这么多步时不判断。"""
SIGMAS, NORM_RATIO = 6.0, 5.0
"""损失高出均值这么多个标准差，**并且**梯度范数是中位数的这么多倍，才算尖峰：难的一批只占前一条，误报因此极少。"""
REPEATED, SPAN = 3, 20
"""``SPAN`` 步之内出现 ``REPEATED`` 个尖峰：坏的不是一批数据，跳过一步不够，要退回去。"""
MAX_ROLLBACKS = 3
"""退回这么多次仍然不行，就停下。"""


def is_finite(loss: float, norm: float) -> bool:
    """损失与梯度范数都是有限数。"""
    return math.isfinite(loss) and math.isfinite(norm)


def is_spike(loss: float, norm: float, losses: Sequence[float], norms: Sequence[float]) -> bool:
    """这一步是不是尖峰。

    Args:
        loss: 这一步的损失。
        norm: 这一步的梯度范数，裁剪之前。
        losses: 最近 ``WINDOW`` 个更新了的步的损失。
        norms: 它们的梯度范数。
    """
    if len(losses) < WINDOW or norm <= NORM_RATIO * median(norms):
        return False
    return loss > fmean(losses) + SIGMAS * pstdev(losses)


@dataclass
class Guard:
    """守卫的记忆；全部写进检查点，续训因此做出同样的决定。

    Attributes:
        watches_spikes: 是否也管尖峰；不管时只跳过非有限的步。
        losses: 最近 ``WINDOW`` 个更新了的步的损失。
        norms: 它们的梯度范数。
        non_finite: 至今因非有限跳过的步数。
        spikes: 至今因尖峰跳过的步数。
        in_a_row: 眼下连续跳过的步数。
        recent: 最近几个尖峰的步号。
        windows: 退回时绕开的数据：从第几批（含）到第几批（不含）。
        rollbacks: 至今退回过几次。
        returned_to: 上一次退回到第几步；没有退回过为 -1。
        attempts: 接连退回到同一步的次数。
        anchor: 退回去的话退到第几步：最近一个按 ``--save-every`` 存下的检查点；还没有为 -1。因信号而存的不算，
            打断过的训练因此与从未打断的退回到同一步。
    """

    watches_spikes: bool = True
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    norms: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    non_finite: int = 0
    spikes: int = 0
    in_a_row: int = 0
    recent: tuple[int, ...] = ()
    windows: tuple[tuple[int, int], ...] = ()
    rollbacks: int = 0
    returned_to: int = -1
    attempts: int = 0
    anchor: int = -1

    @property
    def skipped(self) -> int:
        """至今没有更新的步数。"""
        return self.non_finite + self.spikes

    @property
    def offset(self) -> int:
        """数据比步号超前几批：绕开的各段之和。"""
        return sum(stop - start for start, stop in self.windows)

    def accepts(self, loss: float, norm: float) -> bool:
        """这一步该不该更新；不改变记忆，引擎在更新之前问。"""
        return self.kind(loss, norm) == ""

    def kind(self, loss: float, norm: float) -> Kind:
        """这一步坏在哪里；没有坏为空。"""
        if not is_finite(loss, norm):
            return "non-finite"
        return "spike" if self.watches_spikes and is_spike(loss, norm, self.losses, self.norms) else ""

    def observe(self, step: int, loss: float, norm: float, *, updated: bool) -> Kind:
        """记下一步。

        Args:
            step: 步号。
            loss: 损失。
            norm: 梯度范数。
            updated: 参数是否更新了。

        Returns:
            这一步坏在哪里；更新了的为空。
        """
        if updated:
            self.losses.append(loss)
            self.norms.append(norm)
            self.in_a_row = 0
            return ""
        kind: Kind = "non-finite" if not is_finite(loss, norm) else "spike"
        self.in_a_row += 1
        if kind == "spike":
            self.spikes += 1
            self.recent = (*self.recent[1 - REPEATED :], step)
        else:
            self.non_finite += 1
        return kind

    def check(self, step: int, where: str) -> None:
        """连续坏了太多步就停下。

        Raises:
            DivergedError: 连续 ``MAX_SKIPPED`` 步没有更新。
        """
        if self.in_a_row >= MAX_SKIPPED:
            raise DivergedError(
                f"training diverged: {MAX_SKIPPED} steps in a row gave a non-finite or exploding loss or gradient",
                where=f"step {step} of {where}",
                fix="resume with a lower --lr, or train in --dtype float64 to find the cause",
            )

    @property
    def must_roll_back(self) -> bool:
        """最近的尖峰是不是挨得太近，又有地方可退。"""
        return self.anchor >= 0 and len(self.recent) == REPEATED and self.recent[-1] - self.recent[0] < SPAN

    def rolled_back(self, kept: Guard, start: int, stop: int, where: str) -> Guard:
        """退回检查点之后的守卫：记忆是检查点的，计数是现在的，数据绕开走坏的那一段。

        Args:
            kept: 检查点里的守卫。
            start: 检查点的步数。
            stop: 现在做完的步数。
            where: 运行文件夹，写进消息。

        Raises:
            DivergedError: 已经接连退回到这一步 ``MAX_ROLLBACKS`` 次。
        """
        attempts = self.attempts + 1 if start == self.returned_to else 1
        if attempts > MAX_ROLLBACKS:
            raise DivergedError(
                f"training diverged: the loss still spikes after going back to step {start} {MAX_ROLLBACKS} times",
                where=f"step {stop - 1} of {where}",
                fix="resume with a lower --lr, or with --no-skip-spikes if these losses are meant",
            )
        window = (start + kept.offset, stop + self.offset)  # 第 start 步该取的一批，到还没有取过的一批
        return replace(
            kept,
            non_finite=self.non_finite,
            spikes=self.spikes,
            in_a_row=0,
            recent=(),
            windows=(*kept.windows, window),
            rollbacks=self.rollbacks + 1,
            returned_to=start,
            attempts=attempts,
        )

    # ---- 存档 ----

    def to_state(self) -> dict[str, Any]:
        """写成 JSON 里的值；浮点数逐比特可读回。"""
        return {name: _plain(getattr(self, name)) for name in _STATE}

    @classmethod
    def of_state(cls, state: Mapping[str, Any], *, watches_spikes: bool) -> Guard:
        """由检查点的状态得到守卫；较早的检查点没有它，只有跳过的步数。

        Args:
            state: 检查点的 ``state``。
            watches_spikes: 是否也管尖峰。

        Raises:
            CheckpointError: 内容不合法。
        """
        kept = state.get("guard", {"non_finite": state.get("skipped_steps", 0)})
        try:
            counts = {name: _count(kept[name]) for name in _COUNTS if name in kept}
            losses, norms = (deque(_numbers(kept.get(name, [])), maxlen=WINDOW) for name in ("losses", "norms"))
            recent = tuple(_count(step) for step in kept.get("recent", []))
            windows = tuple((_count(start), _count(stop)) for start, stop in kept.get("windows", []))
        except (TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                "the checkpoint's guard state is not valid", where="state.json", fix="use another checkpoint"
            ) from error
        return cls(watches_spikes, losses, norms, recent=recent, windows=windows, **counts)


_COUNTS = ("non_finite", "spikes", "in_a_row", "rollbacks", "returned_to", "attempts", "anchor")
_STATE = (*_COUNTS, "losses", "norms", "recent", "windows")


def _plain(value: Any) -> Any:
    return value if isinstance(value, int) else [list(one) if isinstance(one, tuple) else one for one in value]


def _count(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"not an integer: {value!a}")
    return value


def _numbers(values: Any) -> list[float]:
    if not all(type(value) is float and math.isfinite(value) for value in values):
        raise TypeError("not finite numbers")
    return list(values)
