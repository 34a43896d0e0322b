"""用 PyTorch 自己的样例（OpInfo）对照：同一组输入，比前向与梯度。

流入：``torch.testing._internal`` 的 ``op_db``；流出：每个算子通过了几个样例、错在哪里。
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

import tinygrad_llm as tg
from parity_tests.opinfo import torch_testing

RTOL, ATOL = 1e-9, 1e-11
UNDEFINED = frozenset(["empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided"])
"""元素的值没有约定的工厂函数：只比形状与 dtype。"""

_SEEDING_ONLY_THE_CPU = patch.object(torch, "manual_seed", torch.default_generator.manual_seed)
"""样例都在 CPU 上；torch 每次播种还要替没有用到的各种设备记下整个调用栈，样例库又频频播种，八成多的时间花在这里。"""
_NOT_LOOKING_HERE, _NOR_THERE = (
    patch(f"torch.testing._internal.{module}.extract_test_fn", lambda: None)
    for module in ("common_utils", "opinfo.core")
)
"""样例库为每个算子翻两遍调用栈，去找这里没有的 ``unittest.TestCase``：剩下的时间七成花在这里。"""


@dataclass
class Tally:
    """一个算子的成绩。

    Attributes:
        name: 算子名。
        offered: 本引擎是否提供它。
        passed: 通过的样例数。
        total: 样例总数。
        failures: 前几个失败的原因。
    """

    name: str
    offered: bool = True
    passed: int = 0
    total: int = 0
    failures: list[str] = field(default_factory=list)


def database() -> dict[str, Any]:
    """名字到 OpInfo，只留支持 float64 的。"""
    found = {}
    for info in torch_testing.load("common_methods_invocations").op_db:
        if torch.float64 in info.dtypes:
            found[info.name + (f"/{info.variant_test_name}" if info.variant_test_name else "")] = info
    return found


def twin(info: Any) -> Any:
    """与 OpInfo 的函数对应的、本引擎的函数；没有则为 ``None``。

    先找同名函数，再找 Tensor 的同名方法；``float`` 之类在模块上是元素类型，取方法。
    """
    target: Any = tg
    for part in info.name.split("."):
        target = getattr(target, part, None)
    if not callable(target) or isinstance(target, tg.dtype):
        target = getattr(tg.Tensor, info.name, None) or getattr(tg.Tensor, f"{info.name}_", None)
    if isinstance(target, property):
        return target.fget
    if target is not None and getattr(info.op, "__name__", "") == "<lambda>":  # 参数换了次序，或前后另有几步
        op: Any = info.op
        ours = {**op.__globals__, "torch": tg, "wrapper_set_seed": _seeded}
        return FunctionType(op.__code__, ours, None, op.__defaults__, op.__closure__)
    return target


def _seeded(op: Any, *args: Any, **kwargs: Any) -> Any:
    """与 ``wrapper_set_seed`` 用同一颗种子。"""
    tg.manual_seed(42)
    return op(*args, **kwargs)


def convert(value: Any) -> Any:
    """torch 的张量换成本引擎的，容器逐项换；dtype、布局（步长）与 requires_grad 都保留。"""
    if isinstance(value, torch.Tensor):
        result = _with_storage(value) if value.untyped_storage().nbytes() > value.nbytes else _plain(value)
        return result.requires_grad_() if value.requires_grad else result
    if isinstance(value, (torch.memory_format, torch.layout, torch.dtype)):
        return getattr(tg, str(value).removeprefix("torch."))
    if isinstance(value, torch.device):
        return "cpu"
    if isinstance(value, torch.nn.PairwiseDistance):
        return tg.nn.PairwiseDistance()
    if isinstance(value, dict):
        return {k: convert(v) for k, v in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(convert(v) for v in value))
    if isinstance(value, (list, tuple)):
        return type(value)(convert(v) for v in value)
    return value


def _plain(value: torch.Tensor) -> tg.Tensor:
    array = _array(value)
    return tg.from_numpy(np.array(array) if array.size == 0 else array.copy(order="K"))


def _with_storage(value: torch.Tensor) -> tg.Tensor:
    """只占内存一部分的视图：连同整块内存一起复制，``as_strided`` 才读得到旁边的数。"""
    whole = torch.empty(0, dtype=value.dtype).set_(value.detach().untyped_storage())
    view = _plain(whole).as_strided(value.shape, value.stride(), int(value.storage_offset()))
    return view.detach()  # type: ignore[no-any-return]


def _array(value: torch.Tensor) -> Any:
    """torch 的张量里的数；NumPy 没有 bfloat16，用 float32 装。"""
    plain = value.detach()
    return (plain.float() if plain.dtype is torch.bfloat16 else plain).numpy(force=True)


def leaves(value: Any) -> Iterator[Any]:
    """容器里的全部张量。"""
    if isinstance(value, (torch.Tensor, tg.Tensor)):
        yield value
    elif isinstance(value, dict):
        for v in value.values():
            yield from leaves(v)
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from leaves(v)


def check_sample(info: Any, ours: Any, sample: Any) -> str:
    """一个样例：返回空串表示通过，否则是原因。"""
    args, kwargs = (sample.input, *sample.args), dict(sample.kwargs)
    mine_args, mine_kwargs = convert(args), convert(kwargs)
    settled = sample.output_process_fn_grad  # 抹去结果里本就不定的部分，例如奇异向量的正负号
    torch.manual_seed(0)
    tg.manual_seed(0)  # 随机函数也要给出同样的数
    expected = settled(info.op(*args, **kwargs))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = settled(ours(*mine_args, **mine_kwargs))
    except Exception as error:
        return f"forward: {type(error).__name__}: {str(error)[:120]}"
    theirs, mine = list(leaves(expected)), list(leaves(found))
    if len(theirs) != len(mine):
        return f"forward: {len(mine)} outputs instead of {len(theirs)}"
    if not theirs and expected != found:
        return f"forward: {found!r} instead of {expected!r}"
    for i, (e, f) in enumerate(zip(theirs, mine, strict=True)):
        if str(e.dtype) != str(f.dtype):
            return f"forward output {i}: {f.dtype} instead of {e.dtype}"
        problem = _differ(_array(e), f.array, values=info.name not in UNDEFINED)
        if problem:
            return f"forward output {i}: {problem}"
    inputs = [t for t in leaves((args, kwargs)) if t.requires_grad]
    mine_inputs = [t for t in leaves((mine_args, mine_kwargs)) if t.requires_grad]
    outs = [(e, f) for e, f in zip(theirs, mine, strict=True) if e.requires_grad]
    if not info.supports_autograd or not inputs or not outs:
        return ""
    return _check_gradients(outs, inputs, mine_inputs)


def _check_gradients(outs: list[Any], inputs: list[Any], mine_inputs: list[Any]) -> str:
    draw = np.random.default_rng(0)
    seeds = [draw.standard_normal(tuple(e.shape)) for e, _ in outs]
    theirs = torch.autograd.grad(
        [e for e, _ in outs],
        inputs,
        [torch.tensor(s, dtype=e.dtype) for s, (e, _) in zip(seeds, outs, strict=True)],
        allow_unused=True,
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mine = tg.autograd.grad(
                [f for _, f in outs],
                mine_inputs,
                [tg.tensor(s, dtype=f.dtype) for s, (_, f) in zip(seeds, outs, strict=True)],
                allow_unused=True,
            )
    except Exception as error:
        return f"backward: {type(error).__name__}: {str(error)[:120]}"
    for i, (e, f) in enumerate(zip(theirs, mine, strict=True)):
        e_array = None if e is None else e.numpy(force=True)
        f_array = None if f is None else f.array
        if e_array is None or f_array is None:
            other = f_array if e_array is None else e_array
            if other is not None and np.any(other != 0):
                return f"gradient {i}: only one of the two engines has it"
            continue
        problem = _differ(e_array, f_array)
        if problem:
            return f"gradient {i}: {problem}"
    return ""


def _differ(expected: Any, found: Any, *, values: bool = True) -> str:
    if expected.shape != found.shape:
        return f"shape {found.shape} instead of {expected.shape}"
    if expected.dtype != found.dtype:
        return f"dtype {found.dtype} instead of {expected.dtype}"
    if not values:
        return ""
    if expected.dtype.kind in "fc":
        if not np.allclose(found, expected, rtol=RTOL, atol=ATOL, equal_nan=True):
            with np.errstate(all="ignore"):
                gap = np.nanmax(np.abs(found - expected))
            return f"values differ by {gap:.3g}"
    elif not np.array_equal(expected, found):
        return "values differ"
    return ""


def run(name: str, info: Any, at_most: int | None = None) -> Tally:
    """跑完一个算子的样例。

    Args:
        name: 账上的名字。
        info: OpInfo。
        at_most: 只跑这么多个，均匀地挑；``None`` 为全部。

    Returns:
        成绩。
    """
    ours = twin(info)
    tally = Tally(name, offered=ours is not None)
    with warnings.catch_warnings(), _SEEDING_ONLY_THE_CPU, _NOT_LOOKING_HERE, _NOR_THERE:
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        samples = list(info.sample_inputs("cpu", torch.float64, requires_grad=info.supports_autograd))
        if at_most is not None and len(samples) > at_most:
            samples = [samples[i * len(samples) // at_most] for i in range(at_most)]
        for sample in samples:
            tally.total += 1
            reason = check_sample(info, ours, sample) if ours is not None else "not offered"
            if reason:
                if len(tally.failures) < 4:
                    tally.failures.append(reason)
            else:
                tally.passed += 1
    return tally
