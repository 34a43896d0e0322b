"""把数（或形状）代进求导表的一行，写成人手写的样子。

流入：一行源码与各个名字此刻的值；流出：如 ``-2 × 1.1``、``[4×3] @ [3×2]ᵀ`` 的文字。下一站：``formulas.py``。

只读语法树，从不执行：属性与形状这些常数折叠掉（``1 / max(count(shapes[0], dim), 1)`` 写成 ``0.25``），
认得的函数写成数学记号，不认得的照抄名字。
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tinygrad_llm.ops.op import Array
from tinygrad_llm.ops.reduce import count
from tinygrad_llm.tracing.arrays import Summary

_SMALL = 4
"""至多几个数的向量写出各个数，更大的写形状。"""


def shown(value: Any) -> str:
    """一个值：标量写数，很短的向量写出各个数，别的写形状。"""
    if value is None or isinstance(value, (str, bool)):
        return str(value)
    if isinstance(value, (int, float, complex)):
        return number(value)
    if not isinstance(value, Summary):
        if value.ndim == 0 or value.size == 1:
            return number(value.reshape(-1)[0].item())
        if value.ndim == 1 and 0 < value.size <= _SMALL:
            return f"[{', '.join(number(one) for one in value.tolist())}]"
    return shape_text(value.shape)


def shape_text(shape: Sequence[int]) -> str:
    """形状，如 ``[4×3]``；标量是 ``[]``。"""
    return f"[{'×'.join(map(str, shape))}]"


def number(x: Any, digits: int = 4) -> str:
    """一个数，至多四位有效数字；整数照写。"""
    if isinstance(x, complex):
        return f"({number(x.real)}{'+' if x.imag >= 0 or x.imag != x.imag else ''}{number(x.imag)}i)"
    if isinstance(x, (bool, int)):
        return str(x)
    text = f"{x:.{digits}g}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    return "0" if text == "-0" else text


# ---- 一行表达式

_ATOM, _POWER, _SIGN, _PRODUCT, _SUM, _COMPARISON, _CHOICE = range(7)
"""写出来的文字里最松的运算：拼进更紧的运算时要加括号。"""

_BINARY: dict[type[ast.operator], tuple[str, int]] = {
    ast.Add: (" + ", _SUM),
    ast.Sub: (" - ", _SUM),
    ast.Mult: (" × ", _PRODUCT),
    ast.Div: (" / ", _PRODUCT),
    ast.FloorDiv: (" // ", _PRODUCT),
    ast.MatMult: (" @ ", _PRODUCT),
    ast.Pow: ("^", _POWER),
    ast.BitAnd: (" & ", _COMPARISON),
    ast.BitOr: (" | ", _COMPARISON),
}
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "≤", ast.Gt: ">", ast.GtE: "≥", ast.Eq: "=", ast.NotEq: "≠",
}  # fmt: skip
_ARITHMETIC: dict[type[Any], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Is: operator.is_, ast.IsNot: operator.is_not,
    ast.USub: operator.neg, ast.Not: operator.not_,
}  # fmt: skip
_FOLDED: dict[str, Callable[..., Any]] = {"max": max, "min": min, "len": len, "count": count, "tuple": tuple}

_SYNTAX: dict[str, tuple[str, int]] = {
    "pow_scalar": ("{0}^{exponent}", _POWER), "pow": ("{0}^{1}", _POWER), "where": ("{0} ? {1} : {2}", _CHOICE),
    "masked_fill": ("{1} ? {value} : {0}", _CHOICE), "zeros": ("0", _ATOM), "_passed": ("{0} × [{1} > 0]", _PRODUCT),
    "_spread": ("spread({0})", _ATOM), "clamp": ("{0}", _ATOM), "keep": ("{0}", _ATOM), "_dot": ("{0} @ {1}", _PRODUCT),
    "_outer": ("{0} ⊗ {1}", _PRODUCT), "log": ("ln({0})", _ATOM), "sqrt": ("√({0})", _ATOM),
    "rsqrt": ("1/√({0})", _PRODUCT), "sum": ("Σ({0})", _ATOM), "_even_share": ("{0}/ties", _PRODUCT),
    "reshape": ("reshape({0})", _ATOM), "permute": ("transpose({0})", _ATOM), "index": ("{0}[{key}]", _ATOM),
    "scatter_index": ("zeros, [{key}] += {0}", _CHOICE), "embedding": ("{0}[{1}]", _ATOM),
    "_embedding_vjp": ("zeros, rows {1} += {0}", _CHOICE), "scatter_rows": ("zeros, rows {1} += {0}", _CHOICE),
    "expand": ("{0}", _ATOM), "cast": ("{0}", _ATOM),
    "_tie_share": ("{0} at the extreme {2}", _CHOICE), "conj": ("conj({0})", _ATOM),
}  # fmt: skip
"""认得的函数写成什么、其中最松的运算；``{0}`` 是第一个参数，``{key}`` 是关键字参数。"""

_LOOSE = frozenset({"where", "masked_fill", "_passed", "_dot", "_outer", "pow_scalar", "pow"})
"""参数要按运算的松紧加括号的；其余的参数本来就在括号里，或只有一个。"""


class Substitution:
    """一行表达式，代入各个名字的值。

    Args:
        tensors: 名字到数组（或概要）；给文字就照写。
        constants: 名字到属性、形状等常数。
    """

    def __init__(self, tensors: Mapping[str, Array | Summary | str | None], constants: Mapping[str, Any]) -> None:
        self.tensors, self.constants = tensors, constants

    def text(self, source: str) -> str:
        """代入之后的样子；读不懂的原样返回。"""
        try:
            tree = ast.parse(source.strip(), mode="eval")
        except SyntaxError:
            return source
        return self._written(tree.body)[0]

    def _written(self, node: ast.expr) -> tuple[str, int]:
        """文字，与其中最松的运算。"""
        known, value = self._folded(node)
        if known:
            return _signed(_constant_text(value))
        if isinstance(node, ast.Name):
            return _signed(shown(self.tensors[node.id])) if node.id in self.tensors else (node.id, _ATOM)
        if isinstance(node, ast.BinOp):
            return self._binary(node)
        if isinstance(node, ast.UnaryOp):
            sign = {ast.USub: "-", ast.Invert: "not ", ast.Not: "not "}.get(type(node.op), "+")
            return sign + self._tight(node.operand, _SIGN - 1), _SIGN
        if isinstance(node, ast.Compare):
            signs = [f" {_COMPARE.get(type(op), '?')} " for op in node.ops]
            parts = [self._tight(one, _SUM) for one in (node.left, *node.comparators)]
            return parts[0] + "".join(s + p for s, p in zip(signs, parts[1:], strict=True)), _COMPARISON
        if isinstance(node, ast.IfExp):
            return self._choice(node)
        if isinstance(node, ast.Attribute):
            inner = self._tight(node.value, _ATOM)
            if node.attr in ("T", "mT"):
                return f"{inner}ᵀ", _ATOM
            return (inner if node.attr == "real" else f"{inner}.{node.attr}"), _ATOM
        if isinstance(node, ast.Subscript):
            if "None" in ast.unparse(node.slice):  # 只添长度为 1 的轴
                return self._written(node.value)
            return f"{self._tight(node.value, _ATOM)}[{_slice_text(node.slice)}]", _ATOM
        if isinstance(node, ast.Call):
            return self._call(node)
        return ast.unparse(node), _CHOICE

    def _tight(self, node: ast.expr, loosest: int) -> str:
        """文字；其中有比 ``loosest`` 更松的运算就加括号。"""
        text, level = self._written(node)
        return f"({text})" if level > loosest else text

    def _binary(self, node: ast.BinOp) -> tuple[str, int]:
        sign, level = _BINARY.get(type(node.op), (" ? ", _CHOICE))
        if isinstance(node.op, ast.Mult) and "None" in (
            ends := [self._written(one)[0] for one in (node.left, node.right)]
        ):
            return self._written(node.left if ends[1] == "None" else node.right)  # 没给的权重
        if isinstance(node.op, ast.Mult) and all("[" in self._written(one)[0] for one in (node.left, node.right)):
            sign = " ⊙ "
        is_one_sided = isinstance(node.op, (ast.Sub, ast.Div, ast.MatMult))
        left = self._tight(node.left, _SIGN if level == _PRODUCT and not self._is_product(node.left) else level)
        right = self._tight(node.right, level - 1 if is_one_sided else level)
        right = f"({right})" if right.startswith("-") else right
        left = f"({left})" if left.startswith("-") and level == _POWER else left
        return left + sign + right, level

    def _is_product(self, node: ast.expr) -> bool:
        return isinstance(node, (ast.BinOp, ast.Call))

    def _choice(self, node: ast.IfExp) -> tuple[str, int]:
        known, value = self._folded(node.test)
        if known:
            return self._written(node.body if value else node.orelse)
        if "type(" in ast.unparse(node.test):  # 数组与 Tensor 各有一条路，算的是同一件事
            return self._written(node.orelse)
        parts = [self._tight(one, _COMPARISON) for one in (node.test, node.body, node.orelse)]
        return f"{parts[0]} ? {parts[1]} : {parts[2]}", _CHOICE

    def _call(self, node: ast.Call) -> tuple[str, int]:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if isinstance(node.func, ast.Attribute):  # a.T.dot(g)
            owner, inner = self._tight(node.func.value, _ATOM), [self._tight(one, _PRODUCT) for one in node.args]
            return (f"{owner} @ {inner[0]}", _PRODUCT) if node.func.attr == "dot" else (ast.unparse(node), _CHOICE)
        named = {one.arg: one.value for one in node.keywords if one.arg}
        form, level = _SYNTAX.get(name, ("", _ATOM))
        if not form:
            given = [self._written(one)[0] for one in node.args if not self._is_constant(one)]
            return f"{name.strip('_')}({', '.join(given)})", _ATOM
        if name == "pow_scalar" and self._folded(named["exponent"]) == (True, 1):
            return self._written(node.args[0])
        loosest = _SIGN if name in _LOOSE else _CHOICE
        loosest = _ATOM if level == _POWER else loosest
        args = [self._tight(one, loosest) for one in node.args]
        if form == "{0}":
            return self._written(node.args[0])
        return form.format(*args, **{key: self._written(value)[0] for key, value in named.items()}), level

    def _is_constant(self, node: ast.expr) -> bool:
        """属性、形状、轴之类：代入数之后没有什么可看。"""
        return isinstance(node, ast.Name) and node.id not in self.tensors

    # ---- 常数折叠

    def _folded(self, node: ast.expr) -> tuple[bool, Any]:
        """（是不是常数，它的值）。"""
        try:
            return True, self._value(node)
        except (LookupError, TypeError, ValueError, ArithmeticError):
            return False, None

    def _value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return self.constants[node.id]
        if isinstance(node, ast.UnaryOp):
            return _ARITHMETIC[type(node.op)](self._value(node.operand))
        if isinstance(node, ast.BinOp):
            return _ARITHMETIC[type(node.op)](self._value(node.left), self._value(node.right))
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            return _ARITHMETIC[type(node.ops[0])](self._value(node.left), self._value(node.comparators[0]))
        if isinstance(node, ast.Tuple):
            return tuple([self._value(one) for one in node.elts])
        if isinstance(node, ast.Subscript):
            return self._value(node.value)[self._value(node.slice)]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return _FOLDED[node.func.id](*[self._value(one) for one in node.args])
        raise LookupError


def _signed(text: str) -> tuple[str, int]:
    """负数拼进乘除、乘方时要加括号。"""
    return text, _SIGN if text.startswith("-") else _ATOM


def _constant_text(value: Any) -> str:
    if isinstance(value, (bool, int, float, complex)):
        return number(value)
    return key_text(value) if isinstance(value, (tuple, slice)) else str(value)


def key_text(key: Any) -> str:
    """下标，写成方括号里的样子。"""
    if isinstance(key, tuple):
        return ", ".join(key_text(one) for one in key)
    if isinstance(key, slice):
        ends = ["" if one is None else str(one) for one in (key.start, key.stop)]
        return ":".join(ends if key.step is None else [*ends, str(key.step)])
    if key is Ellipsis:
        return "…"
    return shown(key) if hasattr(key, "ndim") else str(key)


def _slice_text(node: ast.expr) -> str:
    return ast.unparse(node).replace("None", "·").replace("...", "…")
