"""练习 1、2、5 的判分：换算、学习率、参数个数——答案是一个数的三题。

流入：读者的函数；流出：一句英文提示，空串表示通过。辨认的办法是把每种常见错误也算一遍，看谁与答案一致。
下一个文件：``check_updates.py``。
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from tinygrad_llm.common import schedule
from tinygrad_llm.common.config import GPTConfig, parameter_count
from tinygrad_llm.common.session import bits_per_byte

_TEXT = "损失是 4.3857 nats/token。"  # 汉字占三个字节：字符数、字节数、token 数都不相同


def _judge(got: Any, right: float, known: Iterable[tuple[str, float]], where: str) -> str:
    """比较一个数；不对时指出是哪一种常见的错。"""
    if isinstance(got, bool) or not isinstance(got, (int, float)):
        return f"should return a number, got {type(got).__name__} ({where})"
    if math.isclose(got, right, rel_tol=1e-9, abs_tol=1e-15):
        return ""
    for hint, value in known:
        if math.isclose(got, value, rel_tol=1e-9, abs_tol=1e-15):
            return f"{hint} ({where})"
    return f"got {got:g}, should be {right:g} ({where})"


def check_bits_per_byte(answer: Callable[..., Any]) -> str:
    """练习 1：文字里有汉字，字符与字节分得开。"""
    nats, tokens = 4.0, 11
    n_bytes, total = len(_TEXT.encode()), nats * tokens
    known = [
        ("divide by ln 2: a bit is ln 2 nats", total / n_bytes),
        ("multiplied by ln 2 where a division belongs", total * math.log(2) / n_bytes),
        ("count bytes, not characters: encode the text", total / math.log(2) / len(_TEXT)),
        ("this is bits per token: multiply by tokens, divide by bytes", nats / math.log(2)),
        ("forgot to multiply by the number of tokens", nats / math.log(2) / n_bytes),
        ("upside down: nats grow with tokens and shrink with bytes", nats * n_bytes / tokens / math.log(2)),
    ]
    return _judge(answer(nats, tokens, _TEXT), bits_per_byte(total, n_bytes), known, f"text {_TEXT!r}")


def _wrong_rates(step: int, peak: float, minimum: float, warmup: int, total: int) -> list[tuple[str, float]]:
    """学习率的常见错误在第 ``step`` 步会给出的值。"""

    def cosine(progress: float, low: float = minimum) -> float:
        return low + (peak - low) * (1 + math.cos(math.pi * progress)) / 2

    if step < warmup:
        return [
            ("the first step would have learning rate 0: use step + 1", peak * step / warmup),
            ("warm-up starts from 0, not from the minimum", minimum + (peak - minimum) * (step + 1) / warmup),
            ("no warm-up", cosine(step / (total - 1))),
        ]
    last = total - 1
    progress = (step - warmup + 1) / (last - warmup + 1)
    return [
        ("the last step should be exactly the minimum: divide by total_steps - 1 - (W - 1)",
         cosine((step - warmup) / (total - warmup))),
        ("the cosine starts at step W - 1, where the peak is, not at W", cosine((step - warmup) / (last - warmup))),
        ("the cosine ends at step total_steps - 1, not at total_steps",
         cosine((step - warmup + 1) / (total - warmup + 1))),
        ("the cosine should begin after the warm-up, not at step 0", cosine(step / last)),
        ("half a cosine: pi times progress, not 2 pi", cosine(2 * progress)),
        ("decays to 0: start from the minimum", cosine(progress, 0.0)),
        ("a straight line is not a cosine", peak + (minimum - peak) * progress),
    ]  # fmt: skip


def check_learning_rate(answer: Callable[..., Any]) -> str:
    """练习 2：先查余弦段中间（错误在那里分得开），再查两端与预热。"""
    peak, minimum, warmup, total = 3e-3, 3e-4, 20, 200
    for step in (70, 150, 0, 7, 19, 20, 199):
        right = schedule.learning_rate(step, peak=peak, minimum=minimum, warmup_steps=warmup, total_steps=total)
        known = _wrong_rates(step, peak, minimum, warmup, total)
        problem = _judge(
            answer(step, peak, minimum, warmup, total), right, known, f"step {step} of {total}, W = {warmup}"
        )
        if problem:
            return problem
    return ""


def check_parameter_count(answer: Callable[..., Any]) -> str:
    """练习 5：先用小模型辨认错误，再用 GPT-2 的四个大小。"""
    for V, T, L, C in ((11, 7, 3, 4), (50257, 1024, 12, 768), (50257, 1024, 24, 1024), (50257, 1024, 48, 1600)):
        right = parameter_count(GPTConfig(vocab_size=V, context=T, n_layer=L, n_head=1, n_embd=C))
        known = [
            ("the output layer shares its weight with wte: count it once", right + V * C),
            ("the output layer has neither a weight of its own nor a bias", right + V * C + V),
            ("forgot the position table", right - T * C),
            ("forgot the final LayerNorm", right - 2 * C),
            ("LayerNorm has a scale and a bias", right - (2 * L + 1) * C),
            ("two LayerNorms in every layer", right - 2 * L * C),
            ("forgot the LayerNorms", right - (4 * L + 2) * C),
            ("forgot the biases of the linear layers: 3C + C + 4C + C per layer", right - 9 * L * C),
            ("q, k and v are three projections", right - 2 * L * (C * C + C)),
            ("forgot the projection behind attention", right - L * (C * C + C)),
            ("the MLP has two matrices, C to 4C and back", right - L * (4 * C * C + C)),
            ("every layer has its own parameters: multiply by n_layer", (V + T + 2) * C + 12 * C * C + 13 * C),
        ]
        problem = _judge(answer(V, T, L, C), right, known, f"V = {V}, context = {T}, L = {L}, C = {C}")
        if problem:
            return problem
    return ""
