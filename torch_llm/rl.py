"""``python -m torch_llm rl``：可以核对的题目上的强化学习，REINFORCE、PPO、GRPO 或它的简化。

流入：``TorchRLConfig``；流出：运行文件夹、报告与训练前后的 pass@k。题目、奖励与采样在 ``tinygrad_llm/common/rl/``，
损失在 ``objectives_policy.py``。
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygrad_llm.common.rl.hacking import HackingConfig
from tinygrad_llm.common.rl.seeds import TorchSeedsConfig
from tinygrad_llm.common.rl.settings import TorchRLConfig

if TYPE_CHECKING:
    from tinygrad_llm.common.rl.curves import Outcome
    from tinygrad_llm.common.rl.rollouts import Decoders
    from torch_llm.gpt import GPT

__all__ = ["hacking", "main", "run_rl", "seeds"]


def main(config: TorchRLConfig) -> None:
    """训练，写出报告与 pass@k 的曲线。"""
    from tinygrad_llm.common.rl.curves import finish

    finish(config.folder, run_rl(config))


def seeds(config: TorchSeedsConfig) -> None:
    """几个种子各训练一次，合起来比较。"""
    from tinygrad_llm.common.rl.seeds import compare_seeds

    compare_seeds(config, TorchRLConfig, run_rl)


def hacking(config: HackingConfig) -> None:
    """演示怎样钻奖励的空子，与两种补救。"""
    from tinygrad_llm.common.rl.hacking import Workbench, demonstrate
    from tinygrad_llm.common.torch_config import TorchConfig
    from torch_llm.pretrain import run_session

    demonstrate(config, Workbench(TorchConfig, TorchRLConfig, run_session, run_rl, {"device": "cpu"}))


def run_rl(config: TorchRLConfig) -> Outcome:
    """训练一次。

    Args:
        config: 设置。

    Returns:
        训练前后，每道留出的题各对了几个。

    Raises:
        UserError: 设置不对，或由 ``torchrun`` 起了几个进程。
    """
    import torch

    from tinygrad_llm.common.environment import launched
    from tinygrad_llm.common.errors import UserError
    from tinygrad_llm.common.loop import train
    from tinygrad_llm.common.rl.curves import Outcome
    from tinygrad_llm.common.rl.rollouts import Actor
    from tinygrad_llm.common.rl.session import prepare_rl
    from torch_llm.loop import TorchEngine, build_model
    from torch_llm.objectives_policy import PolicyGradient, Scorer

    if launched().world > 1:
        raise UserError("reinforcement learning runs in one process", fix="start it without torchrun")
    if config.workers is not None:
        torch.set_num_threads(config.workers)
    prepared = prepare_rl(config)
    session, goal = prepared.session, config.objective(prepared.session.tokenizer.vocab_size)
    engine = TorchEngine(session.model, config, method=PolicyGradient(goal))
    reference = build_model(session.model, prepared.reference, engine.device)
    scorer = Scorer(engine.model, reference, goal, forward=engine.runtime.autocast)

    slots = _slots_of(engine.model)
    prepared.give(Actor(slots, scorer))
    train(session, engine)
    before = prepared.exam.correct(_slots_of(reference))
    return Outcome(before, prepared.exam.correct(slots), config.eval_samples)


def _slots_of(model: GPT) -> Decoders:
    """一个模型的批解码器。"""
    from torch_llm.decoding.slots import TorchSlots

    return lambda slots, context: TorchSlots(model, slots, context)
