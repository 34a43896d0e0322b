"""``python -m torch_llm dpo`` 与 ``reward``：由偏好微调，与奖励模型。

流入：设置；流出：运行文件夹与报告。数据与批次见 ``tinygrad_llm/common/tuning/preferences.py``，损失见
``objectives_preferences.py``，训练是 ``pretrain.py`` 的那一个循环。
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tinygrad_llm.common.tuning.preference_config import TorchDpoConfig, TorchRewardConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinygrad_llm.common.config import GPTConfig
    from tinygrad_llm.common.torch_config import TorchConfig
    from tinygrad_llm.common.tuning.preference_batches import Scorer

__all__ = ["dpo", "open_scorer", "reward"]


def dpo(config: TorchDpoConfig) -> None:
    """由偏好微调，写出运行文件夹与报告。"""
    from tinygrad_llm.common.tuning.preferences import dpo_session
    from torch_llm.objectives_preferences import PreferenceMethod
    from torch_llm.tune import tune

    weights = (config.desirable_weight, config.undesirable_weight)
    method = PreferenceMethod(config.loss, config.beta_or_default, config.label_smoothing, weights)
    alone = "the baseline of kto is taken over the whole batch" if config.loss == "kto" else None
    tune(config, method, lambda base: dpo_session(base, lambda *model: open_scorer(config, *model)), alone=alone)


def reward(config: TorchRewardConfig) -> None:
    """训练奖励模型，写出运行文件夹与报告。"""
    from tinygrad_llm.common.tuning.preferences import reward_session
    from torch_llm.objectives_preferences import RewardMethod
    from torch_llm.tune import tune

    tune(config, RewardMethod(config.margin), reward_session)


def open_scorer(config: TorchConfig, model: GPTConfig, weights: Mapping[str, NDArray[Any]]) -> Scorer:
    """冻结的模型，会算每个目标 token 的对数概率；精度与训练时相同。

    Args:
        config: 设置：在哪里、以什么精度算。
        model: 模型配置。
        weights: 权重。
    """
    import torch

    from torch_llm.loop import build_model
    from torch_llm.objectives_preferences import token_logprobs
    from torch_llm.runtime import pick_runtime

    runtime = pick_runtime(config)
    frozen = build_model(model, dict(weights), runtime.device).eval()

    def score(x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
        with torch.no_grad(), runtime.autocast():
            found = token_logprobs(frozen, *(torch.from_numpy(one).to(runtime.device) for one in (x, y)))
        return found.to(torch.float64).cpu().numpy()

    return score
