"""偏好与蒸馏的损失不是语言模型的那一个：有些训练的设置对它们不起作用，与其不声不响，不如说明白。

流入：设置；流出：各一句话。
"""

from __future__ import annotations

from tinygrad_llm.common.train_config import TrainConfig

__all__ = ["beyond_one_step"]

_USELESS = {
    "dry_run": False, "profile": None, "compile": False, "qat": "off", "sharded_checkpoints": False,
}  # fmt: skip
"""设置的名字与它不起作用时的取值；NumPy 的设置里没有后几个。"""


def beyond_one_step(settings: TrainConfig, parallel: tuple[str, ...] = ("auto",)) -> list[str]:
    """给了而不起作用的设置，各一句。

    Args:
        settings: 设置。
        parallel: 起作用的 ``--parallel``。
    """
    given = [name for name, default in _USELESS.items() if getattr(settings, name, default) != default]
    given += [] if getattr(settings, "parallel", parallel[0]) in parallel else ["parallel"]
    return [f"--{name.replace('_', '-')} knows only the loss of a language model" for name in given]
