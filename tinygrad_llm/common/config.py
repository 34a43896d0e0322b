"""模型配置：一个 ``GPTConfig`` 横跨 GPT-2 与 Llama 家族。

流入：预设名与命令行覆盖；流出：校验过的配置、参数名与形状表。下一站：``initial.py``。
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from tinygrad_llm.common.errors import UserError

Norm = Literal["layernorm", "rmsnorm"]
Position = Literal["learned", "rope"]
MLP = Literal["gelu_tanh", "gelu", "swiglu"]


@dataclass(frozen=True)
class GPTConfig:
    """GPT 的形状。缺省值就是 GPT-2 small。

    Attributes:
        vocab_size: 词表大小 V。
        context: 最长上下文（token 数）。
        n_layer: 层数。
        n_head: 查询头数 H。
        n_kv_head: 键值头数；``None`` 表示与 ``n_head`` 相同，更小则为 GQA。
        n_embd: 宽度 C。
        head_dim: 每头宽度 D；``None`` 表示 ``n_embd / n_head``。
        hidden: MLP 中间宽度；``None`` 表示 ``4 · n_embd``。
        norm: 归一化：LayerNorm 或 RMSNorm。
        norm_eps: 归一化里的小数。
        position: 位置编码：可学习的表，或旋转。
        rope_theta: 旋转编码的底数。
        mlp: MLP 的激活：tanh 近似的 GELU、GELU，或 SwiGLU。
        bias: 线性层与 LayerNorm 是否有偏置。
        window: 滑动窗口：每个位置只看最近几个位置（含自己）；``None`` 为全部。
        document_start: 文档开头的 token；给了就不让注意力越过它，一行里装几篇文档与各占一行结果相同。
        qk_norm: 是否对每个头的 q、k 做 RMSNorm。
        tie_head: 输出层是否与词嵌入共用权重。
        dropout: dropout 概率。
    """

    vocab_size: int = 50257
    context: int = 1024
    n_layer: int = 12
    n_head: int = 12
    n_kv_head: int | None = None
    n_embd: int = 768
    head_dim: int | None = None
    hidden: int | None = None
    norm: Norm = "layernorm"
    norm_eps: float = 1e-5
    position: Position = "learned"
    rope_theta: float = 10000.0
    mlp: MLP = "gelu_tanh"
    bias: bool = True
    window: int | None = None
    document_start: int | None = None
    qk_norm: bool = False
    tie_head: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        problems = [*self._number_problems(), *self._choice_problems()] or self._shape_problems()
        if problems:
            raise UserError("; ".join(problems), where="model configuration", fix="correct the fields named above")

    @property
    def kv_heads(self) -> int:
        """键值头数。"""
        return self.n_head if self.n_kv_head is None else self.n_kv_head

    @property
    def head_size(self) -> int:
        """每头宽度 D。"""
        return self.n_embd // self.n_head if self.head_dim is None else self.head_dim

    @property
    def hidden_size(self) -> int:
        """MLP 中间宽度。"""
        return 4 * self.n_embd if self.hidden is None else self.hidden

    def to_dict(self) -> dict[str, Any]:
        """可存成 JSON 的字典。"""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> GPTConfig:
        """``to_dict`` 的逆。

        Raises:
            UserError: 有不认识的字段，或值不合法。
        """
        unknown = sorted(set(values) - {f.name for f in fields(GPTConfig)})
        if unknown:
            raise UserError(f"unknown model configuration fields {unknown}", where="model configuration")
        return GPTConfig(**values)

    def _number_problems(self) -> list[str]:
        positive = ("vocab_size", "context", "n_layer", "n_head", "n_embd", "n_kv_head", "head_dim", "hidden", "window")
        values = {name: getattr(self, name) for name in positive}
        found = [
            f"{name} must be a positive integer, got {value!r}"
            for name, value in values.items()
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1)
        ]
        if not 0 <= self.dropout < 1:
            found.append(f"dropout must be in [0, 1), got {self.dropout!r}")
        for name in ("norm_eps", "rope_theta"):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
                found.append(f"{name} must be positive, got {value!r}")
        return found

    def _choice_problems(self) -> list[str]:
        choices = {"norm": get_args(Norm), "position": get_args(Position), "mlp": get_args(MLP)}
        return [
            f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}"
            for name, allowed in choices.items()
            if getattr(self, name) not in allowed
        ]

    def _shape_problems(self) -> list[str]:
        found = []
        if self.head_dim is None and self.n_embd % self.n_head:
            found.append(f"n_head={self.n_head} does not divide n_embd={self.n_embd}")
        if self.n_head % self.kv_heads:
            found.append(f"n_kv_head={self.kv_heads} does not divide n_head={self.n_head}")
        if self.document_start is not None and not 0 <= self.document_start < self.vocab_size:
            found.append(f"document_start={self.document_start} is no token of a vocabulary of {self.vocab_size}")
        if self.position == "rope" and self.head_size % 2:
            found.append(f"rotary positions need an even head size, got {self.head_size}")
        return found


_LLAMA: dict[str, Any] = {"norm": "rmsnorm", "position": "rope", "mlp": "swiglu", "bias": False}

PRESETS: dict[str, GPTConfig] = {
    "toy": GPTConfig(vocab_size=1024, context=128, n_layer=4, n_head=4, n_embd=128),
    "toy-llama": GPTConfig(
        vocab_size=1024, context=128, n_layer=4, n_head=4, n_kv_head=2, n_embd=128, hidden=344, **_LLAMA
    ),
    "gpt2": GPTConfig(),
    "gpt2-medium": GPTConfig(n_layer=24, n_head=16, n_embd=1024),
    "gpt2-large": GPTConfig(n_layer=36, n_head=20, n_embd=1280),
    "gpt2-xl": GPTConfig(n_layer=48, n_head=25, n_embd=1600),
    "smollm2-135m": GPTConfig(
        vocab_size=49152, context=8192, n_layer=30, n_head=9, n_kv_head=3, n_embd=576, hidden=1536,
        rope_theta=100000.0, **_LLAMA,
    ),
}  # fmt: skip
"""预设名到配置；``toy`` 约一百万参数，CPU 上几分钟可训练。"""


def preset(name: str, **overrides: Any) -> GPTConfig:
    """取一个预设，并覆盖若干字段。

    Args:
        name: 预设名；``dN`` 是深度为 N 的模型，见 ``depth.py``。
        **overrides: 要覆盖的字段；值为 ``None`` 的不覆盖。

    Returns:
        校验过的配置。

    Raises:
        UserError: 没有这个预设，或覆盖之后不合法。
    """
    if re.fullmatch(r"d[1-9]\d?", name):
        from tinygrad_llm.common.depth import depth_config  # 它要用到本模块

        found = depth_config(int(name[1:]))
    elif name in PRESETS:
        found = PRESETS[name]
    else:
        known = f"{', '.join(PRESETS)}, or dN of depth N"
        raise UserError(f"unknown preset {name!r}", where="--preset", fix=f"choose one of {known}")
    return replace(found, **{k: v for k, v in overrides.items() if v is not None})


def parameter_shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """全部参数的名字与形状，次序与模型的 ``state_dict`` 相同；名字沿用 GPT-2。

    共用的输出层（``tie_head``）不另列。

    Args:
        config: 模型配置。

    Returns:
        名字到形状；线性层权重为 ``(out, in)``。
    """
    width, head, hidden = config.n_embd, config.head_size, config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {"wte.weight": (config.vocab_size, width)}
    if config.position == "learned":
        shapes["wpe.weight"] = (config.context, width)
    for layer in range(config.n_layer):
        prefix = f"h.{layer}."
        linears = {
            "attn.c_attn": ((config.n_head + 2 * config.kv_heads) * head, width),
            "attn.c_proj": (width, config.n_head * head),
            **({"mlp.c_gate": (hidden, width)} if config.mlp == "swiglu" else {}),
            "mlp.c_fc": (hidden, width),
            "mlp.c_proj": (width, hidden),
        }
        shapes |= _norm_shapes(config, prefix + "ln_1")
        for name, shape in linears.items():
            if name == "mlp.c_gate" or (name == "mlp.c_fc" and config.mlp != "swiglu"):
                shapes |= _norm_shapes(config, prefix + "ln_2")
            shapes[f"{prefix}{name}.weight"] = shape
            if config.bias:
                shapes[f"{prefix}{name}.bias"] = shape[:1]
            if name == "attn.c_proj" and config.qk_norm:
                shapes |= {f"{prefix}attn.{n}.weight": (head,) for n in ("q_norm", "k_norm")}
    shapes |= _norm_shapes(config, "ln_f")
    if not config.tie_head:
        shapes["lm_head.weight"] = (config.vocab_size, width)
    return shapes


def _norm_shapes(config: GPTConfig, name: str) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": (config.n_embd,)}
    if config.norm == "layernorm" and config.bias:
        shapes[f"{name}.bias"] = (config.n_embd,)
    return shapes


def parameter_count(config: GPTConfig) -> int:
    """参数总数；共用的输出层只算一次。"""
    return sum(math.prod(shape) for shape in parameter_shapes(config).values())
