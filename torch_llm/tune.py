"""``python -m torch_llm sft`` 等：从一次训练好的运行出发微调。

流入：各种微调的设置；流出：运行文件夹与报告。数据与评估在 ``tinygrad_llm/common/tuning/``，训练就是 ``pretrain.py``
的那一个循环。恰好学模型的全部参数的（指令、偏好）可以由 ``torchrun`` 起几个进程；只学一部分、另添了头的是一个进程。
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tinygrad_llm.common.tuning.classify_settings import ApplyConfig, TorchGridConfig
from tinygrad_llm.common.tuning.config import TorchClassifyConfig, TorchSftConfig
from tinygrad_llm.common.tuning.ways import TorchSftCompareConfig

if TYPE_CHECKING:
    import torch

    from tinygrad_llm.common.engine import Batch, Method
    from tinygrad_llm.common.session import Session
    from tinygrad_llm.common.tuning.session import Base
    from torch_llm.gpt import GPT


def sft(config: TorchSftConfig) -> None:
    """指令微调：只学回答。"""
    from tinygrad_llm.common.engine import LanguageModelling
    from tinygrad_llm.common.tuning.sft import gather, prepare_sft, sft_session
    from torch_llm.pretrain import run_and_report

    if config.scope.is_partial:
        tune(config, LanguageModelling(), lambda base: sft_session(base, gather(base)), alone=None)
    else:
        run_and_report(config, lambda: prepare_sft(config))


def compare_ways(config: TorchSftCompareConfig) -> None:
    """同样的指令微调，学全部参数、末几层、LoRA 各一次，比一比。"""
    from tinygrad_llm.common.tuning.compare import compare_ways as run

    run(config, "torch_llm")


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


def classify_apply(config: ApplyConfig) -> None:
    """给文字贴标签。"""
    import torch

    from tinygrad_llm.common.tuning.labelling import Opened, label_texts, load_head
    from torch_llm.loading import load_model
    from torch_llm.objectives_classification import Classification

    head, loaded = load_head(config.folder), load_model(config.folder)
    model, method = loaded.model, Classification([1.0] * len(head.labels))
    method.attach(model, (head.weight, head.bias))
    device = model.ln_f.weight.device

    def predict(batch: Batch) -> Any:
        return method.predict(model, *(torch.from_numpy(array).to(device) for array in batch))

    label_texts(config, head, Opened(model.config, loaded.tokenizer, predict))


def classify_grid(config: TorchGridConfig) -> None:
    """分类的消融。"""
    from tinygrad_llm.common.tuning.classify_grid import run_grid

    run_grid(config, TorchClassifyConfig, classify)


def tune(
    config: Any, inner: Method, session_of: Callable[[Base[Any]], Session], *, alone: str | None = "it adds a head"
) -> None:
    """跑完任意一种方法的微调，照设置只学一部分参数，写出报告。

    Args:
        config: 设置，``ScopedConfig`` 与 ``TorchConfig`` 合成的一类。
        inner: 方法。
        session_of: 由出发点备好一次训练。
        alone: 为什么只能是一个进程（英文半句）；``None`` 表示学全部参数时可以有几个。

    Raises:
        UserError: 由 ``torchrun`` 起了几个进程，而这次只能是一个；或设置与进程数对不上。
    """
    from tinygrad_llm.common.environment import launched
    from tinygrad_llm.common.errors import UserError
    from tinygrad_llm.common.tuning.session import open_base
    from torch_llm.parallel.layout import choose_layout
    from torch_llm.pretrain import finish, run_and_report, run_session
    from torch_llm.scoped import Scoped

    if choose_layout(config, launched()).world > 1:
        fix = "start it without torchrun" + (", or drop --lora-rank and --last-layers" if alone is None else "")
        why = alone or ("it trains a part of the model" if config.scope.is_partial else "")
        if why:
            problem, where = f"this kind of tuning runs in one process: {why}", f"{launched().world} processes"
            raise UserError(problem, where=where, fix=fix)
        return run_and_report(config, lambda: session_of(open_base(config)), inner)
    base = open_base(config)
    if config.scope.is_partial:
        base = replace(base, ancestor=None)  # 底座用到时再读：不让一份浮点数的权重一直占着内存
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
    from tinygrad_llm.common.checkpoint import read_state
    from tinygrad_llm.common.quantization import STATE_KEY
    from tinygrad_llm.common.session import load_weights
    from torch_llm.loop import build_model
    from torch_llm.quantization.model import quantized_model

    weights = base.weights()  # 也核对了摘要：它须还是原来的那一个
    if STATE_KEY not in read_state(base.folder):
        return build_model(base.model, weights, device, adopt=True)
    del weights
    config, checkpoint = load_weights(base.folder)
    metadata, where = checkpoint.state[STATE_KEY], str(base.folder)
    return quantized_model(config, checkpoint.model, metadata, device, compute="exact", is_merged=False, where=where)
