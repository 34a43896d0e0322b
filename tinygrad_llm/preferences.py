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
    from tinygrad_llm.common.engine import Method
    from tinygrad_llm.common.session import Session
    from tinygrad_llm.common.train_config import TrainConfig
    from tinygrad_llm.common.tuning.preference_batches import Scorer

__all__ = ["dpo", "open_scorer", "reward", "run_method"]


def dpo(config: DpoConfig) -> None:
    """由偏好微调，写出运行文件夹与报告。"""
    from tinygrad_llm.common.tuning.preferences import prepare_dpo
    from tinygrad_llm.objectives_preferences import PreferenceMethod

    weights = (config.desirable_weight, config.undesirable_weight)
    method = PreferenceMethod(config.loss, config.beta, config.label_smoothing, weights)
    run_method(config, prepare_dpo(config, open_scorer), method)


def reward(config: RewardConfig) -> None:
    """训练奖励模型，写出运行文件夹与报告。"""
    from tinygrad_llm.common.tuning.preferences import prepare_reward
    from tinygrad_llm.objectives_preferences import RewardMethod

    run_method(config, prepare_reward(config), RewardMethod(config.margin))


def run_method(config: TrainConfig, session: Session, method: Method) -> None:
    """用给定的方法跑完备好的一次训练，写出报告。

    Args:
        config: 设置。
        session: 备好的训练。
        method: 训练方法。
    """
    from tinygrad_llm.common.loop import train
    from tinygrad_llm.train import finish
    from tinygrad_llm.tuning import MethodEngine

    train(session, MethodEngine(session.model, config, method))
    finish(config)


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
