"""``python -m tinygrad_llm rl``：NumPy 引擎上的强化学习，与 ``torch_llm/rl.py`` 同样的设置、同样的结果。

流入：``RLConfig``；流出：运行文件夹、报告与训练前后的 pass@k。题目、奖励与采样在 ``common/rl/``，损失在
``objectives_policy.py``，一步怎样更新在 ``tuning.py``。
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygrad_llm.common.rl.hacking import HackingConfig
from tinygrad_llm.common.rl.seeds import SeedsConfig
from tinygrad_llm.common.rl.settings import RLConfig

if TYPE_CHECKING:
    from tinygrad_llm.common.rl.curves import Outcome
    from tinygrad_llm.common.rl.rollouts import Decoders
    from tinygrad_llm.gpt import GPT

__all__ = ["hacking", "main", "run_rl", "seeds"]


def main(config: RLConfig) -> None:
    """训练，写出报告与 pass@k 的曲线。"""
    from tinygrad_llm.common.rl.curves import finish

    finish(config.folder, run_rl(config))


def seeds(config: SeedsConfig) -> None:
    """几个种子各训练一次，合起来比较。"""
    from tinygrad_llm.common.rl.seeds import compare_seeds

    compare_seeds(config, RLConfig, run_rl)


def hacking(config: HackingConfig) -> None:
    """演示怎样钻奖励的空子，与两种补救。"""
    from tinygrad_llm.common.rl.hacking import Workbench, demonstrate
    from tinygrad_llm.common.train_config import TrainConfig
    from tinygrad_llm.train import run_session

    demonstrate(config, Workbench(TrainConfig, RLConfig, run_session, run_rl, {}))


def run_rl(config: RLConfig) -> Outcome:
    """训练一次。

    Args:
        config: 设置。

    Returns:
        训练前后，每道留出的题各对了几个。
    """
    from tinygrad_llm.common.loop import train
    from tinygrad_llm.common.rl.curves import Outcome
    from tinygrad_llm.common.rl.rollouts import Actor
    from tinygrad_llm.common.rl.session import prepare_rl
    from tinygrad_llm.objectives_policy import PolicyGradient, Scorer
    from tinygrad_llm.ops import cores
    from tinygrad_llm.train import build_model
    from tinygrad_llm.tuning import MethodEngine

    if config.workers is not None:
        cores.limit_threads(config.workers)
    prepared = prepare_rl(config)
    session, goal = prepared.session, config.objective(prepared.session.tokenizer.vocab_size)
    engine = MethodEngine(session.model, config, method=PolicyGradient(goal))
    reference = build_model(session.model, prepared.reference)
    slots = _slots_of(engine.model)
    prepared.give(Actor(slots, Scorer(engine.model, reference, goal)))
    train(session, engine)
    before = prepared.exam.correct(_slots_of(reference))
    return Outcome(before, prepared.exam.correct(slots), config.eval_samples)


def _slots_of(model: GPT) -> Decoders:
    """一个模型的批解码器。"""
    from tinygrad_llm.decoding import NumpySlots

    return lambda slots, context: NumpySlots(model, slots, context)
