"""一个旋钮：``--depth N`` 定出宽度、头数、上下文、训练多久、批大小、学习率、权重衰减，每个数都印出算式。

流入：深度与用户点名的设置；流出：其余的设置与它们的算式。用户点名的一项代替算出的那一项，后面的算式随之改用它。
下一站：``tiers.py``。

推导与出处（``N`` 参数、``D`` token、``B`` 每步的 token、``η`` 峰值学习率、``λ`` 权重衰减）：

- 宽度 ``C = 64 · 深度``。同样的参数，损失对「宽 ÷ 深」不敏感，几十到一百都差不多（Kaplan 等，2020，图 5）；
  12 层恰是 768，即 GPT-2 small。每头 64 宽，于是头数等于深度。
- 前馈的中间宽度 ``8C/3``，取 64 的倍数：SwiGLU 有三个矩阵，这样参数与两个矩阵的 ``4C`` 一样多（Shazeer，2020）。
- 上下文取不小于 ``C`` 的 2 的幂，限在 128 到 2048：注意力占的运算与 ``T/C`` 成正比，这样各种深度都占差不多的一份。
- ``N`` 只数各层，不数嵌入（Kaplan 等，2020）：它与词表无关，每个 token 的运算约 ``6N``。
- ``D = 20 N``：给定运算量时损失最低的配比（Hoffmann 等，2022）。要更小而练得更久的模型，把 ``--steps`` 加大。
- 运算量 ``K = 6 N D``；``B = 0.2920 K^0.3271``，``η = 0.3118 K^-0.1250``：在许多种规模上找到的最优值拟合成的幂律
  （DeepSeek-AI，2024，式 1）。固定 ``D/N`` 与形状时 ``K ∝ C⁶``，于是 ``η ∝ C^-0.75``：介于不变与 muP 对矩阵的
  ``1/C``（Yang 等，2022）之间。
- 批大小不是算出来的那个时，``η`` 乘以 ``√(B/B₀)``：Adam 一步的噪声与 ``1/√B`` 成正比（Malladi 等，2022）。
- 权重衰减相当于对更新取滑动平均，记忆有 ``1/(ηλ)`` 步；它占全程的份额 ``τ = B/(ηλD)`` 有最优值，随 ``D/N`` 按幂律变短：
  ``τ = 1.08 (D/N)^-0.527``（Wang 与 Aitchison，2024；Bergsma 等，2025），由此 ``λ = B/(ηDτ)``。
- 预热取总步数的百分之二，至少 10 步：这一项没有出处，只是惯例。

幂律是在更大的模型上拟合的，深度小于 8 时是外推；算出的是好的起点，不是最优值。
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from tinygrad_llm.common.config import GPTConfig, parameter_shapes, preset

WIDTH, HEAD = 64, 64
CONTEXTS = (128, 2048)
TOKENS_PER_PARAMETER = 20
BATCH, RATE = (0.2920, 0.3271), (0.3118, -0.1250)
TIMESCALE = (1.08, -0.527)
MOST_DECAY = 1.0
"""步数比 ``20 N`` 少得多时，算式要的衰减大得离谱，到此为止。"""
WARMUP = (0.02, 10)
SHAPE = ("n_layer", "n_head", "n_kv_head", "n_embd")
"""用户可以逐项改掉的形状。"""


class Derived(NamedTuple):
    """定出的一项。

    Attributes:
        name: 设置的名字；不是设置的中间量（``N``、``D`` 等）写作它的符号。
        value: 值：用户点名的，或算出来的。
        formula: 代入了数的算式。
        is_given: 是不是用户点名的。
    """

    name: str
    value: Any
    formula: str
    is_given: bool = False


def settings_for_depth(depth: int, given: Mapping[str, Any] | None = None) -> list[Derived]:
    """深度定出的各项，按推导的次序。

    Args:
        depth: 层数，至少 1。
        given: 用户点名的设置：名字到值。

    Returns:
        每一项的名字、值与算式；名字是 ``TrainConfig`` 的字段的那些就是设置。
    """
    known = {name: value for name, value in (given or {}).items() if value is not None}
    made: list[Derived] = []

    def settle(name: str, value: Any, formula: str) -> Any:
        is_given = name in known
        made.append(Derived(name, known[name] if is_given else value, formula, is_given))
        return made[-1].value

    name = settle("preset", f"d{depth}", f"depth {depth}: {_shape_text(depth)}")
    context = settle("context", _context(depth), f"power of two from {WIDTH} x {depth} up, in {CONTEXTS}")
    config = preset(name, **{field: known.get(field) for field in SHAPE}, context=context)
    parameters = _layer_parameters(config)
    made.append(Derived("N", parameters, "parameters of the layers, without embeddings"))
    horizon = TOKENS_PER_PARAMETER * parameters
    compute = 6 * parameters * horizon
    ideal = BATCH[0] * compute ** BATCH[1]
    rows = max(1, 2 ** round(math.log2(ideal / context)))
    text = f"2^round(log2(B0 / {context})), B0 = {BATCH[0]} (6 N 20 N)^{BATCH[1]} = {ideal:,.0f} tokens"
    batch = settle("batch_size", rows, text) * context
    text = f"D / B = 20 N / (batch x context) = {horizon:,} / {batch:,}"
    steps = settle("steps", math.ceil(horizon / batch), text)
    tokens = steps * batch
    made.append(Derived("D", tokens, f"steps x B; D / N = {tokens / parameters:.1f}"))
    best = RATE[0] * compute ** RATE[1]
    text = f"{RATE[0]} (6 N 20 N)^{RATE[1]} sqrt(B / B0) = {best:.3g} x sqrt({batch:,} / {ideal:,.0f})"
    rate = settle("lr", _rounded(best * math.sqrt(batch / ideal)), text)
    share = TIMESCALE[0] * (tokens / parameters) ** TIMESCALE[1]
    text = f"1 / (lr steps tau), at most {MOST_DECAY}; tau = {TIMESCALE[0]} (D / N)^{TIMESCALE[1]} = {share:.3g}"
    settle("weight_decay", min(MOST_DECAY, _rounded(1 / (rate * steps * share))), text)
    warmup = min(max(WARMUP[1], round(WARMUP[0] * steps)), max(1, steps // 2))
    settle("warmup_steps", warmup, f"{WARMUP[0]:.0%} of the steps, at least {WARMUP[1]}, at most half")
    return made


def depth_config(depth: int) -> GPTConfig:
    """深度为 ``depth`` 的模型，即预设 ``dN``：RMSNorm、旋转位置、SwiGLU、没有偏置、输出层与词嵌入共用。"""
    width = WIDTH * depth
    return GPTConfig(
        vocab_size=1024,
        context=_context(depth),
        n_layer=depth,
        n_head=width // HEAD,
        n_embd=width,
        hidden=64 * math.ceil(8 * width / 3 / 64),
        norm="rmsnorm",
        position="rope",
        mlp="swiglu",
        bias=False,
    )


def depth_lines(depth: int, final: Mapping[str, Any]) -> list[str]:
    """印给人看的算式；与算出的不同的，就是用户点名的。

    Args:
        depth: 深度。
        final: 最终的设置。
    """
    changed = {name: final[name] for name in SHAPE if final.get(name) is not None}
    for name in [one.name for one in settings_for_depth(depth)]:
        derived = {one.name: one.value for one in settings_for_depth(depth, changed)}
        if name in final and final[name] != derived[name]:
            changed[name] = final[name]
    lines = [f"--depth {depth} stands for"]
    for one in settings_for_depth(depth, changed):
        flag = f"--{one.name.replace('_', '-')}" if one.name in final else one.name
        value = f"{one.value:,}" if flag == one.name else str(one.value)
        lines.append(f"  {flag:<16} {value:>14}   {'given, instead of ' if one.is_given else ''}{one.formula}")
    return lines


def _layer_parameters(config: GPTConfig) -> int:
    return sum(math.prod(shape) for name, shape in parameter_shapes(config).items() if name.startswith("h."))


def _context(depth: int) -> int:
    low, high = CONTEXTS
    return min(max(low, 1 << math.ceil(math.log2(WIDTH * depth))), high)


def _shape_text(depth: int) -> str:
    config = depth_config(depth)
    return f"width {WIDTH} x {depth} = {config.n_embd}, {config.n_head} heads of {HEAD}, hidden {config.hidden}"


def _rounded(value: float) -> float:
    """三位有效数字：命令行上写得下，也不假装更准。"""
    return float(f"{value:.3g}")
