"""``python -m tinygrad_llm dpo`` 与 ``reward``：由偏好微调，与奖励模型。

流入：设置；流出：运行文件夹与报告。数据与批次见 ``common/tuning/preferences.py``，损失见
``objectives_preferences.py``，引擎是 ``tuning.py`` 的那一个。
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tinygrad_llm.common.tuning.preference_config import DpoConfig, RewardConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinygrad_llm.common.config import GPTConfig
    from tinygrad_llm.common.tuning.preference_batches import Scorer

__all__ = ["dpo", "open_scorer", "reward"]


def dpo(config: DpoConfig) -> None:
    """由偏好微调，写出运行文件夹与报告。"""
    from tinygrad_llm.common.tuning.preferences import dpo_session
    from tinygrad_llm.objectives_preferences import PreferenceMethod
    from tinygrad_llm.tuning import tune

    weights = (config.desirable_weight, config.undesirable_weight)
    method = PreferenceMethod(config.loss, config.beta_or_default, config.label_smoothing, weights)
    tune(config, method, lambda base: dpo_session(base, open_scorer))


def reward(config: RewardConfig) -> None:
    """训练奖励模型，写出运行文件夹与报告。"""
    from tinygrad_llm.common.tuning.preferences import reward_session
    from tinygrad_llm.objectives_preferences import RewardMethod
    from tinygrad_llm.tuning import tune

    tune(config, RewardMethod(config.margin), reward_session)


def open_scorer(model: GPTConfig, weights: Mapping[str, NDArray[Any]]) -> Scorer:
    """冻结的模型，会算每个目标 token 的对数概率。

    Args:
        model: 模型配置。
        weights: 权重。
    """
    import tinygrad_llm as tg
    from tinygrad_llm.objectives_preferences import token_logprobs
    from tinygrad_llm.train import build_model

    frozen = build_model(model, dict(weights)).eval()

    def score(x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
        with tg.no_grad():
            found: NDArray[Any] = token_logprobs(frozen, tg.from_numpy(x), tg.from_numpy(y)).double().numpy()
        return found

    return score
