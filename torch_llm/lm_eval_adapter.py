"""我们的运行放进 ``lm-eval``：它的几百套题，用我们的引擎来答。

流入：``lm_eval`` 的请求；流出：对数概率与文字。要装 ``pip install 'zero-one-llm[eval]'``；题由 ``lm_eval`` 自己去取。
在命令行上用，把 ``lm_eval`` 换成 ``python -m torch_llm.lm_eval_adapter``：

    python -m torch_llm.lm_eval_adapter --model zero-one-llm --model_args run=runs/small --tasks arc_easy

与 ``evaluate`` 同一套打分：题面与选项合起来编码再切开，所以选择题的成绩两边相等；``loglikelihood_rolling`` 的窗口
互不重叠，末一窗往前凑满上下文，也与那边的约定相同。
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model

from tinygrad_llm.common.decoding.request import Request, Sampling
from tinygrad_llm.common.decoding.scheduler import Scheduler
from tinygrad_llm.common.evaluation.answering import finished_texts
from tinygrad_llm.common.evaluation.likelihood import Candidate, continuation, score_rows, start_id
from tinygrad_llm.common.evaluation.prompts import encode_pair
from tinygrad_llm.common.evaluation.texts import windows_of
from torch_llm.evaluate import open_candidate

__all__ = ["ZeroOneLM"]

_TOKENS = 256


@register_model("zero-one-llm")
class ZeroOneLM(LM):  # type: ignore[misc]  # 没有装 lm_eval 时，它的类型是 Any
    """``lm_eval`` 眼里的一个运行。

    Args:
        run: 运行文件夹，或其中的检查点。
        dtype: ``auto``、``float32`` 或 ``float64``，见 ``evaluate --dtype``。
        batch_size: 一次至多算几行；不影响结果。
        candidate: 已经打开的模型，代替 ``run``。
        unused: ``lm_eval`` 另外传来的设置（设备、上限等），用不到。

    Attributes:
        candidate: 受测的模型。
    """

    def __init__(
        self, run: str = "", dtype: str = "auto", batch_size: int | str = 16, candidate: Candidate | None = None,
        **unused: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        self.candidate = candidate or open_candidate(Path(run), dtype)
        self._batch_size = int(batch_size) if str(batch_size).isdecimal() else 16  # lm_eval 可能传来 "auto"
        self._start = start_id(self.candidate.tokenizer)

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """``(题面, 下文)`` 的对数概率之和，与下文是不是逐个都最可能。"""
        tokenizer, model, rows = self.candidate.tokenizer, self.candidate.likelihood, []
        for prompt, answer in (request.args for request in requests):
            head, ids = encode_pair(tokenizer, prompt, answer)
            rows.append(continuation(head, ids, model.context, self._start)[0])
        scored = score_rows(model, rows, self._batch_size)
        return [(float(one.logprobs.sum()), bool(one.greedy.all())) for one in scored]

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        """整份文档的对数概率，由文本起始符写起。"""
        model, rows, owner = self.candidate.likelihood, [], []
        for number, (text,) in enumerate(request.args for request in requests):
            ids = np.asarray(self.candidate.tokenizer.encode(text), np.int64)
            found = [row for row, _ in windows_of(ids, self._start, model.context, model.context)]
            rows += found
            owner += [number] * len(found)
        sums = np.zeros(len(requests))
        for number, one in zip(owner, score_rows(model, rows, self._batch_size), strict=True):
            sums[number] += one.logprobs.sum()
        totals: list[float] = sums.tolist()
        return totals

    def generate_until(self, requests: list[Any]) -> list[str]:
        """接着题面写，写到停止串为止；题面太长时去掉最前面的。"""
        tokenizer, context = self.candidate.tokenizer, self.candidate.likelihood.context
        scheduler = Scheduler(self.candidate.open_slots(min(self._batch_size, max(1, len(requests)))), tokenizer)
        ends = frozenset(tokenizer.special(name) for name in tokenizer.specials)
        owner = {}
        for number, (prompt, wanted) in enumerate(request.args for request in requests):
            until = wanted.get("until") or []
            stop = tuple(filter(None, [until] if isinstance(until, str) else until))
            count = min(int(wanted.get("max_gen_toks", _TOKENS)), context - 1)
            temperature = float(wanted.get("temperature", 0.0)) if wanted.get("do_sample") else 0.0
            ids = (tokenizer.encode(prompt) or [self._start])[-(context - count) :]
            request = Request(tuple(ids), count, Sampling(temperature=temperature, seed=number), stop, ends)
            owner[scheduler.submit(request)] = number
        texts = [""] * len(requests)
        for id, text in finished_texts(scheduler):
            texts[owner[id]] = text
        return texts


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    sys.exit(cli_evaluate())
