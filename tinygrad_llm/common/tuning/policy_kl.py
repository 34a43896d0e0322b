"""策略离参考模型多远：让策略自己写回答，``KL(π‖π_ref) = E_{y~π}[log π(y|x) - log π_ref(y|x)]``。

流入：引擎、留作评估的提示与参考模型；流出：一个回答平均的 KL（纳特）与写了几个。采样的种子固定，所以各次评估可以比较。
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.decoding.request import Request, Sampling
from tinygrad_llm.common.decoding.scheduler import Scheduler
from tinygrad_llm.common.engine import Engine
from tinygrad_llm.common.tokenizers import Tokenizer
from tinygrad_llm.common.tuning.preference_batches import REFERENCE_ROWS, Scorer

__all__ = ["policy_kl"]

SLOTS = 16


def policy_kl(
    engine: Engine,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    score: Scorer,
    *,
    stop: frozenset[int],
    max_tokens: int,
    context: int,
) -> dict[str, float]:
    """在这些提示上采样，温度 1，一个提示一个回答。

    Args:
        engine: 引擎；用它眼下的权重。
        tokenizer: 分词器。
        prompts: 提示的 id；装不下一个 token 的略去。
        score: 参考模型。
        stop: 停止 token；它也是回答的一部分。
        max_tokens: 一个回答至多几个 token。
        context: 模型的上下文。

    Returns:
        ``policy_kl``、它的标准误差 ``policy_kl_se`` 与 ``policy_kl_n``；没有提示为空。
    """
    fitting = [tuple(one) for one in prompts if len(one) < context]
    if not fitting:
        return {}
    longest = min(context, max(map(len, fitting)) + max_tokens)
    scheduler = Scheduler(engine.slots(min(SLOTS, len(fitting)), longest), tokenizer, chunk=max(256, longest))
    order = [
        scheduler.submit(
            Request(one, min(max_tokens, longest - len(one)), Sampling(temperature=1.0, seed=i), (), stop, 0)
        )
        for i, one in enumerate(fitting)
    ]
    written: dict[int, list[tuple[int, float]]] = {id: [] for id in order}
    for event in scheduler.run():
        if event.step is not None and event.step.logprob is not None:
            written[event.id].append((event.step.token, event.step.logprob))
    gaps = []
    for start in range(0, len(order), REFERENCE_ROWS):
        chosen = range(start, min(start + REFERENCE_ROWS, len(order)))
        gaps += _gaps([(fitting[i], written[order[i]]) for i in chosen], score, tokenizer.eot)
    spread = float(np.std(gaps, ddof=1)) / math.sqrt(len(gaps)) if len(gaps) > 1 else 0.0
    return {"policy_kl": float(np.mean(gaps)), "policy_kl_se": spread, "policy_kl_n": len(gaps)}


def _gaps(rows: Sequence[tuple[tuple[int, ...], list[tuple[int, float]]]], score: Scorer, pad: int) -> list[float]:
    """每个回答的 ``log π(y|x) - log π_ref(y|x)``。"""
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    x, y = np.full((len(rows), width), pad, np.int64), np.full((len(rows), width), IGNORE_INDEX, np.int64)
    for row, (prompt, answer) in enumerate(rows):
        ids = [*prompt, *(token for token, _ in answer)]
        x[row, : len(ids) - 1] = ids[:-1]
        y[row, len(prompt) - 1 : len(ids) - 1] = ids[len(prompt) :]
    ours = [sum(logprob for _, logprob in answer) for _, answer in rows]
    return [float(mine - theirs) for mine, theirs in zip(ours, score(x, y).sum(-1), strict=True)]
