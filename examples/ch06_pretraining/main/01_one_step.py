"""一步训练，逐段摊开：批次 → logits → 损失 → 各层梯度 → 裁剪 → AdamW，两个引擎并排。

流入：``toy`` 模型与第 0 批；流出：每一段的数，以及一个标量参数连走三步时 AdamW 的全部中间量。
运行：``python examples/ch06_pretraining/main/01_one_step.py``。下一个文件：``02_before_the_first_step.py``。
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from typing import Any

from pretraining_lab import arguments, engine_of, new_session

import tinygrad_llm
from tinygrad_llm.common.loop import rate
from tinygrad_llm.common.session import Session
from tinygrad_llm.common.train_config import TrainConfig

WATCHED = "h.0.mlp.c_fc.weight"  # 盯住它的 [0, 0] 号元素
STEPS = 3
Numbers = dict[str, float]


def show_batch(session: Session) -> None:
    """第 0 批的形状与第一行的开头：目标就是输入左移一位。"""
    x, y = session.train.batch(0)
    tokenizer = session.tokenizer
    print(f"x {x.shape}, y {y.shape}, V = {session.model.vocab_size}, ln V = {math.log(session.model.vocab_size):.4f}")
    for name, ids in (("x", x), ("y", y)):
        pieces = " ".join(repr(tokenizer.decode([i])) for i in ids[0, :6].tolist())
        print(f"{name}[0, :6] = {ids[0, :6].tolist()}  {pieces}")


def forward_backward(lib: Any, engine: Any, session: Session, step: int) -> Numbers:
    """前向、反向、裁剪；``lib`` 是 tinygrad_llm 或 torch，两边的写法一字不差。

    Args:
        lib: 库。
        engine: 该库的引擎。
        session: 数据与设置。
        step: 第几步，决定批次。

    Returns:
        名字到数；最后一项是裁剪之后、被盯住的那个参数的梯度。
    """
    x, y = (lib.from_numpy(ids) for ids in session.train.batch(step))
    engine.model.zero_grad()
    logits = engine.model(x)  # (B, T, V)
    loss = lib.nn.functional.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1))
    loss.backward()
    numbers = {"logits: mean": logits.mean().item(), "logits: std": logits.std().item(), "loss": loss.item()}
    squares: dict[str, float] = defaultdict(float)
    for name, p in engine.model.named_parameters():
        layer = name.rsplit(".", 1)[0] if not name.startswith("h.") else ".".join(name.split(".")[:2])
        squares[layer] += float((p.grad**2).sum().item())
    numbers |= {f"|grad| {layer}": math.sqrt(square) for layer, square in squares.items()}
    limit = session.settings.grad_clip
    norm = lib.nn.utils.clip_grad_norm_(engine.model.parameters(), limit).item()
    scale = min(1.0, limit / (norm + 1e-6))
    return numbers | {"|grad| total": norm, "clip: scale": scale, "watched: grad": watched(engine).grad[0, 0].item()}


def watched(engine: Any) -> Any:
    """被盯住的那个参数。"""
    return dict(engine.model.named_parameters())[WATCHED]


def update(engine: Any, lr: float) -> float:
    """设好学习率，让 AdamW 走一步；返回被盯住的元素的新值。"""
    (optimizer,) = engine.optimizers
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    return float(watched(engine)[0, 0].item())


def adamw_by_hand(before: Numbers, g: float, t: int, lr: float, settings: TrainConfig) -> Numbers:
    """AdamW 的公式，一行一个量，只用 Python 的浮点数。

    Args:
        before: 上一步的 ``m``、``v``、``theta``。
        g: 裁剪后的梯度。
        t: 第几次更新，从 1 起。
        lr: 这一步的学习率。
        settings: β₁、β₂、ε、λ 取自这里。

    Returns:
        这一步的全部中间量。
    """
    m = settings.beta1 * before["m"] + (1 - settings.beta1) * g
    v = settings.beta2 * before["v"] + (1 - settings.beta2) * g * g
    m_hat = m / (1 - settings.beta1**t)
    v_hat = v / (1 - settings.beta2**t)
    ratio = m_hat / (math.sqrt(v_hat) + settings.eps)
    decay = lr * settings.weight_decay * before["theta"]
    theta = before["theta"] - decay - lr * ratio
    return {
        "lr": lr, "g": g, "m": m, "v": v, "m_hat": m_hat, "v_hat": v_hat, "ratio": ratio, "lr*ratio": lr * ratio,
        "decay": decay, "theta": theta,
    }  # fmt: skip


def print_columns(columns: dict[str, Numbers]) -> None:
    """两个引擎并排，末列是差。"""
    ours, theirs = columns["numpy"], columns["torch"]
    print(f"\n{'':24} {'NumPy':>14} {'torch':>14} {'difference':>11}")
    for name in ours:
        print(f"{name:24} {ours[name]:14.8f} {theirs[name]:14.8f} {ours[name] - theirs[name]:11.1e}")


def print_updates(history: list[Numbers], thetas: list[Numbers]) -> None:
    """一列一步；最后两行是两个引擎更新后的同一个元素。"""
    print(f"\n{WATCHED}[0, 0]" + "".join(f"{f't = {t}':>14}" for t in range(1, len(history) + 1)))
    for name in history[0]:
        print(f"{name:24}" + "".join(f"{one[name]:14.6e}" for one in history))
    for engine in thetas[0]:
        print(f"theta on {engine:15}" + "".join(f"{one[engine]:14.6e}" for one in thetas))


def main() -> int:
    """打印各段；手算的参数与两个引擎不符时返回 1。"""
    import torch

    steps = arguments("one training step, stage by stage, on both engines", STEPS).steps
    session = new_session()
    libs = {"numpy": tinygrad_llm, "torch": torch}
    engines = {name: engine_of(name, session) for name in libs}
    show_batch(session)
    by_hand: Numbers = {"m": 0.0, "v": 0.0, "theta": watched(engines["numpy"])[0, 0].item()}
    history: list[Numbers] = []
    thetas: list[Numbers] = []
    for step in range(steps):
        columns = {name: forward_backward(lib, engines[name], session, step) for name, lib in libs.items()}
        if step == 0:
            print_columns(columns)
        lr = rate(session.settings, step)
        by_hand = adamw_by_hand(by_hand, columns["numpy"]["watched: grad"], step + 1, lr, session.settings)
        history.append(by_hand)
        thetas.append({name: update(engine, lr) for name, engine in engines.items()})
    print_updates(history, thetas)
    worst = max(abs(one["theta"] - theta) for one, all_ in zip(history, thetas, strict=True) for theta in all_.values())
    agrees = worst < 1e-7  # 参数约 0.02，float32 在那里的间隔约 2e-9；梯度的差也只在末几位
    print(f"largest difference from the formula: {worst:.1e}  {'agrees' if agrees else 'DIFFERS'}")
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())
