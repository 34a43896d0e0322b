"""``python -m tinygrad_llm evaluate``：评测一个或几个运行，写出成绩单。

流入：``EvaluateConfig``；流出：终端上的成绩、JSON 与网页。题目、算分与成绩单在 ``common/evaluation/``，
与 PyTorch 引擎共用；这里只有「逐 token 打分」与「打开一个运行」。
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.evaluation.settings import EvaluateConfig, working_dtype

if TYPE_CHECKING:
    from tinygrad_llm.common.evaluation.likelihood import Candidate
    from tinygrad_llm.gpt import GPT

__all__ = ["NumpyLikelihood", "main", "open_candidate"]

_CHUNK = 1 << 23
"""一块 logits 大约几个元素。"""


class NumpyLikelihood:
    """NumPy 上的 ``Likelihood``。

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
        import tinygrad_llm as tg

        model, valid = self.model, y >= 0
        logprobs, greedy = np.zeros(y.shape), np.zeros(y.shape, np.bool_)
        model.config = self._packed if is_packed else self._config
        try:
            with tg.no_grad():
                hidden = model.hidden(tg.from_numpy(x)).array[valid]
                logprobs[valid], greedy[valid] = _chosen(model, hidden, y[valid])
        finally:
            model.config = self._config
        return logprobs, greedy


def _chosen(
    model: GPT, hidden: NDArray[Any], targets: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """各位置上目标的对数概率（float64），与它是不是最大的。"""
    import tinygrad_llm as tg

    rows = max(1, _CHUNK // model.config.vocab_size)
    logprobs, greedy = np.zeros(len(targets)), np.zeros(len(targets), np.bool_)
    for part in (slice(start, start + rows) for start in range(0, len(targets), rows)):
        z, target = model.logits(tg.from_numpy(hidden[part])).array, targets[part, None]
        chosen, top = np.take_along_axis(z, target, 1)[:, 0], z.max(1)
        sums = np.exp(z - top[:, None]).sum(1)
        logprobs[part] = (chosen - top).astype(np.float64) - np.log(sums.astype(np.float64))
        greedy[part] = z.argmax(1) == target[:, 0]
    return logprobs, greedy


def open_candidate(folder: Path, dtype: str = "auto") -> Candidate:
    """打开一个运行，备好评测；量化了的先还原成浮点数。

    Args:
        folder: 运行文件夹，或其中的检查点。
        dtype: ``auto``、``float32`` 或 ``float64``。

    Returns:
        受测的模型。

    Raises:
        CheckpointError: 缺失或损坏。
    """
    import tinygrad_llm as tg
    from tinygrad_llm.common.checkpoint import read_state
    from tinygrad_llm.common.evaluation.likelihood import Candidate, start_id
    from tinygrad_llm.decoding import NumpySlots
    from tinygrad_llm.loading import load_model

    loaded = load_model(folder)
    name = working_dtype(dtype, loaded.model.config)
    model: GPT = loaded.model.to(getattr(tg, name))
    return Candidate(
        folder,
        NumpyLikelihood(model, start_id(loaded.tokenizer)),
        lambda slots: NumpySlots(model, slots),
        loaded.tokenizer,
        read_state(folder),
        {"engine": "numpy", "dtype": name},
    )


def main(config: EvaluateConfig) -> None:
    """评测；引擎在这里才加载，``--help`` 因此立即可答。"""
    from tinygrad_llm.common.evaluation.command import run_evaluation

    run_evaluation(config, lambda folder: open_candidate(folder, config.dtype))
