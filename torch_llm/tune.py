"""``python -m torch_llm sft`` 等：从一次训练好的运行出发微调。

流入：各种微调的设置；流出：运行文件夹与报告。数据与评估在 ``tinygrad_llm/common/tuning/``，训练就是 ``pretrain.py``
的那一个循环。学全部参数的可以由 ``torchrun`` 起几个进程；只学一部分的是一个进程。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tinygrad_llm.common.tuning.config import TorchClassifyConfig, TorchSftConfig

if TYPE_CHECKING:
    import torch

    from tinygrad_llm.common.engine import Method
    from tinygrad_llm.common.session import Session
    from tinygrad_llm.common.tuning.session import Base
    from torch_llm.gpt import GPT


def sft(config: TorchSftConfig) -> None:
    """指令微调：只学回答。"""
    from tinygrad_llm.common.engine import LanguageModelling
    from tinygrad_llm.common.tuning.sft import gather, prepare_sft, sft_session
    from torch_llm.pretrain import run_and_report

    if config.scope.is_partial:
        tune(config, LanguageModelling(), lambda base: sft_session(base, gather(base)))
    else:
        run_and_report(config, lambda: prepare_sft(config))


def classify(config: TorchClassifyConfig) -> None:
    """分类：一个头，取最后一个真正的 token 的特征。"""
    from tinygrad_llm.common.tuning.classification import classification_session, prepare_rows
    from tinygrad_llm.common.tuning.session import open_base
    from torch_llm.objectives_classification import Classification

    prepared = prepare_rows(open_base(config))
    method = Classification(prepared.weights)

    def predict(engine: Any, batch: Any) -> Any:
        return method.predict(engine.model, *map(engine.tensor, batch))

    tune(config, method, lambda base: classification_session(base, prepared, predict))


def tune(config: Any, inner: Method, session_of: Callable[[Base[Any]], Session]) -> None:
    """一个进程跑完任意一种方法的微调，照设置只学一部分参数，写出报告。

    Args:
        config: 设置，``ScopedConfig`` 与 ``TorchConfig`` 合成的一类。
        inner: 方法。
        session_of: 由出发点备好一次训练。

    Raises:
        UserError: 由 ``torchrun`` 起了几个进程。
    """
    from tinygrad_llm.common.environment import launched
    from tinygrad_llm.common.errors import UserError
    from tinygrad_llm.common.tuning.session import open_base
    from torch_llm.pretrain import finish, run_session
    from torch_llm.scoped import Scoped

    if launched().world > 1:
        raise UserError(
            "this kind of tuning runs in one process",
            where=f"{launched().world} processes",
            fix="start it without torchrun",
        )
    base = open_base(config)
    session = session_of(base)
    method = Scoped(inner, config.scope, config.seed)
    run_session(session, config, method=method, model=lambda device: frozen_model(base, device))
    if not config.dry_run:
        finish(config)


def frozen_model(base: Base[Any], device: torch.device | str) -> GPT:
    """出发点的模型；它是整数权重的，就原样留着整数（QLoRA）：前向与反传用到时才还原一层。

    Args:
        base: 出发点。
        device: 放在哪里。
    """
    from tinygrad_llm.common.quantization import STATE_KEY
    from tinygrad_llm.common.session import load_weights
    from torch_llm.loop import build_model
    from torch_llm.quantization.model import quantized_model

    config, checkpoint = load_weights(base.folder)
    if STATE_KEY not in checkpoint.state:
        return build_model(base.model, base.weights(), device)
    base.weights()  # 核对摘要：它须还是原来的那一个
    metadata, where = checkpoint.state[STATE_KEY], str(base.folder)
    return quantized_model(config, checkpoint.model, metadata, device, compute="exact", is_merged=False, where=where)
