"""量一个例子：引擎与 torch 的前向、梯度各差多少，梯度与中心差分差多少。

流入：``Case``（算子名、输入、布局、属性）；流出：每种比较里最大的一处误差 ``Error``。
容差来自 ``tolerances.py``，torch 的写法来自 ``engine/op_table.py``：这里不另立一套。下一站：``survey.py``。
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

import tinygrad_llm as tg
from parity_tests.engine.op_table import TABLE
from parity_tests.strategies import LAYOUTS
from parity_tests.tolerances import TABLE as TOLERANCES
from parity_tests.tolerances import Tolerance, as_array
from tinygrad_llm.autograd.graph import apply
from tinygrad_llm.ops import REGISTRY

FORWARD, GRADIENT, DIFFERENCE = CHECKS = ("forward", "gradient", "difference")
"""三种比较：前向与 torch，梯度与 torch，梯度与中心差分。"""

STEP = 1e-6
"""中心差分的步长；截断与舍入两种误差的权衡见 ``tolerances.py``。"""

WIDER = {torch.float32: torch.float64, torch.complex64: torch.complex128}

UNIT_FLOOR = 2.0**-7
"""数 ulp 时，比这还小的数组按这么大算：抵消之后只剩舍入误差的数组，自己的末位没有意义。"""


@dataclass(frozen=True)
class Case:
    """一个例子。

    Attributes:
        op: 算子名。
        args: 位置参数；数组都是连续的。
        layouts: 各参数的内存布局，``LAYOUTS`` 的键；测之前才换成这种布局。
        attrs: 属性。
    """

    op: str
    args: tuple[Any, ...]
    layouts: tuple[str, ...]
    attrs: dict[str, Any]

    def inputs(self) -> list[Any]:
        """换好布局的参数，每次都是新的：改写了它们的算子改不到例子。"""
        pairs = zip(self.args, self.layouts, strict=True)
        return [LAYOUTS[layout](np.array(a, order="C")) if isinstance(a, np.ndarray) else a for a, layout in pairs]


class Error(NamedTuple):
    """一次比较里最大的一处误差。

    Attributes:
        relative: ``|ours - theirs| / (|theirs| + atol/rtol)``：不超过 rtol 即合格，与 ``assert_close`` 的判法相同。
        ulps: 同一处差了多少个末位，以被比较的数组里最大的数的末位为单位。
        bound: 这种比较的 rtol。
        where: 哪个量的哪个元素。
        ours: 引擎的数。
        theirs: 基准的数。
    """

    relative: float
    ulps: float
    bound: float
    where: str
    ours: str
    theirs: str

    @property
    def share(self) -> float:
        """用掉了容差的几成；大于 1 即不合格。"""
        return self.relative / self.bound

    @property
    def passed(self) -> bool:
        """在容差之内。"""
        return self.relative <= self.bound


def broken(where: str, bound: float, ours: Any = "", theirs: Any = "") -> Error:
    """根本没法比：形状不同、抛了异常、改写了输入。"""
    return Error(math.inf, math.inf, bound, where, str(ours), str(theirs))


def is_float(value: Any) -> bool:
    """浮点或复数的数组。"""
    return isinstance(value, np.ndarray) and value.dtype.kind in "fc"


def tolerance(check: str, dtype: str) -> Tolerance:
    """一种比较的容差。"""
    return TOLERANCES["central difference" if check == DIFFERENCE else dtype]


def measure(case: Case, dtype: str, differences: bool) -> dict[str, Error]:
    """量一个例子。

    float32 的一处不合格先不定案：基准换成同样的输入在 torch 的 float64 里的结果再比一次。
    合格就说明偏的是 torch 的 float32，记下新的误差与 torch 自己的误差；不合格就是我们错。

    Args:
        case: 例子；浮点输入的 dtype 已经是要测的那一种。
        dtype: ``"float64"`` 或 ``"float32"``，决定容差。
        differences: 是否与中心差分比；只有小而平滑的输入才比得。

    Returns:
        比较的名字到最大的误差；没有可求导的输入就只有前向。
    """
    args, before = case.inputs(), case.inputs()
    wanted = differentiable(case.op, args)
    y, ours, seed = engine_side(case, args, wanted)
    expected, theirs = torch_side(case, before, wanted, seed, torch.as_tensor)
    found = _compared(y, ours, expected, theirs, wanted, tolerance(FORWARD, dtype))
    if dtype == "float32" and not all(error.passed for error in found.values()):
        exact = torch_side(case, before, wanted, seed, doubled)
        truth, slopes = like(exact[0], expected), [like(a, b) for a, b in zip(exact[1], theirs, strict=True)]
        judged = _compared(y, ours, truth, slopes, wanted, tolerance(FORWARD, dtype))
        off = _compared(expected, theirs, truth, slopes, wanted, tolerance(FORWARD, dtype))
        found = {name: error if error.passed else _second_opinion(judged[name], off[name], error)
                 for name, error in found.items()}  # fmt: skip
    if differences and wanted:
        limit = tolerance(DIFFERENCE, dtype)
        slopes = [central_difference(case.op, before, case.attrs, i, seed) for i in wanted]
        pairs = zip(wanted, ours, slopes, strict=True)
        found[DIFFERENCE] = worst(compare(a, b, limit, f"gradient of input {i}") for i, a, b in pairs)
    for i, (now, then) in enumerate(zip(args, before, strict=True)):
        if isinstance(now, np.ndarray) and not np.array_equal(now, then, equal_nan=now.dtype.kind in "fc"):
            found[FORWARD] = broken(f"the op wrote to its input {i}", tolerance(FORWARD, dtype).rtol)
    return found


def engine_side(case: Case, args: list[Any], wanted: list[int]) -> tuple[Any, list[Any], Any]:
    """引擎的前向、各份梯度与反传的起点。"""
    inputs = [tg.Tensor.wrap(a).requires_grad_(i in wanted) if is_float(a) else a for i, a in enumerate(args)]
    y = apply(REGISTRY[case.op], inputs, case.attrs)
    if not wanted:
        return y, [], None
    seed = upstream(y)
    return y, list(tg.autograd.grad(y, [inputs[i] for i in wanted], tg.tensor(seed), allow_unused=True)), seed


def torch_side(
    case: Case, args: list[Any], wanted: list[int], seed: Any, place: Callable[[Any], Any]
) -> tuple[Any, list[Any]]:
    """torch 的前向与各份梯度；``place`` 决定张量的 dtype 与设备。"""
    inputs = [place(torch.from_numpy(np.array(a))) if isinstance(a, np.ndarray) else a for a in args]
    inputs = [t.requires_grad_(i in wanted) if is_float(args[i]) else t for i, t in enumerate(inputs)]
    y = TABLE[case.op].twin(*inputs, **case.attrs)
    if not wanted:
        return y, []
    start = place(torch.from_numpy(np.array(seed))).to(y.dtype)
    return y, list(torch.autograd.grad(y, [inputs[i] for i in wanted], start, allow_unused=True))


def _compared(
    y: Any, ours: list[Any], expected: Any, theirs: list[Any], wanted: list[int], limit: Tolerance
) -> dict[str, Error]:
    found = {FORWARD: compare(y, expected, limit, "output")}
    if wanted:
        pairs = zip(wanted, ours, theirs, strict=True)
        found[GRADIENT] = worst(compare(a, b, limit, f"gradient of input {i}") for i, a, b in pairs)
    return found


def doubled(x: Any) -> Any:
    """单精度换成双精度；下标与掩码照旧。"""
    return x.to(WIDER.get(x.dtype, x.dtype))


def like(exact: Any, single: Any) -> Any:
    """基准换成被比较的 dtype，放回 CPU；没有梯度的仍是没有。"""
    return None if exact is None or single is None else exact.detach().cpu().to(single.dtype)


def _second_opinion(judged: Error, torch_error: Error, error: Error) -> Error:
    """以 torch 的 float64 为准：合格的换成新的误差，不合格的照旧。"""
    if not judged.passed:
        return error
    return judged._replace(where=f"{judged.where} (torch float32 itself is off by {torch_error.relative:.1e})")


def differentiable(name: str, args: list[Any]) -> list[int]:
    """可求导的输入的位置。"""
    op = REGISTRY[name]
    names = op.inputs * len(args) if op.variadic else op.inputs
    return [i for i, a in enumerate(args) if is_float(a) and names[i] in op.vjps]


def upstream(y: Any) -> Any:
    """反传的起点：形状相同、种子固定的正态随机数。"""
    rng = np.random.default_rng(0)
    real, imaginary = rng.standard_normal(tuple(y.shape)), rng.standard_normal(tuple(y.shape))
    return np.asarray(real + 1j * imaginary if y.is_complex() else real).astype(y.array.dtype)


def compare(ours: Any, theirs: Any, limit: Tolerance, what: str) -> Error:
    """两个张量之间最大的一处误差；NaN 与无穷要出现在同样的位置。"""
    a, b = as_array(ours), as_array(theirs)
    if a.shape != b.shape or a.dtype != b.dtype:
        return broken(f"{what}: shape or dtype", limit.rtol, f"{a.dtype}{a.shape}", f"{b.dtype}{b.shape}")
    if not a.size or a.dtype.kind == "O":  # 空数组；或者两边都说没有梯度
        return Error(0.0, 0.0, limit.rtol, what, "", "")
    wide = np.complex128 if a.dtype.kind == "c" else np.float64
    x, reference = a.astype(wide), b.astype(wide)
    with np.errstate(all="ignore"):
        same = (x == reference) | (np.isnan(x) & np.isnan(reference))
        gap = np.abs(x - reference)
        gap = np.where(same, 0.0, np.where(np.isfinite(gap), gap, np.inf))
        size = np.abs(reference)
        relative = np.where(gap > 0, gap / np.where(np.isinf(gap), 1.0, size + limit.atol / limit.rtol), 0.0)
    place = np.unravel_index(int(np.argmax(relative)), a.shape)
    real = np.float32 if a.dtype in (np.float32, np.complex64) else np.float64
    largest = float(np.max(size, initial=UNIT_FLOOR, where=np.isfinite(size)))
    ulps = float(np.max(gap)) / float(np.spacing(real(largest)))
    spot = f"{what} at {tuple(int(i) for i in place)}" if place else what
    return Error(float(relative[place]), ulps, limit.rtol, spot, str(a[place]), str(b[place]))


def worst(errors: Any) -> Error:
    """几处误差里最大的；ulp 也取其中最大的。"""
    ranked = sorted(errors, key=lambda e: (e.relative, e.ulps))
    return ranked[-1]._replace(ulps=max(e.ulps for e in ranked))  # type: ignore[no-any-return]


def central_difference(name: str, args: list[Any], attrs: dict[str, Any], index: int, seed: Any) -> Any:
    """``⟨seed, f(x)⟩`` 对第 ``index`` 个输入的中心差分；复数沿实、虚两个方向各差分一次，合成 torch 约定的梯度。"""
    x = np.array(args[index])
    slope = np.zeros_like(x)
    operands = [x if i == index else a for i, a in enumerate(args)]

    def loss() -> float:
        return float(np.real(np.vdot(seed, np.asarray(REGISTRY[name](*operands, **attrs)))))

    for place in np.ndindex(x.shape):
        middle = x[place]
        for direction in (1.0, 1j) if x.dtype.kind == "c" else (1.0,):
            x[place] = middle + STEP * direction
            above, up = loss(), x[place]
            x[place] = middle - STEP * direction
            slope[place] += (above - loss()) / abs(up - x[place]) * direction
            x[place] = middle
    return slope
