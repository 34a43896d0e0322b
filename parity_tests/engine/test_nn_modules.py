"""Module 树：名字、次序、装载、钩子、初始化与裁剪都与 torch 相同。层与容器另有文件。"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, same, same_error, table, values
from parity_tests.tolerances import assert_close

INITIALISERS: dict[str, Callable[[Any, Any], Any]] = {
    "normal_": lambda init, t: init.normal_(t, 1.0, 0.02),
    "uniform_": lambda init, t: init.uniform_(t, -0.3, 0.7),
    "constants": lambda init, t: init.constant_(t, 0.3),
    "zeros_": lambda init, t: init.zeros_(t),
    "ones_": lambda init, t: init.ones_(t),
    "kaiming_uniform_": lambda init, t: init.kaiming_uniform_(t, a=0.3),
    "kaiming_uniform_ of relu": lambda init, t: init.kaiming_uniform_(t, mode="fan_out", nonlinearity="relu"),
    "kaiming_normal_": lambda init, t: init.kaiming_normal_(t, nonlinearity="tanh"),
    "xavier_uniform_": lambda init, t: init.xavier_uniform_(t, gain=1.5),
    "xavier_normal_": lambda init, t: init.xavier_normal_(t),
}


@pytest.mark.parametrize("case", table(INITIALISERS))
def test_initialisers_equal_torch_under_one_seed(case: Callable[[Any, Any], Any]) -> None:
    """某个初始化函数给出的数与 torch 不同，或在图上留下了痕迹。"""

    def run(m: Any) -> Any:
        m.manual_seed(2)
        t = m.zeros(6, 5, requires_grad=True)
        found = case(m.nn.init, t)
        assert found is t
        assert t.is_leaf
        return t

    same(run, "random normal")


def test_truncated_normal_stays_inside_and_has_the_right_spread() -> None:
    """截断正态超出了界，或标准差不对。"""
    tg.manual_seed(0)
    ours = tg.nn.init.trunc_normal_(tg.zeros(100, 100), 0.5, 2.0, -1.0, 3.0)
    theirs = torch.nn.init.trunc_normal_(torch.zeros(100, 100), 0.5, 2.0, -1.0, 3.0)
    assert -1.0 <= ours.min().item() <= ours.max().item() <= 3.0
    assert abs(ours.mean().item() - theirs.mean().item()) < 0.05
    assert abs(ours.std().item() - theirs.std().item()) < 0.05
    gains = [
        ("linear", None),
        ("sigmoid", None),
        ("tanh", None),
        ("relu", None),
        ("leaky_relu", 0.2),
        ("leaky_relu", None),
    ]
    twin: Any = torch.nn.init.calculate_gain
    for name, slope in gains:
        assert tg.nn.init.calculate_gain(name, slope) == pytest.approx(twin(name, slope))
    same_error(lambda m: m.nn.init.calculate_gain("swish"))
    same_error(lambda m: m.nn.init.xavier_normal_(m.zeros(3)))


def _tree(m: Any) -> Any:
    class Inner(m.nn.Module):  # type: ignore[misc]
        def __init__(self, shared: Any) -> None:
            super().__init__()
            self.shared = shared
            self.scale = m.nn.Parameter(m.full((2,), 3.0))
            self.register_buffer("table", m.arange(3))
            self.register_buffer("cache", m.zeros(1), persistent=False)
            self.register_buffer("nothing", None)
            self.register_parameter("absent", None)
            self.plain = [m.nn.Linear(1, 1)]

        def forward(self, x: Any) -> Any:
            return self.shared(x) * self.scale

    class Tree(m.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.drop = m.nn.Dropout(0.5)
            self.first = Inner(m.nn.Linear(2, 2))
            self.layers = m.nn.ModuleList([m.nn.Linear(2, 2), m.nn.ReLU()])
            self.layers.append(self.first.shared)
            self.named = m.nn.ModuleDict({"a": m.nn.LayerNorm(2), "b": m.nn.Identity()})
            self.tied = self.first.scale
            self.optional = None

        def forward(self, x: Any) -> Any:
            for layer in self.layers:
                x = layer(x)
            return self.named["a"](self.first(self.drop(x))) + self.tied

    return Tree()


def test_module_tree_has_torchs_names_in_torchs_order() -> None:
    """参数、缓冲区、子模块的名字或次序（共用的、空的、不持久的）与 torch 不同。"""

    def run(m: Any) -> Any:
        tree = _tree(m)
        unique = [n for n, _ in tree.named_parameters()]
        every = [n for n, _ in tree.named_parameters(remove_duplicate=False)]
        own = [n for n, _ in tree.named_parameters(recurse=False)]
        prefixed = [n for n, _ in tree.named_parameters(prefix="model")]
        modules = [n for n, _ in tree.named_modules()]
        children = [n for n, _ in tree.named_children()]
        buffers = [n for n, _ in tree.named_buffers()]
        counts = (
            len(list(tree.parameters())),
            len(list(tree.modules())),
            len(list(tree.children())),
            len(list(tree.buffers())),
        )
        states = list(tree.state_dict()), list(tree.state_dict(prefix="p."))
        return [*states, unique, every, own, prefixed, modules, children, buffers, *counts]

    same(run)


def test_train_and_eval_reach_every_descendant() -> None:
    """``train`` / ``eval`` 漏了后代，或 Dropout 不看它。"""

    def run(m: Any) -> Any:
        tree = _tree(m)
        before = [x.training for x in tree.modules()]
        assert tree.eval() is tree
        x = m.ones(2, 2)
        same_twice = bool((tree(x) == tree(x)).all())
        tree.drop.train()
        return (
            before,
            [x.training for x in tree.modules()],
            same_twice,
            [x.training for x in tree.train(False).modules()],
        )

    same(run)


def test_state_dict_shares_memory_and_is_outside_the_graph() -> None:
    """``state_dict`` 复制了参数，或仍连在图上。"""

    def run(m: Any) -> Any:
        layer = m.nn.Linear(2, 2)
        state = layer.state_dict()
        state["bias"].fill_(7.0)
        return layer.bias, state["bias"]

    same(run)


def test_loading_copies_values_into_place() -> None:
    """装载之后参数换成了别的对象，没有换型，或漏了缓冲区。"""
    layer, source = tg.nn.Linear(2, 3), tg.nn.Linear(2, 3, dtype=tg.float64)
    weight, memory = layer.weight, layer.weight.array
    result = layer.load_state_dict(source.state_dict())
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    assert layer.weight is weight
    assert layer.weight.array is memory
    np.testing.assert_allclose(memory, source.weight.array, rtol=1e-7)
    source.weight.array[:] = 0
    assert layer.weight.array.any()
    layer.load_state_dict(source.state_dict(), assign=True)
    assert layer.weight.dtype is tg.float64
    assert layer.weight is not weight  # torch 也是换上新的参数


WRONG_STATES: dict[str, Callable[[Any, Any], Any]] = {
    "missing": lambda m, state: {"weight": state["weight"]},
    "unexpected": lambda m, state: {**state, "extra": state["bias"]},
    "size": lambda m, state: {**state, "bias": m.zeros(9)},
    "everything": lambda m, state: {"weight": m.zeros(1, 1), "extra": m.zeros(1)},
}


@pytest.mark.parametrize("name", sorted(WRONG_STATES))
def test_strict_loading_names_every_problem_and_changes_nothing(name: str) -> None:
    """装错的 ``state_dict`` 被悄悄接受、只报第一个问题，或装了一半才报。"""
    words = {
        "missing": ["Missing key(s)", "bias"], "unexpected": ["Unexpected key(s)", "extra"],
        "size": ["size mismatch", "bias"],
        "everything": ["Missing key(s)", "bias", "Unexpected key(s)", "extra", "size mismatch", "weight"],
    }  # fmt: skip
    for m in ENGINES:
        layer = m.nn.Linear(2, 2)
        before = layer.weight.detach().clone()
        with pytest.raises(RuntimeError) as caught:
            layer.load_state_dict(WRONG_STATES[name](m, layer.state_dict()))
        assert all(word in str(caught.value) for word in words[name])
        assert_close(layer.weight, before, "exact")


def test_loose_loading_reports_what_it_skipped() -> None:
    """``strict=False`` 没有报告缺的与多的名字。"""

    def run(m: Any) -> Any:
        layer = m.nn.Linear(2, 2)
        result = layer.load_state_dict({"weight": m.ones(2, 2), "extra": m.ones(1)}, strict=False)
        return list(result.missing_keys), list(result.unexpected_keys), layer.weight

    same(run)
    same_error(lambda m: m.nn.Linear(2, 2).load_state_dict({"weight": m.ones(3, 3)}, strict=False))


def test_assignment_registers_and_replaces() -> None:
    """赋值没有登记，赋成 ``None``、换成别的模块、删除之后名字没有跟着变。"""

    def run(m: Any) -> Any:
        module = m.nn.Module()
        module.a = m.nn.Parameter(m.ones(1))
        module.b = m.nn.Linear(1, 1)
        module.c = m.ones(1)
        module.register_buffer("d", m.ones(1))
        seen = [list(module.state_dict())]
        module.a = None
        module.b = m.nn.ReLU()
        module.d = m.zeros(1)
        seen.append(list(module.state_dict()))
        module.e = m.nn.Parameter(m.ones(1), requires_grad=False)
        del module.d
        seen.append(list(module.state_dict()))
        return seen, hasattr(module, "d"), module.c, module.e

    same(run)
    for mistake in (
        _before_init,
        _tensor_as_parameter,
        lambda m: m.nn.Module()(1),
        lambda m: m.nn.Linear(1, 1).nonsense,
    ):
        same_error(mistake)


def _before_init(m: Any) -> None:
    class Early(m.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.a = m.nn.Parameter(m.ones(1))

    Early()


def _tensor_as_parameter(m: Any) -> None:
    m.nn.Linear(1, 1).weight = m.ones(1, 1)


def test_module_hooks_observe_and_replace() -> None:
    """前向钩子没有看到输入输出、没有替换，或摘不下来。"""

    def run(m: Any) -> Any:
        layer, seen = m.nn.Identity(), []
        before = layer.register_forward_pre_hook(lambda mod, args: (args[0] + 1,))
        after = layer.register_forward_hook(lambda mod, args, out: seen.append((args[0].item(), out.item())))
        double = layer.register_forward_hook(lambda mod, args, out: out * 2)
        found = [layer(m.tensor(1.0)).item()]
        for handle in (before, after, double):
            handle.remove()
        return [*found, layer(m.tensor(1.0)).item(), *seen]

    same(run)


def test_whole_tree_changes_dtype_gradients_included() -> None:
    """``double()`` 漏了缓冲区或 ``.grad``，或换掉了参数对象。"""

    def run(m: Any) -> Any:
        tree = _tree(m).eval()
        tree(m.ones(1, 2)).sum().backward()
        kept = tree.first.scale
        tree.double()
        assert tree.first.scale is kept
        return [p.dtype for p in tree.parameters()], [b.dtype for b in tree.buffers()], kept.grad.dtype

    same(run)


def test_freezing_zeroing_and_applying() -> None:
    """``requires_grad_``、``zero_grad``、``apply`` 漏了后代，或次序不是先子后父。"""

    def run(m: Any) -> Any:
        tree = _tree(m).eval()
        tree(m.ones(1, 2)).sum().backward()
        tree.zero_grad(set_to_none=False)
        zeros = [float(p.grad.abs().sum()) for p in tree.parameters() if p.grad is not None]
        tree.zero_grad()
        seen: list[str] = []
        tree.apply(lambda module: seen.append(type(module).__name__))
        frozen = [p.requires_grad for p in tree.requires_grad_(False).parameters()]
        return (
            zeros,
            [p.grad is None for p in tree.parameters()],
            seen,
            frozen,
            type(tree.get_submodule("layers.0")).__name__,
        )

    same(run)


def test_deepcopy_is_independent() -> None:
    """深拷贝的模型与原来的共用参数，或丢了共用关系。"""

    def run(m: Any) -> Any:
        tree = _tree(m).eval()
        x = m.ones(1, 2)
        twin = copy.deepcopy(tree)
        tied = twin.tied is twin.first.scale
        before = twin(x)
        with m.no_grad():
            tree.tied.zero_()
        return tied, bool((twin(x) == before).all()), len(list(twin.parameters()))

    same(run)


def test_printing_names_layers_and_sizes() -> None:
    """打印模型时看不到层与大小。"""
    text = repr(tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Sequential(tg.nn.LayerNorm(3), tg.nn.Dropout(0.1))))
    for part in ("Sequential(", "(0): Linear(in_features=2, out_features=3, bias=True)", "(1): Sequential(", "p=0.1"):
        assert part in text
    assert "Parameter containing" in repr(tg.nn.Parameter(tg.ones(1)))


@pytest.mark.parametrize("options", [{}, {"norm_type": float("inf")}, {"norm_type": 1.0}, {"norm_type": 3.0}], ids=repr)
@pytest.mark.parametrize("limit", [0.5, 1e6])
def test_clipping_equals_torch(limit: float, options: dict[str, Any]) -> None:
    """全局范数裁剪的返回值或裁剪后的梯度与 torch 不同。"""

    def run(m: Any) -> Any:
        params = [m.zeros(3, 4, dtype=m.float64, requires_grad=True) for _ in range(3)]
        for i, p in enumerate(params[:2]):
            p.grad = m.tensor(values(i, 4, 3)).t() if i else m.tensor(values(i, 3, 4))
        norm = m.nn.utils.clip_grad_norm_((p for p in params), limit, **options)
        return norm, params[0].grad, params[1].grad, params[2].grad is None

    same(run)


def test_clipping_edges_equal_torch() -> None:
    """没有梯度、梯度非有限、逐元素裁剪时与 torch 不同。"""

    def run(m: Any) -> Any:
        p = m.ones(2, requires_grad=True)
        none = m.nn.utils.clip_grad_norm_([p], 1.0)
        p.grad = m.tensor([3.0, -4.0])
        single = m.nn.utils.clip_grad_norm_(p, 1.0)
        clipped = p.grad.clone()
        m.nn.utils.clip_grad_value_([p], 0.7)
        vector = m.nn.utils.parameters_to_vector([p, p])
        m.nn.utils.vector_to_parameters(m.tensor([5.0, 6.0]), [p])
        return none, single, clipped, p.grad, vector, p

    same(run, "float32")
    for m in ENGINES:
        p = m.ones(2, requires_grad=True)
        p.grad = m.tensor([float("inf"), 1.0])
        with pytest.raises(RuntimeError, match="non-finite"):
            m.nn.utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
        assert p.grad.tolist() == [float("inf"), 1.0]
