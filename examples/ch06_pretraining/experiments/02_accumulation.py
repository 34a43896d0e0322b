"""梯度累积：按 token 加权，与「微批均值的均值」相比差多少。

流入：一个批次，各行的有效长度参差不齐；流出：每个微批里一个 token 的权重、两种算法的损失与梯度之差、全被掩住的微批。
运行：``python examples/ch06_pretraining/experiments/02_accumulation.py``（几秒）。
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "main"))  # 与正文的程序共用工作台

from pretraining_lab import SMALL, arguments, engine_of, new_session, training

import tinygrad_llm as tg
from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.engine import micro_batches
from tinygrad_llm.common.session import Session

Ids = NDArray[np.int64]
Gradient = NDArray[Any]
ACCUMULATE = 4


def ragged(y: Ids) -> Ids:
    """每行只留开头一段有效；各行的长度取自同一个种子，从 2 到整行。"""
    rows, length = y.shape
    keep = np.sort(2 + (np.random.default_rng(0).random(rows) ** 2 * (length - 1)).astype(np.int64))
    return np.where(np.arange(length) < keep[:, None], y, IGNORE_INDEX)


def by_tokens(session: Session, model: Any, x: Ids, y: Ids) -> tuple[float, Gradient]:
    """正确的累积：每个微批的损失之和，都除以整个批次的有效 token 数。"""
    valid = int((y != IGNORE_INDEX).sum())
    return accumulate(model, [(xs, ys, valid) for xs, ys in micro_batches((x, y), session.settings.accumulate)])


def by_means(session: Session, model: Any, x: Ids, y: Ids) -> tuple[float, Gradient]:
    """常见的错误：每个微批各取均值，再对微批取均值。"""
    parts = micro_batches((x, y), session.settings.accumulate)
    return accumulate(model, [(xs, ys, int((ys != IGNORE_INDEX).sum()) * len(parts)) for xs, ys in parts])


def accumulate(model: Any, parts: list[tuple[Ids, Ids, int]]) -> tuple[float, Gradient]:
    """逐个微批反传；第三项是损失之和要除以的数。"""
    model.zero_grad()
    total = 0.0
    for xs, ys, divisor in parts:
        loss = model.loss(tg.from_numpy(xs), tg.from_numpy(ys)) / tg.tensor(float(divisor), dtype=tg.float64)
        loss.backward()
        total += loss.item()
    return total, np.concatenate([p.grad.numpy().reshape(-1) for p in model.parameters()])


def compare(session: Session, model: Any, x: Ids, y: Ids, label: str) -> None:
    """与不切微批的整批相比：损失之差、梯度的相对差与夹角。"""
    whole, truth = accumulate(model, [(x, y, int((y != IGNORE_INDEX).sum()))])
    print(f"{label}: whole batch, loss {whole:.6f}")
    for name, method in (("token-weighted", by_tokens), ("mean of means", by_means)):
        loss, gradient = method(session, model, x, y)
        gap = np.linalg.norm(gradient - truth) / np.linalg.norm(truth)
        cosine = gradient @ truth / np.linalg.norm(gradient) / np.linalg.norm(truth)
        print(f"  {name:15} loss {loss:.6f}  gradient off by {100 * gap:7.4f} %  cosine {cosine:.4f}")


def print_weights(session: Session, y: Ids) -> None:
    """每个微批里，一个 token 在总损失中占多大的份额。"""
    parts = [int((ys != IGNORE_INDEX).sum()) for _, ys in micro_batches((y, y), session.settings.accumulate)]
    print("micro-batch  tokens  share of one token: right   by means   ratio")
    for k, tokens in enumerate(parts):
        right, wrong = 1 / sum(parts), 1 / (tokens * len(parts))
        print(f"{k:11d} {tokens:7d} {right:26.6f} {wrong:10.6f} {wrong / right:7.2f}")


def main() -> None:
    """先训练一小段，再在同一批上比较。"""
    options = arguments("token-weighted accumulation and the mean of micro-batch means", 40)
    session = new_session(steps=options.steps, accumulate=ACCUMULATE, dtype="float64", **SMALL)
    engine = engine_of("numpy", session)
    for _ in training(session, engine):
        pass
    x, y = session.train.batch(options.steps)
    short = ragged(y)
    print_weights(session, short)
    compare(session, engine.model, x, y, "full rows")
    compare(session, engine.model, x, short, "ragged rows")
    short[: len(y) // ACCUMULATE] = IGNORE_INDEX
    with np.errstate(invalid="ignore", divide="ignore"):
        compare(session, engine.model, x, short, "one micro-batch entirely masked")


if __name__ == "__main__":
    main()
