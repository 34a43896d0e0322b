"""何时记录：``torch.profiler.schedule`` 与两个枚举。

流入：第几步；流出：这一步什么也不做、预热、记录，还是记录完就交出。下一站：``profiler.py``。
"""

from __future__ import annotations

import enum
import warnings
from collections.abc import Callable, Iterable


class ProfilerActivity(enum.Enum):
    """可以记录的活动；这里只有 CPU。"""

    CPU = 0
    XPU = 1
    MTIA = 2
    CUDA = 3
    HPU = 4
    PrivateUse1 = 5


class ProfilerAction(enum.Enum):
    """一步里做什么。"""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


def supported_activities() -> set[ProfilerActivity]:
    """记得下的活动。"""
    return {ProfilerActivity.CPU}


def checked_activities(activities: Iterable[ProfilerActivity] | None) -> None:
    """要记的活动里得有 CPU；别的设备没有，只警告一声。

    Raises:
        AssertionError: 没有一样记得下。
    """
    if activities is None:
        return
    wanted = set(activities)
    if not wanted or not all(isinstance(one, ProfilerActivity) for one in wanted):
        raise AssertionError("No valid profiler activities found")
    for absent in sorted(one.name for one in wanted - supported_activities()):
        warnings.warn(f"{absent} is not available, disabling {absent} profiling", UserWarning, stacklevel=4)
    if ProfilerActivity.CPU not in wanted:
        raise AssertionError("No activities specified for the profiler")


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0, skip_first_wait: int = 0
) -> Callable[[int], ProfilerAction]:
    """步号 → 动作：先跳过几步，再一轮一轮地等待、预热、记录，每轮的末一步交出。

    Args:
        wait: 每轮先等几步。
        warmup: 再预热几步：照样计时，结果丢掉。
        active: 再记录几步。
        repeat: 一共几轮；0 表示一直下去。
        skip_first: 开头跳过几步。
        skip_first_wait: 非 0 时，第一轮不等。

    Returns:
        供 ``profile(schedule=...)`` 用的函数。

    Raises:
        AssertionError: 步数不合理。
    """
    if min(wait, warmup, repeat, skip_first) < 0 or active <= 0:
        raise AssertionError(
            f"Invalid profiler schedule arguments. Got wait={wait} (need >= 0), warmup={warmup} (need >= 0), "
            f"active={active} (need > 0), repeat={repeat} (need >= 0), skip_first={skip_first} (need >= 0)."
        )
    if warmup == 0:
        warnings.warn("Profiler won't be using warmup, this can skew profiler results", UserWarning, stacklevel=2)
    length = wait + warmup + active

    def action(step: int) -> ProfilerAction:
        if step < 0:
            raise AssertionError(f"Step must be non-negative. Got {step}.")
        if step < skip_first:
            return ProfilerAction.NONE
        cycle, place = divmod(step - skip_first + (wait if skip_first_wait else 0), length)
        if (repeat and cycle >= repeat) or place < wait:
            return ProfilerAction.NONE
        if place < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD_AND_SAVE if place == length - 1 else ProfilerAction.RECORD

    return action


def every_step(step: int) -> ProfilerAction:
    """没有给 ``schedule`` 时：从头记到尾。"""
    return ProfilerAction.RECORD
