"""一个算子（或优化器）自己的快测：变异体只由这几条来认。

流入：算子或优化器的名字；流出：（测试的名字，不带参数的函数）的序列。它们就是 ``make test`` 里的那几条，例子也相同，
只是失败之后不再缩小。下一站：``runner.py``。
"""

from __future__ import annotations

import functools
import inspect
import itertools
import types
from collections.abc import Callable, Iterator
from typing import Any

from _pytest.mark.structures import ParameterSet
from hypothesis import HealthCheck, Phase, settings

from parity_tests.engine import (
    test_autograd_api,
    test_complex_ops,
    test_dtypes,
    test_first_order,
    test_found_by_programs,
    test_graph,
    test_higher_order,
    test_ops,
    test_optim,
    test_optim_methods,
    test_optim_samples,
)
from parity_tests.mutants import test_closed_holes, test_closed_holes_optim, test_corners, test_forwards
from tinygrad_llm.ops import REGISTRY

Check = tuple[str, Callable[[], Any]]

TRAVERSAL = (test_graph, test_first_order, test_higher_order, test_autograd_api, test_found_by_programs, test_dtypes)
SAMPLED_OPS = ("add", "mul", "matmul", "where", "index", "cast", "layer_norm", "cat", "expand")

PROPERTIES: tuple[tuple[str, Callable[..., None]], ...] = (
    ("gradient equals torch", test_ops.test_forward_and_gradient_equal_torch),
    ("gradient equals central difference", test_ops.test_gradient_equals_central_difference),
    ("float32 stays float32", test_ops.test_float32_stays_float32),
    ("second order", test_ops.test_second_order_equals_torch_and_central_difference),
    ("subset of inputs", test_ops.test_any_subset_of_inputs_gets_the_same_gradients),
)
COMPLEX: tuple[tuple[str, Callable[..., None]], ...] = (
    ("complex gradient equals torch", test_complex_ops.test_complex_inputs_equal_torch),
    ("complex central difference", test_complex_ops.test_complex_gradients_equal_central_differences),
)


def without_shrinking(test: Callable[..., None]) -> Callable[..., None]:
    """同一条性质、同样的例子，失败了就停：缩小反例要几十倍的时间，而这里只问认不认得出来。"""
    old = test._hypothesis_internal_use_settings  # type: ignore[attr-defined]
    test._hypothesis_internal_use_settings = settings(  # type: ignore[attr-defined]
        old, phases=(Phase.explicit, Phase.generate), report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    return test


def of(owner: str) -> Iterator[Check]:
    """``owner`` 的快测，快的、最会认的在前。"""
    if owner in REGISTRY:
        yield from of_op(owner)
    elif owner == "traversal":
        for name in SAMPLED_OPS:
            yield from itertools.islice(of_op(name), 4)
        yield from (c for c in of_module(test_closed_holes) if "traversal" in c[0])
        for module in TRAVERSAL:
            yield from of_module(module)
    else:
        yield from of_optimizer(owner)


def of_op(name: str) -> Iterator[Check]:
    """``op_table`` 的一行能作的全部检查。"""
    properties = list(PROPERTIES)
    if REGISTRY[name].composed is not None:
        properties.insert(1, ("fused equals composed", test_ops.test_fused_op_equals_its_composed_twin))
    if REGISTRY[name].plain is not None:
        properties.append(("other forwards", test_ops.test_the_other_forwards_give_the_same_values))
    for label, test in properties:
        yield f"{name}: {label}", functools.partial(without_shrinking(test), name=name)
    if name in test_complex_ops.NAMES:
        for label, test in COMPLEX:
            if name not in ("conv_weight", "embedding") or "torch" not in label:  # torch 没有它们的复数梯度
                yield f"{name}: {label}", functools.partial(without_shrinking(test), name=name)
    for corner in test_corners.CORNERS:
        if corner.split()[0] == name:
            yield f"{name}: corners", functools.partial(test_corners.test_corners_equal_torch, corner)
    for corner in test_corners.SECOND:
        if corner.split()[0] == name:
            second = test_corners.test_second_derivatives_at_corners
            yield f"{name}: second derivatives at corners", functools.partial(second, corner)
    if name in test_closed_holes.BUFFERED:
        put = test_closed_holes.test_traversal_puts_gradients_into_shared_memory
        for case in (name, "tied"):
            yield f"{name}: shared memory", functools.partial(put, case)
    if name in test_forwards.FORWARDS:
        yield f"{name}: forwards", functools.partial(test_forwards.test_forwards_equal_torch, name)
    for module in (test_closed_holes, test_corners, test_forwards):
        yield from (c for c in of_module(module) if c[0].startswith(f"test_{name}_"))
    if name in test_ops.REPEATED:
        yield (
            f"{name}: one tensor in two places",
            functools.partial(test_ops.test_one_tensor_in_two_places_gets_the_sum, name),
        )


def of_optimizer(name: str) -> Iterator[Check]:
    """一个优化器的轨迹：一百步、float32、状态交接与 PyTorch 自己的设定。"""
    for label, check in of_module(test_closed_holes_optim):
        if name.lower() in label or getattr(check, "keywords", {}).get("optimizer") == name:
            yield label, check
    cases = {k: v for k, v in test_optim.OPTIMIZERS.items() if k.split()[0] == name}
    for label, case in cases.items():
        yield f"{label}: a hundred steps", functools.partial(test_optim.test_a_hundred_steps_equal_torch, case)
    if name in ("LBFGS", "Muon"):
        yield from (c for c in of_module(test_optim_methods) if name.lower() in c[0])
    yield (
        f"{name}: torch's own settings",
        functools.partial(test_optim_samples.test_torchs_own_settings_give_torchs_trajectory, name),
    )
    for label, case in cases.items():
        yield f"{label}: state dict", functools.partial(test_optim.test_state_dict_has_torchs_structure, case)
        yield f"{label}: float32", functools.partial(test_optim.test_float32_stays_float32, case)


def of_module(module: types.ModuleType) -> Iterator[Check]:
    """一个测试文件里不用夹具的每一条测试、每一组参数。"""
    for name, test in list(vars(module).items()):
        if name.startswith("test_") and callable(test) and getattr(test, "__module__", "") == module.__name__:
            yield from _cases(name, test)


def _cases(name: str, test: Any) -> Iterator[Check]:
    """把 ``parametrize`` 展开；要夹具的不跑。"""
    marks = [m for m in getattr(test, "pytestmark", []) if m.name == "parametrize"]
    rows: list[dict[str, Any]] = [{}]
    for mark in marks:
        names = [n.strip() for n in mark.args[0].split(",")] if isinstance(mark.args[0], str) else list(mark.args[0])
        rows = [{**row, **_bound(names, value)} for row in rows for value in mark.args[1]]
    skipped = any(m.name in ("full", "skipif") for m in getattr(test, "pytestmark", []))
    if skipped or set(inspect.signature(test).parameters) - {key for row in rows for key in row}:
        return
    run = without_shrinking(test) if hasattr(test, "hypothesis") else test
    for row in rows:
        yield name, functools.partial(run, **row)


def _bound(names: list[str], value: Any) -> dict[str, Any]:
    values = value.values if isinstance(value, ParameterSet) else (value if len(names) > 1 else (value,))
    return dict(zip(names, values, strict=True))
