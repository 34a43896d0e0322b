"""``python -m torch_llm evaluate``：评测一个或几个运行，写出成绩单。

流入：``EvaluateConfig``；流出：终端上的成绩、JSON 与网页。题目、算分与成绩单在 ``common/evaluation/``，
与 NumPy 引擎共用；这里只有「逐 token 打分」与「打开一个运行」。
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.evaluation.settings import EvaluateConfig, working_dtype

if TYPE_CHECKING:
    import torch

    from tinygrad_llm.common.evaluation.likelihood import Candidate
    from torch_llm.gpt import GPT

__all__ = ["TorchLikelihood", "main", "open_candidate"]

_CHUNK = 1 << 25
"""一块 logits 大约几个元素。"""


class TorchLikelihood:
    """PyTorch 上的 ``Likelihood``。

    Args:
        model: 模型，处于 ``eval`` 状态。
        start: 文本起始符；几段装在一行时以它隔开。

    Attributes:
        context: 一行最长几个 token。
    """

    def __init__(self, model: GPT, start: int) -> None:
        self.model, self.context, self._config = model, model.config.context, model.config
        self._packed = replace(model.config, document_start=start)

    def logprobs(
        self, x: NDArray[np.int64], y: NDArray[np.int64], *, is_packed: bool = False
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """见 ``common/evaluation/likelihood.py``；只算要预测的位置的 logits，一块一块地算。"""
        import torch

        model, valid = self.model, y >= 0
        logprobs, greedy = np.zeros(y.shape), np.zeros(y.shape, np.bool_)
        device = model.ln_f.weight.device
        model.config = self._packed if is_packed else self._config
        try:
            with torch.inference_mode():
                hidden = model.hidden(torch.from_numpy(x).to(device))[torch.from_numpy(valid).to(device)]
                found = _chosen(model, hidden, torch.from_numpy(y[valid]).to(device))
        finally:
            model.config = self._config
        logprobs[valid], greedy[valid] = found[0].cpu().numpy(), found[1].cpu().numpy()
        return logprobs, greedy


def _chosen(model: GPT, hidden: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """各位置上目标的对数概率（float64），与它是不是最大的。"""
    import torch

    rows = max(1, _CHUNK // model.config.vocab_size)
    logprobs, greedy = [], []
    for part in range(0, len(hidden), rows):
        z, target = model.logits(hidden[part : part + rows]), targets[part : part + rows, None]
        z = z if z.dtype == torch.float64 else z.float()
        chosen = z.gather(1, target)[:, 0]
        logprobs.append((chosen.double() - z.logsumexp(1).double()).cpu())  # MPS 没有 float64 的和
        greedy.append((z.argmax(1) == target[:, 0]).cpu())
    return torch.cat(logprobs), torch.cat(greedy)


def open_candidate(folder: Path, dtype: str = "auto") -> Candidate:
    """打开一个运行，备好评测。

    Args:
        folder: 运行文件夹，或其中的检查点。
        dtype: ``auto``、``float32`` 或 ``float64``；量化了的模型照它自己的算。

    Returns:
        受测的模型。

    Raises:
        CheckpointError: 缺失或损坏。
        UserError: 设备没有 float64。
    """
    import torch

    from tinygrad_llm.common.checkpoint import read_state
    from tinygrad_llm.common.errors import UserError
    from tinygrad_llm.common.evaluation.likelihood import Candidate, start_id
    from tinygrad_llm.common.quantization import STATE_KEY
    from torch_llm.decoding.slots import TorchSlots
    from torch_llm.loading import load_model

    loaded = load_model(folder)
    model: GPT = loaded.model
    where = model.ln_f.weight.device
    is_quantised = STATE_KEY in loaded.state
    name = working_dtype(dtype, model.config, has_float64=where.type != "mps")
    if name == "float64" and where.type == "mps":
        raise UserError("MPS has no float64", where="--dtype float64", fix="use --dtype float32")
    if not is_quantised:
        model = model.to(getattr(torch, name))
    facts: dict[str, Any] = {"engine": f"torch on {where.type}", "dtype": "quantised" if is_quantised else name}
    return Candidate(
        folder,
        TorchLikelihood(model, start_id(loaded.tokenizer)),
        lambda slots: TorchSlots(model, slots),
        loaded.tokenizer,
        read_state(folder),
        facts,
    )


def main(config: EvaluateConfig) -> None:
    """评测；torch 在这里才导入，``--help`` 因此立即可答。"""
    from tinygrad_llm.common.evaluation.command import run_evaluation

    run_evaluation(config, lambda folder: open_candidate(folder, config.dtype))
