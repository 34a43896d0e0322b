"""复数张量：值、dtype、梯度、写视图、打印与报错都与 torch 相同，导数也与中心差分相同。

程序在 ``complex_cases.py``；算子本身的随机测试在 ``test_ops.py`` 与 ``test_complex_ops.py``，傅里叶变换另有一处。
"""

from __future__ import annotations

import io
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.complex_cases import CASES, MISTAKES, UNORDERED, Case
from parity_tests.engine.twins import ENGINES, same, same_error, table, values

DTYPES = ["float32", "float64", "int32", "bool", "complex64", "complex128"]


def _numbers(seed: int, *shape: int) -> Any:
    return values(seed, *shape) + 1j * values(seed + 1, *shape)


def _listed(result: Any) -> list[Any]:
    return [y for part in result for y in _listed(part)] if isinstance(result, (tuple, list)) else [result]


def _total(m: Any, outputs: list[Any]) -> Any:
    """各个可导的结果（复数看作一对实数）乘以固定的权重，加成一个实数。"""
    reals = [m.view_as_real(y.resolve_conj()) if y.is_complex() else y for y in outputs if y.requires_grad]
    weights = [m.tensor(np.cos(np.arange(y.numel(), dtype=np.float64)).reshape(tuple(y.shape))) for y in reals]
    return sum((y.to(m.float64) * w).sum() for y, w in zip(reals, weights, strict=True))


@pytest.mark.parametrize("case", table(CASES))
def test_values_and_gradients_of_complex_numbers_differ(case: Case) -> None:
    """某段程序的值、dtype 或对复数叶子的梯度与 torch 不同。"""

    def run(m: Any) -> Any:
        z = m.tensor(_numbers(0, 2, 3, 4), requires_grad=True)
        outputs = _listed(case(m, z))
        (grad,) = m.autograd.grad(_total(m, outputs), z)
        return outputs, grad

    same(run)


@pytest.mark.parametrize(
    "name", sorted(set(CASES) - {"casts", "hooks", "a real leaf", "polar form at zero", "written views"})
)
def test_gradients_are_not_the_central_differences(name: str) -> None:
    """某段程序对实部或虚部的导数与中心差分不同。"""
    z = tg.tensor(_numbers(2, 2, 3, 4), requires_grad=True)
    assert tg.gradcheck(lambda z: _total(tg, _listed(CASES[name](tg, z))), [z], fast_mode=True)


def test_gradcheck_calls_a_wrong_complex_derivative_right() -> None:
    """忘了取共轭的导数通过了 ``gradcheck``。"""

    class Square(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2 * ctx.saved_tensors[0]

    z = tg.tensor(_numbers(0, 3), requires_grad=True)
    assert not tg.gradcheck(Square.apply, [z], raise_exception=False)
    assert tg.gradcheck(lambda z: z * z, [z])
    assert tg.gradgradcheck(lambda z: (z**3).abs(), [z])


@pytest.mark.parametrize("name", ["add", "mul", "truediv", "eq", "pow"])
@pytest.mark.parametrize("left", DTYPES)
def test_complex_and_another_dtype_promote_differently(left: str, name: str) -> None:
    """某两种 dtype（含 0 维）相遇的结果类型与 torch 不同。"""
    for right in [d for d in DTYPES if "complex" in left or "complex" in d]:
        for shapes in [((2,), (2,)), ((2,), ()), ((), (2,)), ((), ())]:

            def run(m: Any, shapes: Any = shapes, right: str = right) -> Any:
                a, b = (m.ones(s, dtype=getattr(m, d)) for s, d in zip(shapes, (left, right), strict=True))
                return getattr(operator, name)(a, b), m.result_type(a, b), m.promote_types(a.dtype, b.dtype)

            same(run, "float32", f"{left}{shapes[0]} {name} {right}{shapes[1]}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("number", [1j, 2.5, 3, True, np.complex64(1j), np.complex128(1 + 1j)], ids=repr)
def test_a_number_widens_a_tensor(dtype: str, number: Any) -> None:
    """Python 或 NumPy 的数与张量相遇的结果类型与 torch 不同。"""

    def run(m: Any) -> Any:
        x = m.ones(2, dtype=getattr(m, dtype))
        plain = number.item() if isinstance(number, np.generic) else number  # torch 不认 NumPy 的复数标量在左边
        found = x * number, number == x, m.result_type(x, plain), plain + x.real
        return *found, m.where(x > 0, x, plain) if dtype[:7] != "complex" else x

    if isinstance(number, np.generic):
        assert (tg.ones(2, dtype=getattr(tg, dtype)) * number).is_complex()
    else:
        same(run, "float32")


def test_the_default_dtype_does_not_reach_complex_numbers() -> None:
    """缺省浮点类型改成 float64 之后，Python 复数没有变成 complex128。"""

    def run(m: Any) -> Any:
        m.set_default_dtype(m.float64)
        try:
            return m.tensor([1j]), m.full((1,), 1j), m.ones(1, dtype=m.int64) * 1j, repr(m.tensor([0.5j, 2]))
        finally:
            m.set_default_dtype(m.float32)

    same(run)


FACTORIES: dict[str, Callable[[Any], Any]] = {
    "literals": lambda m: (m.tensor(1 + 2j), m.tensor([1, 2.5, 3j]), m.tensor([[True, 1j]]),
        m.tensor(1, dtype=m.cfloat), m.as_tensor(np.array([1j, 2])), m.tensor([m.tensor(1j), 2.0]),
        m.tensor([1j], dtype=complex)),
    "filled": lambda m: (m.zeros(2, dtype=m.cfloat), m.ones(2, dtype=m.cdouble), m.full((2,), 1j),
        m.eye(2, dtype=m.cfloat), m.zeros_like(m.tensor([1j])), m.full_like(m.tensor([1j]), 2),
        m.tensor([1j]).new_ones(2)),
    "sequences": lambda m: (m.linspace(0, 1j, 5), m.logspace(0, 1j, 4), m.linspace(1, 2, 3, dtype=m.cfloat)),
    "random": lambda m: (m.manual_seed(0), m.randn(3, dtype=m.cfloat), m.randn(20, dtype=m.cdouble),
        m.rand(3, dtype=m.cfloat), m.zeros(2, dtype=m.cfloat).normal_(1, 2), m.randn_like(m.tensor([1j, 2])))[1:],
    "questions": lambda m: (m.is_complex(m.tensor(1j)), m.ones(2).is_complex(), m.tensor(1j).is_floating_point(),
        m.tensor([1j]).is_signed(), m.isreal(m.tensor([1j, 2])), m.tensor([1j]).isnan(),
        m.tensor([1j, 0]).logical_not(), m.tensor([1j, 0]).count_nonzero(), m.tensor([1j, 0]).any(),
        m.isclose(m.tensor([1j]), m.tensor([1j + 1e-9]))),
    "dtypes": lambda m: (m.cfloat, m.cdouble, m.complex64.is_complex, m.complex64.is_floating_point,
        m.complex64.itemsize, m.complex64.is_signed, m.complex128.to_real(), m.float32.to_complex(),
        m.bfloat16.to_complex(), m.finfo(m.complex64).bits, m.can_cast(m.complex64, m.float64),
        m.can_cast(m.float64, m.complex64)),
    "python numbers": lambda m: (m.tensor(1j).item(), complex(m.tensor([2.0])), m.tensor([[1j]]).tolist(),
        bool(m.tensor(1j)), float(m.tensor(2 + 0j)), int(m.tensor(2 + 0j)), 1j in m.tensor([1j]),
        f"{m.tensor(1j):.1f}"),
    "shapes of views": lambda m: (m.view_as_real(m.ones(2, 3, dtype=m.cfloat).t()).stride(),
        m.view_as_complex(m.ones(2, 3, 2).transpose(0, 1)).stride(), m.ones(2, 3, dtype=m.cfloat).real.stride(),
        m.ones(4).view(m.complex64).shape, m.ones(2, dtype=m.cfloat).view(m.float32), m.tensor([1j]).type()),
    "types by name": lambda m: (m.typename(m.tensor([1j])), m.tensor([1.0]).type(m.cdouble)),
}  # fmt: skip


@pytest.mark.parametrize("case", table(FACTORIES))
def test_complex_tensors_are_made_differently(case: Callable[[Any], Any]) -> None:
    """造出来的复数张量，或关于复数的回答，与 torch 不同。"""
    same(case, "float32")


PRINTED: dict[str, Callable[[Any], Any]] = {
    "a number": lambda m: m.tensor(1.5 - 2j),
    "whole numbers": lambda m: m.tensor([[1 + 2j, -3], [0, 4j]]),
    "one part with a fraction": lambda m: m.tensor([1.25 + 2j, 3]),
    "scientific": lambda m: m.tensor([1e10 + 2j, 3.5 - 1e-9j]),
    "not finite": lambda m: m.tensor([complex("nan"), complex(1, float("inf")), complex(1, -float("inf"))]),
    "long": lambda m: m.ones(2000, dtype=m.cfloat) * (0.5 - 2j),
    "wide": lambda m: (m.arange(24).float() * (1 + 0.1j)).view(2, 3, 4),
    "empty": lambda m: m.zeros(0, 2, dtype=m.cfloat),
    "another dtype": lambda m: m.ones(2, dtype=m.cdouble),
    "on the graph": lambda m: m.tensor([1j], requires_grad=True).abs(),
    "a part": lambda m: m.tensor([1j], requires_grad=True).real,
    "a leaf": lambda m: m.nn.Parameter(m.tensor([1j])),
}


@pytest.mark.parametrize("case", table(PRINTED))
def test_complex_tensors_are_printed_differently(case: Callable[[Any], Any]) -> None:
    """复数张量的打印与 torch 不同。"""
    same(lambda m: repr(case(m)))


@pytest.mark.parametrize("case", table(MISTAKES))
def test_a_mistake_with_complex_numbers_goes_through(case: Callable[[Any], Any]) -> None:
    """torch 拒绝的写法没有报错，或报另一类错。"""
    same_error(case)


@pytest.mark.parametrize("name", sorted(UNORDERED))
def test_complex_numbers_are_ordered(name: str) -> None:
    """只对实数有意义的函数收下了复数，给出一个没有意义的结果。"""
    for m in ENGINES:
        with pytest.raises((RuntimeError, TypeError)):
            UNORDERED[name](m, m.tensor([1 + 2j, 3.0]))


def test_discarding_the_imaginary_part_is_silent() -> None:
    """复数换成实数时没有警告，或不是取实部。"""
    z = tg.tensor([1.5 + 2j, 3.0], requires_grad=True)
    with pytest.warns(UserWarning, match="imaginary"):
        y = z.float()
    x = tg.zeros(2)
    with pytest.warns(UserWarning, match="imaginary"):
        x[:] = z.detach()
    y.sum().backward()
    assert y.tolist() == x.tolist() == [1.5, 3.0]
    assert z.grad.tolist() == [1, 1]


def test_complex_tensors_are_not_saved(tmp_path: Any) -> None:
    """complex64 存取之后变了样，或别的工具读不出来。"""
    st = pytest.importorskip("safetensors.torch")
    f = tg.polar(tg.ones(3), tg.arange(3.0))
    tg.save({"f": f, "dtype": f.dtype}, tmp_path / "a.safetensors")
    back = tg.load(tmp_path / "a.safetensors")
    assert (back["f"].tolist(), back["dtype"]) == (f.tolist(), tg.complex64)
    assert st.load_file(tmp_path / "a.safetensors")["f"].tolist() == f.tolist()
    st.save_file({"f": torch.view_as_complex(torch.arange(4.0).view(2, 2))}, tmp_path / "b.safetensors")
    assert tg.load(tmp_path / "b.safetensors")["f"].tolist() == [1j, 2 + 3j]
    buffer = io.BytesIO()
    tg.save(f.requires_grad_(), buffer)
    buffer.seek(0)
    assert tg.load(buffer).requires_grad


MODULES: dict[str, Callable[[Any], Any]] = {
    "linear": lambda m: m.nn.Linear(3, 2, dtype=m.complex64),
    "moved to float64": lambda m: _with_table(m).double(),
    "moved to a device": lambda m: _with_table(m).to("cpu"),
    "halved": lambda m: _with_table(m).half(),
    "cast by to()": lambda m: _with_table(m).to(m.float64),
    "cast to complex": lambda m: _with_table(m).to(m.complex128),
}


def _with_table(m: Any) -> Any:
    module = m.nn.Linear(2, 1)
    module.register_buffer("freqs_cis", m.polar(m.ones(2), m.tensor([1.0, 2.0])))
    return module


@pytest.mark.parametrize("case", table(MODULES))
def test_complex_buffers_and_parameters_change_differently(case: Callable[[Any], Any]) -> None:
    """Module 里的复数参数或缓冲区，换 dtype 之后的类型或值与 torch 不同。"""

    def run(m: Any) -> Any:
        m.manual_seed(0)
        return list(case(m).state_dict().values())

    same(run, "float32")


OPTIMISERS = ["SGD", "Adam", "AdamW", "Adagrad", "Adadelta", "Adamax", "ASGD", "LBFGS", "NAdam", "RAdam", "RMSprop",
              "Rprop"]  # fmt: skip


@pytest.mark.parametrize("name", OPTIMISERS)
def test_complex_parameters_are_updated_differently(name: str) -> None:
    """复数的参数走几步之后，参数或状态与 torch 不同。"""

    def run(m: Any) -> Any:
        p = m.nn.Parameter(m.tensor(_numbers(0, 3)))
        optimiser = getattr(m.optim, name)([p], lr=0.1)

        def closure() -> Any:
            optimiser.zero_grad()
            loss = ((p * p * (1 + 2j)).abs() + (p - 1).abs()).sum()
            loss.backward()
            return loss

        for _ in range(4):
            optimiser.step(closure)
        return p, [s for s in optimiser.state[p].values() if isinstance(s, m.Tensor)]

    same(run)


def test_complex_gradients_are_clipped_differently() -> None:
    """复数梯度的范数或裁剪之后的值与 torch 不同。"""

    def run(m: Any) -> Any:
        p = m.nn.Parameter(m.tensor(_numbers(0, 3)))
        (p * p).abs().sum().backward()
        return m.nn.utils.clip_grad_norm_([p], 0.5), m.nn.utils.clip_grad_norm_([p], 0.1, norm_type=1), p.grad

    same(run)


@pytest.mark.parametrize("name", ["Adafactor", "Muon"])
def test_complex_parameters_are_updated_as_if_real(name: str) -> None:
    """torch 不更新复数参数的优化器更新了它。"""

    def run(m: Any) -> None:
        p = m.nn.Parameter(m.tensor(_numbers(0, 3, 2)))
        p.grad = p.detach().clone()
        getattr(m.optim, name)([p]).step()

    same_error(run)
