"""优化器的公共部分：参数组、状态、存取。

流入：参数与超参数；流出：``step`` 与 ``state_dict``。下一站：``adamw.py``。
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from tinygrad_llm.autograd import no_grad, set_grad_enabled
from tinygrad_llm.nn.module_tree import clear_grad
from tinygrad_llm.ops.op import Array
from tinygrad_llm.tensor import Tensor

BLOCK = 1 << 16
"""一块的元素数：更新公式的十来步逐元素运算在缓存里做完一块再做下一块。"""


def blocks(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """把若干同形状的连续数组摊平，一块一块地并排取出（视图）。"""
    flats = [a.reshape(-1) for a in arrays]
    for start in range(0, flats[0].size, BLOCK):
        yield tuple(flat[start : start + BLOCK] for flat in flats)


class Optimizer:
    """优化器基类。

    Args:
        params: 参数，或参数组（含 ``"params"`` 的字典，可覆盖任一超参数）。
        defaults: 超参数的缺省值。

    Attributes:
        param_groups: 参数组列表。
        state: 参数到它的状态。

    Raises:
        ValueError: 没有参数，参数不是叶子，或同一个参数出现在两个组里。
        TypeError: 参数不是 Tensor。
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        given = list(params)
        if not given:
            raise ValueError("optimizer got an empty parameter list")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """再加一个参数组。"""
        members = param_group["params"]
        group = {**self.defaults, **param_group, "params": [members] if isinstance(members, Tensor) else list(members)}
        for p in group["params"]:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor")
            if any(p is q for other in self.param_groups for q in other["params"]):
                raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """清掉全部参数的梯度。"""
        for group in self.param_groups:
            for p in group["params"]:
                clear_grad(p, set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """用现有梯度更新一步。

        Args:
            closure: 可选，重新计算损失并返回它。

        Returns:
            ``closure`` 的返回值。
        """
        loss = None
        if closure is not None:
            with set_grad_enabled(True):
                loss = closure()
        with no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        self._update_one(p, p.grad.array, group)
        return loss

    def _update_one(self, p: Tensor, grad: Array, group: dict[str, Any]) -> None:
        """在连续的内存上更新；参数本身不连续（例如转置来的）时，算完再写回。"""
        theta = np.asarray(p.array, order="C")
        self.update(theta, np.asarray(grad, order="C"), self.state[p], group)
        if theta is not p.array:
            p.array[...] = theta
        p.version.writes += 1

    def update(self, theta: Array, grad: Array, state: dict[str, Any], group: dict[str, Any]) -> None:
        """就地更新一个参数的数值；由子类实现。"""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """状态与超参数；参数以序号代替，与 torch 的格式相同。"""
        order = {id(p): i for i, p in enumerate(self._all())}
        groups = [{**g, "params": [order[id(p)] for p in g["params"]]} for g in self.param_groups]
        return {"state": {order[id(p)]: s for p, s in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """装入 ``state_dict`` 的结果。

        Raises:
            ValueError: 参数组的个数或大小不同。
        """
        groups = state_dict["param_groups"]
        if [len(g["params"]) for g in groups] != [len(g["params"]) for g in self.param_groups]:
            raise ValueError("loaded state dict has a different number of parameter groups or parameters")
        for own, given in zip(self.param_groups, groups, strict=True):
            own.update({k: v for k, v in given.items() if k != "params"})
        params = self._all()
        self.state.clear()
        for i, state in state_dict["state"].items():
            self.state[params[int(i)]] = {k: v.clone() if isinstance(v, Tensor) else v for k, v in state.items()}

    def _all(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]


def zeros_like(theta: Array) -> Tensor:
    """与参数同形状的零状态。"""
    return Tensor.wrap(np.zeros(theta.shape, theta.dtype))


def require(condition: bool, name: str, value: Any) -> None:
    """超参数不合法时报错。"""
    if not condition:
        raise ValueError(f"Invalid {name}: {value}")
