"""``nn.utils``：裁剪、参数与向量、长短不一的序列、临时换参数，都与 torch 相同。"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.func
import torch.nn.utils.rnn

import tinygrad_llm as tg
import tinygrad_llm.func
import tinygrad_llm.nn.utils.rnn
from parity_tests.engine.twins import ENGINES, same, same_error, table, values

FUNC: dict[Any, Any] = {tg: tinygrad_llm.func, torch: torch.func}


def _params(m: Any, dtype: str = "float64") -> Any:
    params = [m.zeros(3, 4, dtype=getattr(m, dtype), requires_grad=True) for _ in range(3)]
    params[0].grad = m.tensor(values(0, 3, 4), dtype=getattr(m, dtype))
    params[1].grad = m.tensor(values(1, 4, 3), dtype=getattr(m, dtype)).t()
    return params


@pytest.mark.parametrize("order", [2.0, 1, 3.0, 0.5, 0, math.inf, -math.inf])
@pytest.mark.parametrize("limit", [0.5, 1e6])
def test_clipping_equals_torch(limit: float, order: float) -> None:
    """全局范数裁剪的返回值或裁剪后的梯度与 torch 不同。"""

    def run(m: Any) -> Any:
        params = _params(m)
        norm = m.nn.utils.clip_grad_norm_((p for p in params), limit, order)
        return norm, params[0].grad, params[1].grad, params[2].grad is None

    same(run)


PROGRAMS: dict[str, Callable[[Any, Any], Any]] = {
    "norms": lambda m, u: [u.get_total_norm([m.tensor([3.0, 4.0]), m.tensor(12.0)]), u.get_total_norm([]),
        u.get_total_norm(m.tensor([3.0, 4.0])), u.get_total_norm([m.ones(2), m.ones(2, dtype=m.float64)]),
        u.get_total_norm([m.ones(0)]), u.get_total_norm([m.tensor([math.nan])]).isnan()],
    "clipping by a known norm": lambda m, u: _known_norm(m, u),
    "clipping to float32": lambda m, u: [u.clip_grad_norm_(_params(m, "float32"), 0.3)],
    "one parameter": lambda m, u: _single(m, u),
    "no gradients": lambda m, u: [u.clip_grad_norm_([m.ones(1)], 1.0), u.clip_grad_norm_(m.ones(1), 1.0)],
    "gradients that are not finite": lambda m, u: _not_finite(m, u),
    "values": lambda m, u: _values(m, u),
    "vector": lambda m, u: _vector(m, u),
    "padding": lambda m, u: [u.rnn.pad_sequence(_ragged(m)), u.rnn.pad_sequence(_ragged(m), True, -1.0),
        u.rnn.pad_sequence(_ragged(m), padding_value=2, padding_side="left"),
        u.rnn.pad_sequence([m.ones(2, dtype=m.int64), m.ones(3) * 1.5], True),
        u.rnn.pad_sequence([m.ones(0), m.ones(1)])],
    "gradient of padding": lambda m, u: _padding_gradient(m, u),
    "unpadding": lambda m, u: [
        u.rnn.unpad_sequence(u.rnn.pad_sequence(_ragged(m), True), m.tensor([3, 1, 2]), True),
        u.rnn.unpad_sequence(u.rnn.pad_sequence(_ragged(m)), m.tensor([3, 1, 2]))],
    "packing": lambda m, u: [
        list(u.rnn.pack_sequence(_ragged(m), enforce_sorted=False)), list(u.rnn.pack_sequence([m.ones(2), m.ones(1)])),
        list(u.rnn.pack_padded_sequence(m.arange(6.0).reshape(2, 3), m.tensor([3, 2]), batch_first=True))],
    "unpacking": lambda m, u: [
        *u.rnn.pad_packed_sequence(u.rnn.pack_sequence(_ragged(m), False)),
        *u.rnn.pad_packed_sequence(u.rnn.pack_sequence(_ragged(m), False), True, -1.0, 5),
        *u.rnn.unpack_sequence(u.rnn.pack_sequence(_ragged(m), False)),
        u.rnn.pack_sequence(_ragged(m), False).to(m.float32).data.dtype],
    "gradient of packing": lambda m, u: _packing_gradient(m, u),
    "calling with other weights": lambda m, u: _other_weights(m),
    "gradients through other weights": lambda m, u: _through_weights(m),
    "tied weights": lambda m, u: _tied(m),
    "buffers written in forward": lambda m, u: _buffers(m),
}  # fmt: skip


@pytest.mark.parametrize("program", table(PROGRAMS))
def test_a_program_gives_the_same_result(program: Callable[[Any, Any], Any]) -> None:
    """裁剪、转换、补齐、换参数的结果或梯度与 torch 不同。"""
    same(lambda m: program(m, m.nn.utils), "float32")


def _known_norm(m: Any, u: Any) -> Any:
    params = _params(m)
    u.clip_grads_with_norm_(params, 1.0, m.tensor(4.0))
    before = params[0].grad.clone()
    u.clip_grads_with_norm_(params, 9.0, m.tensor(4.0))
    return before, params[0].grad, params[1].grad


def _single(m: Any, u: Any) -> Any:
    p = m.ones(2, requires_grad=True)
    p.grad = m.tensor([3.0, -4.0])
    norm = u.clip_grad_norm_(p, 1.0)
    clipped = p.grad.clone()
    u.clip_grad_value_(p, 0.7)
    return norm, clipped, p.grad


def _not_finite(m: Any, u: Any) -> Any:
    found = []
    for value in (math.inf, math.nan):
        p = m.ones(2, requires_grad=True)
        p.grad = m.tensor([value, 1.0])
        found += [u.clip_grad_norm_([p], 1.0), p.grad]
    return [x.isnan() | x.isinf() for x in found]


def _values(m: Any, u: Any) -> Any:
    params = _params(m)
    u.clip_grad_value_((p for p in params), 0.5)
    return params[0].grad, params[1].grad


def _vector(m: Any, u: Any) -> Any:
    p, q = m.nn.Parameter(m.ones(2)), m.nn.Parameter(m.zeros(1, 3))
    vector = u.parameters_to_vector([p, q])
    (vector * m.arange(5.0)).sum().backward()
    fresh = m.arange(5.0)
    u.vector_to_parameters(fresh, [p, q])
    fresh.fill_(7.0)
    return vector, p.grad, q.grad, p, q


def _ragged(m: Any) -> Any:
    return [m.tensor(values(i, n, 2), requires_grad=True) for i, n in enumerate((3, 1, 2))]


def _padding_gradient(m: Any, u: Any) -> Any:
    parts = _ragged(m)
    (u.rnn.pad_sequence(parts) ** 2).sum().backward()
    return [part.grad for part in parts]


def _packing_gradient(m: Any, u: Any) -> Any:
    parts = _ragged(m)
    packed = u.rnn.pack_sequence(parts, enforce_sorted=False)
    padded, _ = u.rnn.pad_packed_sequence(packed._replace(data=packed.data**2) if m is tg else _squared(packed))
    (padded * m.arange(3, dtype=m.float64).reshape(3, 1, 1)).sum().backward()
    return [part.grad for part in parts]


def _squared(packed: Any) -> Any:
    return torch.nn.utils.rnn.PackedSequence(
        packed.data**2, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices
    )


def _net(m: Any) -> Any:
    m.manual_seed(1)
    return m.nn.Sequential(m.nn.Linear(2, 3), m.nn.Tanh(), m.nn.Linear(3, 2))


def _other_weights(m: Any) -> Any:
    net, call = _net(m), FUNC[m].functional_call
    before = net(m.ones(1, 2))
    ones = {name: m.ones(*p.shape) for name, p in net.named_parameters()}
    other = call(net, ones, m.ones(1, 2))
    partly = call(net, [{"0.bias": m.ones(3)}, {"2.bias": m.zeros(2)}], (m.ones(1, 2),), {})
    extra = call(net, {"0.bias": m.ones(3), "nonsense": m.ones(1)}, m.ones(1, 2))
    return before, other, partly, extra, net(m.ones(1, 2)), hasattr(net, "nonsense")


def _through_weights(m: Any) -> Any:
    net = _net(m)
    weights = {name: (p * 2).detach().requires_grad_() for name, p in net.named_parameters()}
    FUNC[m].functional_call(net, weights, m.ones(1, 2), strict=True).sum().backward()
    return [w.grad for w in weights.values()], [p.grad is None for p in net.parameters()]


def _tied(m: Any) -> Any:
    class Tied(m.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.a = m.nn.Parameter(m.ones(2))
            self.b = self.a

        def forward(self, x: Any) -> Any:
            return x * self.a + self.b

    net, call = Tied(), FUNC[m].functional_call
    return [call(net, {"a": m.full((2,), 3.0)}, m.ones(2)), call(net, {"b": m.zeros(2)}, m.ones(2), tie_weights=False)]


def _buffers(m: Any) -> Any:
    class Counter(m.nn.Module):  # type: ignore[misc]
        count: Any

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", m.zeros(1))

        def forward(self, x: Any) -> Any:
            self.count = self.count + 1
            return x + self.count

    net, given = Counter(), {"count": m.full((1,), 10.0)}
    first = FUNC[m].functional_call(net, given, m.ones(1))
    second = FUNC[m].functional_call(net, given, m.ones(1))
    return first, second, given["count"], net.count


MISTAKES: dict[str, Callable[[Any, Any], Any]] = {
    "norm not finite": lambda m, u: u.get_total_norm([m.tensor([math.inf])], error_if_nonfinite=True),
    "vector that is a list": lambda m, u: u.vector_to_parameters([1.0], [m.ones(1)]),
    "nothing to pad": lambda m, u: u.rnn.pad_sequence([]),
    "padding a number": lambda m, u: u.rnn.pad_sequence(3),
    "padding of two widths": lambda m, u: u.rnn.pad_sequence([m.ones(2, 1), m.ones(3, 2)]),
    "padding of two depths": lambda m, u: u.rnn.pad_sequence([m.ones(2), m.ones(3, 2)]),
    "padding in the middle": lambda m, u: u.rnn.pad_sequence([m.ones(2)], padding_side="middle"),
    "packing unsorted": lambda m, u: u.rnn.pack_sequence([m.ones(1), m.ones(2)]),
    "packing empty samples": lambda m, u: u.rnn.pack_padded_sequence(m.ones(3, 2), [2, 0]),
    "packing too few lengths": lambda m, u: u.rnn.pack_padded_sequence(m.ones(3, 2), [2]),
    "packing lengths of two axes": lambda m, u: u.rnn.pack_padded_sequence(m.ones(3, 2), m.tensor([[2, 1]])),
    "unpacking too short": lambda m, u: u.rnn.pad_packed_sequence(u.rnn.pack_sequence([m.ones(2)]), total_length=1),
    "unknown submodule": lambda m, u: _call(m, {"7.weight": m.ones(1)}),
    "unexpected name": lambda m, u: _call(m, {**_weights(m), "x": m.ones(1)}, strict=True),
    "missing name": lambda m, u: _call(m, {"0.bias": m.ones(3)}, strict=True),
    "weight that is a number": lambda m, u: _call(m, {"0.bias": 3}),
    "name of an attribute": lambda m, u: _call(m, {"training": m.ones(1)}),
    "empty name": lambda m, u: _call(m, {"": m.ones(1)}),
    "name given twice": lambda m, u: _call(m, [{"0.bias": m.ones(3)}, {"0.bias": m.ones(3)}]),
    "dictionaries that are a number": lambda m, u: _call(m, 3),
}  # fmt: skip


def _weights(m: Any) -> Any:
    return dict(_net(m).named_parameters())


def _call(m: Any, weights: Any, **options: Any) -> None:
    FUNC[m].functional_call(_net(m), weights, m.ones(1, 2), **options)


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_the_same_mistake_raises_the_same_kind_of_error(mistake: Callable[[Any, Any], Any]) -> None:
    """写错了却被悄悄收下，或报错的类型与 torch 不同。"""
    same_error(lambda m: mistake(m, m.nn.utils))


def test_lengths_beyond_the_input_are_refused() -> None:
    """长度比输入还长：torch 读到别处的内存，这里要报错。"""
    with pytest.raises(RuntimeError, match="length 4"):
        tg.nn.utils.rnn.pack_padded_sequence(tg.ones(3, 2), [4, 1])


def test_a_failed_call_puts_the_weights_back() -> None:
    """前向抛出异常之后，Module 留着借来的参数。"""
    net = _net(tg)
    own = net[0].bias
    with pytest.raises(RuntimeError):
        FUNC[tg].functional_call(net, {"0.bias": tg.ones(3)}, tg.ones(1, 7))
    assert net[0].bias is own


def test_the_same_oddities_are_warned_about() -> None:
    """空的生成器、旧的名字，没有提醒。"""

    def run(m: Any) -> Any:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            m.nn.utils.clip_grad_norm_((p for p in list[Any]()), 1.0)
            m.nn.utils.clip_grad_norm_([], 1.0)
            m.nn.utils.clip_grad_norm([m.ones(1)], 1.0)
        return [(w.category, str(w.message)[:30]) for w in caught]

    assert run(tg) == run(torch)


def test_clipping_counts_as_a_write() -> None:
    """裁剪就地改写了反向还要用的梯度，没有报错。"""
    for m in ENGINES:
        p = m.ones(2, requires_grad=True)
        g = m.full((2,), 3.0, requires_grad=True)
        y = g * g
        p.grad = y.detach()
        z = (y * y).sum()
        m.nn.utils.clip_grad_norm_([p], 0.1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            z.backward()
