"""优化器的接口：参数组、名字、钩子、存取、报错，以及自己写的优化器。"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import optimizer as torch_optimizer

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, same, same_error, table
from tinygrad_llm.optim import optimizer as tinygrad_optimizer

REQUIRED: dict[Any, Any] = {tg: tinygrad_optimizer.required, torch: torch_optimizer.required}

MISTAKES: dict[str, Callable[[Any], Any]] = {
    "no parameters": lambda m: m.optim.AdamW([]),
    "not a tensor": lambda m: m.optim.AdamW([1]),
    "one parameter in two groups": lambda m: _twice(m),
    "negative rate": lambda m: m.optim.AdamW([m.ones(1)], lr=-1.0),
    "negative rate of SGD": lambda m: m.optim.SGD([m.ones(1)], lr=-1.0),
    "negative eps": lambda m: m.optim.AdamW([m.ones(1)], eps=-1.0),
    "beta of one": lambda m: m.optim.AdamW([m.ones(1)], betas=(1.0, 0.9)),
    "second beta below zero": lambda m: m.optim.Adam([m.ones(1)], betas=(0.9, -0.1)),
    "negative decay": lambda m: m.optim.AdamW([m.ones(1)], weight_decay=-0.1),
    "negative momentum": lambda m: m.optim.SGD([m.ones(1)], lr=0.1, momentum=-0.1),
    "Nesterov without momentum": lambda m: m.optim.SGD([m.ones(1)], lr=0.1, nesterov=True),
    "Nesterov with dampening": lambda m: m.optim.SGD([m.ones(1)], 0.1, momentum=0.9, dampening=0.1, nesterov=True),
    "interior value": lambda m: m.optim.SGD([m.ones(1, requires_grad=True) * 2], lr=0.1),
    "state of another size": lambda m: _other_state(m),
    "state of another number of groups": lambda m: _other_groups(m),
    "a tensor instead of a list": lambda m: m.optim.SGD(m.ones(1)),
    "a set of parameters": lambda m: m.optim.SGD([{"params": {m.ones(1)}}]),
    "a group that is a list": lambda m: m.optim.SGD([m.ones(1)]).add_param_group([m.ones(1)]),
    "half of the names": lambda m: m.optim.SGD([("a", m.ones(1)), m.ones(1)]),
    "groups with and without names": lambda m: m.optim.SGD([("a", m.ones(1))]).add_param_group({"params": m.ones(1)}),
    "a required value missing": lambda m: m.optim.Optimizer([m.ones(1)], {"lr": REQUIRED[m]}),
    "no step": lambda m: _stepped(m.optim.Optimizer, m, {}),
    "rate of two elements": lambda m: m.optim.SGD([m.ones(1)], lr=m.ones(2)),
    "tensor rate with foreach": lambda m: m.optim.Adam([m.ones(1)], lr=m.tensor(0.1), foreach=True),
    "fused and foreach": lambda m: m.optim.AdamW([m.ones(1)], fused=True, foreach=True),
    "fused and differentiable": lambda m: m.optim.SGD([m.ones(1)], fused=True, differentiable=True),
    "capturable on the CPU": lambda m: _stepped(m.optim.Adam, m, capturable=True),
    "differentiable": lambda m: _stepped(m.optim.SGD, m, differentiable=True),
    "integer beta": lambda m: m.optim.Adam([m.ones(1)], betas=(0, 0.9)),
    "NAdam decay": lambda m: m.optim.NAdam([m.ones(1)], momentum_decay=-1.0),
    "RAdam beta": lambda m: m.optim.RAdam([m.ones(1)], betas=(0.1, 1.0)),
    "Adamax eps": lambda m: m.optim.Adamax([m.ones(1)], eps=-1.0),
    "Adagrad start": lambda m: m.optim.Adagrad([m.ones(1)], initial_accumulator_value=-1.0),
    "Adagrad rate decay": lambda m: m.optim.Adagrad([m.ones(1)], lr_decay=-1.0),
    "Adadelta rho": lambda m: m.optim.Adadelta([m.ones(1)], rho=1.5),
    "RMSprop alpha": lambda m: m.optim.RMSprop([m.ones(1)], alpha=-1.0),
    "RMSprop momentum": lambda m: m.optim.RMSprop([m.ones(1)], momentum=-1.0),
    "Rprop etas": lambda m: m.optim.Rprop([m.ones(1)], etas=(1.5, 1.2)),
    "ASGD decay": lambda m: m.optim.ASGD([m.ones(1)], weight_decay=-1.0),
    "Adafactor clipping": lambda m: m.optim.Adafactor([m.ones(1)], d=0.5),
    "Adafactor decay": lambda m: m.optim.Adafactor([m.ones(1)], beta2_decay=0.5),
    "Adafactor eps": lambda m: m.optim.Adafactor([m.ones(1)], eps=(-1.0, 0.1)),
    "Muon of a vector": lambda m: m.optim.Muon([m.ones(1)]),
    "Muon adjustment": lambda m: m.optim.Muon([m.ones(1, 1)], adjust_lr_fn="x"),
    "LBFGS groups": lambda m: m.optim.LBFGS([{"params": [m.ones(1)]}, {"params": [m.ones(1)]}]),
    "LBFGS without closure": lambda m: m.optim.LBFGS([m.ones(1)]).step(),
    "LBFGS line search": lambda m: _armijo(m),
    "step hook returns half": lambda m: _bad_step_hook(m),
}  # fmt: skip


def _twice(m: Any) -> None:
    p = m.ones(1)
    m.optim.SGD([{"params": [p]}, {"params": [p]}], lr=0.1)


def _stepped(kind: Any, m: Any, *args: Any, **kwargs: Any) -> None:
    p = m.nn.Parameter(m.ones(1))
    p.grad = m.ones(1)
    kind([p], *args, **kwargs).step()


def _armijo(m: Any) -> None:
    p = m.nn.Parameter(m.ones(1))
    p.grad = m.ones(1)
    m.optim.LBFGS([p], line_search_fn="armijo").step(lambda: (p * p).sum())


def _bad_step_hook(m: Any) -> None:
    optimizer = m.optim.SGD([m.nn.Parameter(m.ones(1))])
    optimizer.register_step_pre_hook(lambda *_: 3)
    optimizer.step()


def _other_groups(m: Any) -> None:
    p, q = m.ones(1), m.ones(1)
    m.optim.SGD([p]).load_state_dict(m.optim.SGD([{"params": [p]}, {"params": [q]}]).state_dict())


def _other_state(m: Any) -> None:
    m.optim.SGD([m.ones(1)], lr=0.1).load_state_dict(m.optim.SGD([m.ones(1), m.ones(1)], lr=0.1).state_dict())


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_the_same_mistake_raises_the_same_kind_of_error(mistake: Callable[[Any], Any]) -> None:
    """不合法的超参数或参数被悄悄收下。"""
    same_error(mistake)


def test_optimisers_of_float64_default_keep_their_steps_in_float64() -> None:
    """缺省类型是 float64 时步数的 dtype 与 torch 不同。"""

    def run(m: Any) -> Any:
        m.set_default_dtype(m.float64)
        p = m.nn.Parameter(m.ones(0, 2))
        p.grad = m.ones(0, 2)
        optimizer = m.optim.Adam([p])
        optimizer.step()
        m.set_default_dtype(m.float32)
        return optimizer.state_dict()["state"][0]["step"], p

    same(run)


def test_tensor_rates_are_read_at_every_step() -> None:
    """学习率是 Tensor 时没有用它现在的值。"""

    def run(m: Any) -> Any:
        p, lr = m.nn.Parameter(m.ones(2)), m.tensor(0.5)
        optimizers = [m.optim.SGD([p], lr=lr), m.optim.AdamW([p], lr=lr, betas=(m.tensor(0.5), m.tensor(0.25)))]
        p.grad = m.ones(2)
        for optimizer in optimizers:
            optimizer.step()
        lr.fill_(0.25)
        for optimizer in optimizers:
            optimizer.step()
        return p, optimizers[1].param_groups[0]["betas"]

    same(run, "float32")


def test_named_parameters_keep_their_names() -> None:
    """``named_parameters()`` 给的名字丢了，或存取时变了。"""

    def run(m: Any) -> Any:
        net = m.nn.Linear(2, 1)
        optimizer = m.optim.SGD(net.named_parameters(), lr=0.1)
        optimizer.add_param_group({"params": [("extra", m.ones(1))]})
        state = optimizer.state_dict()
        other = m.optim.SGD([("x", m.ones(1)), ("y", m.ones(1))])
        plain = m.optim.SGD([m.ones(1), m.ones(1)]).state_dict()
        other.load_state_dict(plain)
        kept = other.param_groups[0]["param_names"]
        other.load_state_dict(m.optim.SGD(net.named_parameters()).state_dict())
        return [list(g.items()) for g in state["param_groups"]], kept, other.param_groups[0]["param_names"]

    same(run)


def test_step_and_state_hooks_run_in_torchs_order() -> None:
    """优化器的钩子没有叫到、次序不同，或摘不下来。"""
    where = {tg: tinygrad_optimizer, torch: torch_optimizer}

    def run(m: Any) -> Any:
        p, seen = m.nn.Parameter(m.ones(1)), list[Any]()
        optimizer = m.optim.SGD([p], lr=1.0)

        def note(name: str) -> Any:
            return lambda *args: seen.append((name, len(args)))

        everywhere = [
            where[m].register_optimizer_step_pre_hook(note("global pre")),
            where[m].register_optimizer_step_post_hook(note("global post")),
        ]
        optimizer.register_step_pre_hook(lambda o, a, k: (a, {"closure": lambda: seen.append("closure")}))
        optimizer.register_step_post_hook(note("post"))
        optimizer.register_state_dict_pre_hook(note("state pre"))
        optimizer.register_state_dict_post_hook(lambda o, state: {**state, "more": 1})
        optimizer.register_state_dict_post_hook(note("state first"), prepend=True)
        optimizer.register_load_state_dict_pre_hook(lambda o, state: seen.append(sorted(state)))
        optimizer.register_load_state_dict_post_hook(note("loaded"))
        optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict())
        for handle in everywhere:
            handle.remove()
        optimizer.step()
        return seen

    same(run)


def test_an_optimiser_of_ones_own_takes_part() -> None:
    """照教程自己写的优化器（改写 ``step``）用不了状态、钩子或深拷贝。"""

    def run(m: Any) -> Any:
        class Own(m.optim.Optimizer):  # type: ignore[misc]
            def __init__(self, params: Any, lr: Any) -> None:
                super().__init__(params, {"lr": lr})

            @m.no_grad()  # type: ignore[untyped-decorator]
            def step(self, closure: Any = None) -> Any:
                for group in self.param_groups:
                    for p in group["params"]:
                        self.state[p]["count"] = self.state[p].get("count", 0) + 1
                        p.add_(p.grad.sign(), alpha=-group["lr"])

        net = m.nn.Linear(2, 1)
        with m.no_grad():
            net.weight.fill_(2.0)
        optimizer, seen = Own(net.parameters(), lr=0.5), []
        optimizer.register_step_post_hook(lambda *_: seen.append("post"))
        net(m.ones(1, 2)).sum().backward()
        optimizer.step()
        twin, lone = copy.deepcopy((net, optimizer))
        twin.weight.grad, twin.bias.grad = m.ones(1, 2), m.ones(1)
        lone.step()
        return seen, optimizer.state_dict()["state"], lone.state_dict()["state"], net.weight, twin.weight

    same(run)


def test_zeroing_keeps_the_gradient_object() -> None:
    """``zero_grad(set_to_none=False)`` 换掉了梯度对象，或让它留在图上。"""

    def run(m: Any) -> Any:
        p = m.nn.Parameter(m.ones(2))
        (p**3).sum().backward()
        before = p.grad
        optimizer = m.optim.SGD([p])
        optimizer.zero_grad(set_to_none=False)
        kept = p.grad is before
        p.grad = (p * 2).detach()
        (p**3).sum().backward(create_graph=True)
        optimizer.zero_grad(set_to_none=False)
        return kept, p.grad, p.grad.requires_grad

    same(run)


def test_duplicates_in_a_group_are_reported() -> None:
    """同一个参数在一个组里出现两次，没有提醒。"""
    for m in ENGINES:
        p = m.ones(1)
        with pytest.warns(UserWarning, match="duplicate parameters"):
            m.optim.SGD([p, p])
