"""公式：前向的公式与求导表的一行，代入当时的数（张量代入形状）。

流入：一条算子调用或一条边的记录；流出：给人看的文字。下一站：``json_form.py``。
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_llm.ops.op import Op
from tinygrad_llm.tracing.sources import vjp_sources
from tinygrad_llm.tracing.substitution import Substitution, key_text, number, shape_text, shown

if TYPE_CHECKING:
    from tinygrad_llm.tracing.trace import EdgeRecord, NodeRecord

__all__ = ["edge_source", "edge_text", "forward_text", "input_names", "vjp_sources"]

_FORWARD = {
    "sigmoid": "σ(x)", "pow_scalar": "x^exponent", "pow": "a^b", "where": "cond ? a : b", "index": "x[key]",
    "masked_fill": "mask ? value : x", "clamp": "clamp(x, min, max)", "mean": "(1/n) Σ x", "exp2": "2^x",
    "expm1": "e^x - 1", "softplus": "ln(1 + e^x)", "logaddexp": "ln(e^a + e^b)", "dot": "a · b", "fill": "value",
    "lerp": "a + weight × (b - a)", "linear": "x @ weightᵀ + bias", "matmul": "a @ b", "mm": "a @ b", "mv": "a @ x",
    "vm": "x @ b", "silu": "x · σ(x)", "gelu": "x · Φ(x)", "permute": "transpose(x)", "hypot": "√(a^2 + b^2)",
    "var": "var(x)", "std": "std(x)", "prelu": "x > 0 ? x : w × x", "softmax": "softmax(x)",
    "log_softmax": "log_softmax(x)", "logsumexp": "ln Σ e^x", "gelu_tanh": "gelu(x)", "threshold": "threshold(x)",
    "elu": "elu(x)", "vector_norm": "‖x‖",
    "binary_cross_entropy": "-(target × ln x + (1 - target) × ln(1 - x))",
}  # fmt: skip
"""公式里有上标、下标或汉字、不好代入的，另写一个。"""

JOINT = {
    "linear": {"x": "g @ weight", "weight": "g.T @ x", "bias": "sum(g)"},
    "layer_norm": {
        "x": "(g * weight - mean(g * weight) - xhat * mean(g * weight * xhat)) * rstd",
        "weight": "sum(g * xhat)",
        "bias": "sum(g)",
    },
    "rms_norm": {"x": "(g * weight - xhat * mean(g * weight * xhat)) * rrms", "weight": "sum(g * xhat)"},
    "gelu": {"x": "g * slope"},
    "gelu_tanh": {"x": "g * slope"},
    "silu": {"x": "g * slope"},
    "cross_entropy": {"logits": "g * (softmax(logits) - onehot(target)) / n"},
}
"""一次算出全部梯度的算子，各输入的那一份写成一行；测试把它们与引擎的结果比对。"""


def input_names(declared: Any, count: int) -> list[str]:
    """各输入的名字；可变参数的算子与自定义算子自己编号。"""
    if isinstance(declared, Op) and not declared.variadic:
        return list(declared.inputs[:count])
    stem = declared.inputs[0] if isinstance(declared, Op) else "x"
    return [f"{stem}[{i}]" for i in range(count)]


def attr_text(value: Any) -> str:
    """一个属性写成文字。"""
    if isinstance(value, (tuple, slice)) and _is_key(value):
        return key_text(value)
    if isinstance(value, np.ndarray):
        return f"array{shape_text(value.shape)}"
    if isinstance(value, np.dtype):
        return str(value)
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_key(value: Any) -> bool:
    """是不是带切片的下标。"""
    return isinstance(value, slice) or any(isinstance(one, (slice, np.ndarray)) or one is Ellipsis for one in value)


# ---- 前向


def forward_text(record: NodeRecord) -> str:
    """代入了数或形状的前向公式，如 ``2.42 = 2.2 × 1.1``。"""
    values = record.trace.values
    given = [None if i is None else values[i].data for i in record.inputs]
    names = dict(zip(record.input_names, given, strict=True))
    right = _substituted(record, names) or _as_call(record, given)
    return f"{shown(values[record.output].data)} = {right}"


def _as_call(record: NodeRecord, given: list[Any]) -> str:
    return f"{record.op}({', '.join(shown(one) for one in given)})"


_CHINESE = re.compile(r"[\u4e00-\u9fff（]")
_WORD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_MARKED = re.compile(r"[\u0300-\u036f\u1d2c-\u1d6a\u2070-\u209f\u02b0-\u02ff]")
"""上标、下标与字母上的记号：带着它们的字母不是输入自己。"""


def _substituted(record: NodeRecord, names: Mapping[str, Any]) -> str | None:
    """公式的右边，名字换成数；有哪个输入代不进去则为 ``None``。"""
    left, _, right = record.formula.partition(" = ")
    template = _FORWARD.get(record.op, right if left == "y" and not _CHINESE.search(right) else "")
    constants = record.raw_attrs
    used: set[str] = set()

    def put(match: re.Match[str]) -> str:
        word, after = match[0], template[match.end() : match.end() + 1]
        name = (
            word if word in names or word in constants else {"W": "weight", "w": "weight", "b": "bias"}.get(word, word)
        )
        if name in names and (not _MARKED.match(after) or after == "ᵀ"):
            used.add(name)
            return _fitting(shown(names[name]), template, match)
        if word == "n" and record.op == "mean":
            return str(_averaged(record))
        if name in constants and name not in names:
            value = constants[name]
            return key_text(value) if name == "key" else number(value) if isinstance(value, float) else attr_text(value)
        return word

    text = _WORD.sub(put, template)
    if not all(name in used for name, value in names.items() if value is not None):
        return None
    both_arrays = all("[" in part for part in text.split("⊙"))
    for nothing in (" + None", " ⊙ None", ", None", "None, "):  # 没给的参数
        text = text.replace(nothing, "")
    return text.replace("⊙", "⊙" if both_arrays else "×")


def _fitting(text: str, template: str, match: re.Match[str]) -> str:
    """负数夹在运算符之间时加括号。"""
    before, after = template[: match.start()], template[match.end() :]
    is_alone = before.endswith(("(", ", ", "|")) or not before
    return text if not text.startswith("-") or (is_alone and not after.startswith("^")) else f"({text})"


def _averaged(record: NodeRecord) -> int:
    values, first = record.trace.values, record.inputs[0]
    size = int(np.prod(values[first].shape)) if first is not None else 1
    return size // max(int(np.prod(values[record.output].shape)), 1)


# ---- 反向


def edge_source(record: NodeRecord, position: int) -> str:
    """一条边用到的那一行；一次算出全部梯度的，写成一行的公式，没有就是那个调用的第几项。"""
    name = record.input_names[position]
    if record.op == "cat":
        return "slice(g)"
    if "*" not in record.vjps:
        return record.vjps.get(name, "").partition("\n")[0]
    called = f"{record.vjps['*'].partition('(')[0]}({', '.join(['g', *_given(record)])})[{position}]"
    found = JOINT.get(record.op, {}).get(name) or called
    return found.removesuffix(" / n") if record.raw_attrs.get("reduction", "mean") != "mean" else found


def _given(record: NodeRecord) -> list[str]:
    """给了的各输入的名字。"""
    return [name for name, i in zip(record.input_names, record.inputs, strict=True) if i is not None]


def edge_rule(record: NodeRecord, position: int) -> str:
    """同一行写得更像数学，名字不换成数，如 ``g @ bᵀ``。"""
    names = {name: name for name in ("g", "y", *record.input_names)}
    source = edge_source(record, position)
    if isinstance(record.declared, Op):
        names |= {name: name for name in record.declared.keeps}
    shapes = [() if i is None else record.trace.values[i].shape for i in record.inputs]
    return Substitution(names, {"shapes": shapes, **record.raw_attrs}).text(source)


def edge_text(record: NodeRecord, edge: EdgeRecord) -> str:
    """代入了数或形状的一行求导表，如 ``1 × 1.1 = 1.1``；求过和的再写出求和之后的。"""
    found, raw = _substitution(record, edge).text(edge_source(record, edge.input)), shown(edge.raw)
    found = raw if found == raw else f"{found} = {raw}"
    if edge.summed_axes:
        axes = ", ".join(map(str, edge.summed_axes))
        which = "axis" if len(edge.summed_axes) == 1 else "axes"
        return f"{found}, sum over {which} {axes} = {shown(edge.contribution)}"
    if edge.raw_shape != edge.contribution.shape:
        return f"{found}, spread over {shape_text(edge.contribution.shape)}"
    return found


def _substitution(record: NodeRecord, edge: EdgeRecord) -> Substitution:
    """一行里用得着的名字：``g``、``y``、各输入、留下的中间量是张量，属性与形状是常数。"""
    values = record.trace.values
    given = [None if i is None else values[i] for i in record.inputs]
    tensors = {name: None if one is None else one.data for name, one in zip(record.input_names, given, strict=True)}
    tensors["y"] = values[record.output].data
    if edge.step is not None:
        tensors["g"] = edge.step.incoming
    if isinstance(record.declared, Op) and record.saved is not None and record.graph_node is not None:
        kept = zip(record.graph_node.plan.sources, record.saved, strict=False)
        tensors.update(
            {name: one for name, one in kept if name in record.declared.keeps and isinstance(one, np.ndarray)}
        )
    shapes = [() if one is None else one.shape for one in given]
    constants = {"shapes": shapes, **record.raw_attrs}
    if record.op == "cross_entropy" and isinstance(target := tensors["target"], np.ndarray):
        constants["n"] = int((target != record.raw_attrs["ignore_index"]).sum())
    return Substitution(tensors, constants)
