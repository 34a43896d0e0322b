"""随机的例子：小而全的 ``GPTConfig``、批大小与种子。

流入：hypothesis 的取样；流出：``Case``。其余的随机量（长度、切点、掩码）都由种子生成。下一站：``implementation.py``。
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.initial import initial_weights

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    """一个例子。

    Attributes:
        config: 模型配置。
        batch: 批大小，至少 2。
        seed: 其余随机量的种子。
        harmless: 取退化的情形，使孪生实现的那个错恰好不起作用（例如只有一个微批）：它此时应当通过，
            可见它平时失败正是因为那个错。
    """

    config: GPTConfig
    batch: int
    seed: int
    harmless: bool = False

    def rng(self) -> np.random.Generator:
        """由种子定出的随机数；每次调用都从头开始。"""
        return np.random.default_rng(self.seed)


@st.composite
def configs(draw: Any) -> GPTConfig:
    """小而全的随机配置：每个开关都会打开与关上。"""
    kv = draw(st.integers(1, 2))
    heads = kv * draw(st.integers(1, 3))
    head = draw(st.sampled_from([None, 2, 6]))
    vocabulary = draw(st.integers(2, 17))
    return GPTConfig(
        vocab_size=vocabulary,
        context=draw(st.integers(4, 9)),
        n_layer=draw(st.integers(1, 3)),
        n_head=heads,
        n_kv_head=draw(st.sampled_from([kv, heads, None])),
        n_embd=heads * draw(st.sampled_from([2, 4])) if head is None else draw(st.sampled_from([3, 8])),
        head_dim=head,
        hidden=draw(st.sampled_from([None, 5])),
        norm=draw(st.sampled_from(["layernorm", "rmsnorm"])),
        norm_eps=draw(st.sampled_from([1e-5, 1e-6])),
        position=draw(st.sampled_from(["learned", "rope"])),
        rope_theta=draw(st.sampled_from([10000.0, 500.0])),
        mlp=draw(st.sampled_from(["gelu_tanh", "gelu", "swiglu"])),
        bias=draw(st.booleans()),
        window=draw(st.sampled_from([None, None, 1, 3, 8])),
        document_start=draw(st.sampled_from([None, None, vocabulary - 1])),
        qk_norm=draw(st.booleans()),
        tie_head=draw(st.booleans()),
    )


def cases(*, harmless: bool = False) -> st.SearchStrategy[Case]:
    """一个例子；``harmless`` 见 ``Case``。"""
    return st.builds(Case, configs(), st.integers(2, 4), st.integers(0, 2**32 - 1), st.just(harmless))


def weights(config: GPTConfig, dtype: str, nudge: float = 0.0) -> dict[str, NDArray[Any]]:
    """初值放大五倍、偏置与缩放也打散：GPT-2 的初值太小，看不出注意力的错。

    Args:
        config: 模型配置。
        dtype: 浮点类型的名字。
        nudge: 每个权重再随机地改动 ``±nudge``（相对）。

    Returns:
        参数名到数组。
    """
    rng = np.random.default_rng(0)
    found = initial_weights(config, 3, "float64")
    spread = {n: w * 5 if w.ndim > 1 else w + rng.standard_normal(w.shape) * 0.3 for n, w in found.items()}
    return {n: (w * (1 + nudge * rng.choice([-1.0, 1.0], w.shape))).astype(dtype) for n, w in spread.items()}


def ids_of(rng: np.random.Generator, config: GPTConfig, batch: int, length: int) -> Ids:
    """``(batch, length)`` 个 token。"""
    return rng.integers(0, config.vocab_size, (batch, length))


def changed(rng: np.random.Generator, config: GPTConfig, ids: Ids) -> Ids:
    """换成别的 token：每一处都与原来的不同。"""
    return (ids + rng.integers(1, config.vocab_size, ids.shape)) % config.vocab_size


def masked(rng: np.random.Generator, targets: Ids, share: float = 0.3) -> Ids:
    """随机地把一部分目标改成不计；参差不齐，有的行可以一个也不剩。"""
    kept = rng.random(targets.shape) >= share * 2 * rng.random((len(targets), 1))
    return np.where(kept, targets, IGNORE_INDEX)
