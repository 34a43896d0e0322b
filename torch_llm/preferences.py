"""``python -m torch_llm dpo`` 与 ``reward``：由偏好微调，与奖励模型。

流入：设置；流出：运行文件夹与报告。数据与批次见 ``tinygrad_llm/common/tuning/preferences.py``，损失见
``objectives_preferences.py``，训练是 ``pretrain.py`` 的那一个循环。
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tinygrad_llm.common.environment import launched
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tuning.preference_config import TorchDpoConfig, TorchRewardConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinygrad_llm.common.config import GPTConfig
    from tinygrad_llm.common.engine import Method
    from tinygrad_llm.common.session import Session
    from tinygrad_llm.common.torch_config import TorchConfig
    from tinygrad_llm.common.tuning.preference_batches import Scorer

__all__ = ["dpo", "open_scorer", "reward", "run_method"]


def dpo(config: TorchDpoConfig) -> None:
    """由偏好微调，写出运行文件夹与报告。"""
    from tinygrad_llm.common.tuning.preferences import prepare_dpo
    from torch_llm.objectives_preferences import PreferenceMethod

    weights = (config.desirable_weight, config.undesirable_weight)
    method = PreferenceMethod(config.loss, config.beta, config.label_smoothing, weights)
    run_method(config, prepare_dpo(config, lambda *model: open_scorer(config, *model)), method)


def reward(config: TorchRewardConfig) -> None:
    """训练奖励模型，写出运行文件夹与报告。"""
    from tinygrad_llm.common.tuning.preferences import prepare_reward
    from torch_llm.objectives_preferences import RewardMethod

    run_method(config, prepare_reward(config), RewardMethod(config.margin))


def run_method(config: TorchConfig, session: Session, method: Method) -> None:
    """用给定的方法跑完备好的一次训练，写出报告。

    Args:
        config: 设置。
        session: 备好的训练。
        method: 训练方法。

    Raises:
        UserError: 起了几个进程。
    """
    if launched().world > 1:
        raise UserError(
            "this method trains in one process", where=f"{launched().world} processes", fix="start it without torchrun"
        )
    import torch

    from tinygrad_llm.common.loop import train
    from torch_llm.loop import TorchEngine
    from torch_llm.pretrain import finish

    if config.workers is not None:
        torch.set_num_threads(config.workers)
    train(session, TorchEngine(session.model, config, method=method))
    finish(config)


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
