"""我们的每个参数在别处叫什么：GPT-2、Llama、Qwen3，HF 与 GGUF 两套名字。

流入：模型配置；流出：一列 ``Link``，与按它们两个方向搬运权重的函数。形状处处核对过才读。
我们的 ``c_attn`` 是 q、k、v 三个投影沿输出拼成的；GPT-2 的 ``Conv1D`` 存的是转置；``llama.cpp`` 把 Llama 的 q、k 的行
换过次序：它的旋转编码转动相邻的一对 ``(2i, 2i+1)``，我们（与 HF）转动相距半个头的一对 ``(i, i + D/2)``。
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import numpy as np

from tinygrad_llm.common.config import GPTConfig, parameter_shapes
from tinygrad_llm.common.lazy import Array, LazyTensor

__all__ = [
    "FAMILIES",
    "Family",
    "Link",
    "from_theirs",
    "gathered",
    "gguf_links",
    "hf_links",
    "their_shapes",
    "to_theirs",
]

Family = Literal["gpt2", "llama", "qwen3"]
FAMILIES: tuple[Family, ...] = ("gpt2", "llama", "qwen3")


class Link(NamedTuple):
    """我们的一个参数在那边是哪几个。

    Attributes:
        ours: 我们的名字。
        theirs: 那边的名字；几个则沿第 0 维依次拼成我们的。
        rows: 各占几行；只有一个时为空。
        is_turned: 那边存的是转置（GPT-2 的 ``Conv1D``）。
        heads: 各有几个头的行换过次序；空或 0 表示没有换。
    """

    ours: str
    theirs: tuple[str, ...]
    rows: tuple[int, ...] = ()
    is_turned: bool = False
    heads: tuple[int, ...] = ()


# ---- 名字 ----


def hf_links(config: GPTConfig, family: Family) -> list[Link]:
    """HF 文件夹里的名字。"""
    if family == "gpt2":
        return [*_gpt2_top(config), *(link for i in range(config.n_layer) for link in _gpt2_layer(i))]
    top = [Link("wte.weight", ("model.embed_tokens.weight",)), Link("ln_f.weight", ("model.norm.weight",))]
    if not config.tie_head:
        top.append(Link("lm_head.weight", ("lm_head.weight",)))
    return [*top, *(link for i in range(config.n_layer) for link in _llama_layer(config, i))]


def _gpt2_top(config: GPTConfig) -> Iterator[Link]:
    for name in ("wte.weight", "wpe.weight", "ln_f.weight", "ln_f.bias"):
        yield Link(name, (f"transformer.{name}",))
    if not config.tie_head:
        yield Link("lm_head.weight", ("lm_head.weight",))


def _gpt2_layer(i: int) -> Iterator[Link]:
    for part in ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"):
        for kind in ("weight", "bias"):
            name = f"h.{i}.{part}.{kind}"
            yield Link(name, (f"transformer.{name}",), is_turned=kind == "weight" and ".c_" in name)


def _llama_layer(config: GPTConfig, i: int) -> Iterator[Link]:
    there, rows = f"model.layers.{i}", _qkv_rows(config)
    yield Link(f"h.{i}.ln_1.weight", (f"{there}.input_layernorm.weight",))
    yield Link(f"h.{i}.ln_2.weight", (f"{there}.post_attention_layernorm.weight",))
    for kind in ("weight", "bias")[: 1 + config.bias]:
        projections = tuple(f"{there}.self_attn.{x}_proj.{kind}" for x in "qkv")
        yield Link(f"h.{i}.attn.c_attn.{kind}", projections, rows)
        yield Link(f"h.{i}.attn.c_proj.{kind}", (f"{there}.self_attn.o_proj.{kind}",))
        for ours, theirs in (("c_gate", "gate"), ("c_fc", "up"), ("c_proj", "down")):
            yield Link(f"h.{i}.mlp.{ours}.{kind}", (f"{there}.mlp.{theirs}_proj.{kind}",))
    for x in "qk"[: 2 * config.qk_norm]:
        yield Link(f"h.{i}.attn.{x}_norm.weight", (f"{there}.self_attn.{x}_norm.weight",))


def gguf_links(config: GPTConfig, family: Family) -> list[Link]:
    """GGUF 里的名字；形状已经倒成 NumPy 的次序。"""
    kinds = ("weight", "bias")[: 1 + config.bias]
    norms = ("weight", "bias")[: 1 + (family == "gpt2")]
    found = [Link("wte.weight", ("token_embd.weight",))]
    if config.position == "learned":
        found.append(Link("wpe.weight", ("position_embd.weight",)))
    found += [Link(f"ln_f.{kind}", (f"output_norm.{kind}",)) for kind in norms]
    if not config.tie_head:
        found.append(Link("lm_head.weight", ("output.weight",)))
    parts = {"ln_1": "attn_norm", "ln_2": "ffn_norm"}
    linears = {"attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}
    if config.mlp == "swiglu":
        linears["mlp.c_gate"] = "ffn_gate"
    swapped = (config.n_head, config.kv_heads, 0) if family == "llama" else ()
    for i in range(config.n_layer):
        found += [Link(f"h.{i}.{a}.{kind}", (f"blk.{i}.{b}.{kind}",)) for a, b in parts.items() for kind in norms]
        found += [Link(f"h.{i}.{a}.{kind}", (f"blk.{i}.{b}.{kind}",)) for a, b in linears.items() for kind in kinds]
        for kind in kinds:
            ours, one = f"h.{i}.attn.c_attn.{kind}", (f"blk.{i}.attn_qkv.{kind}",)
            three = tuple(f"blk.{i}.attn_{x}.{kind}" for x in "qkv")
            found.append(Link(ours, one) if family == "gpt2" else Link(ours, three, _qkv_rows(config), heads=swapped))
        for x in "qk"[: 2 * config.qk_norm]:
            found.append(Link(f"h.{i}.attn.{x}_norm.weight", (f"blk.{i}.attn_{x}_norm.weight",)))
    return found


def _qkv_rows(config: GPTConfig) -> tuple[int, int, int]:
    kv = config.kv_heads * config.head_size
    return config.n_head * config.head_size, kv, kv


# ---- 搬运 ----


def their_shapes(config: GPTConfig, links: list[Link]) -> dict[str, tuple[int, ...]]:
    """那边每个张量应有的形状。"""
    ours, found = parameter_shapes(config), {}
    for link in links:
        shape = ours[link.ours]
        if link.is_turned:
            shape = shape[::-1]
        for name, rows in zip(link.theirs, link.rows or shape[:1], strict=True):
            found[name] = (rows, *shape[1:])
    return found


def from_theirs(state: Mapping[str, Array], links: list[Link]) -> dict[str, Array]:
    """那边的权重（或梯度）→ 我们的。"""
    return {link.ours: _joined([state[name] for name in link.theirs], link) for link in links}


def gathered(state: Mapping[str, LazyTensor], config: GPTConfig, links: list[Link]) -> dict[str, LazyTensor]:
    """同 ``from_theirs``，轮到时才读。"""
    shapes, found = parameter_shapes(config), {}
    for link in links:
        parts = [state[name] for name in link.theirs]

        def read(parts: list[LazyTensor] = parts, link: Link = link) -> Array:
            return _joined([part.read() for part in parts], link)

        found[link.ours] = LazyTensor(shapes[link.ours], parts[0].dtype, read)
    return found


def to_theirs(state: Mapping[str, Array], links: list[Link]) -> dict[str, Array]:
    """我们的权重 → 那边的；没有换过次序的都是视图。"""
    found: dict[str, Array] = {}
    for link in links:
        whole = state[link.ours].T if link.is_turned else state[link.ours]
        pieces = np.split(whole, np.cumsum(link.rows)[:-1]) if link.rows else [whole]
        heads = link.heads or (0,) * len(pieces)
        found.update(zip(link.theirs, map(_to_neighbours, pieces, heads), strict=True))
    return found


def _joined(parts: list[Array], link: Link) -> Array:
    parts = [_to_halves(part, heads) for part, heads in zip(parts, link.heads or (0,) * len(parts), strict=True)]
    whole = np.concatenate(parts) if len(parts) > 1 else parts[0]
    return np.ascontiguousarray(whole.T) if link.is_turned else whole


def _to_halves(rows: Array, heads: int) -> Array:
    """行的次序由「相邻成对」换成「前后两半成对」，逐头进行；``heads`` 为 0 时原样。"""
    return _reordered(rows, heads, is_back=False) if heads else rows


def _to_neighbours(rows: Array, heads: int) -> Array:
    """``_to_halves`` 的逆。"""
    return _reordered(rows, heads, is_back=True) if heads else rows


def _reordered(rows: Array, heads: int, *, is_back: bool) -> Array:
    half = len(rows) // heads // 2
    split = (2, half) if is_back else (half, 2)
    rest = rows.shape[1:]
    return rows.reshape(heads, *split, math.prod(rest)).swapaxes(1, 2).reshape(len(rows), *rest)
