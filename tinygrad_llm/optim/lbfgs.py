"""L-BFGS：用最近几步的位移与梯度差近似牛顿方向（Liu 与 Nocedal，1989）。

流入：重新计算损失的 ``closure``；流出：更新后的参数。线搜索在 ``line_search.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinygrad_llm.autograd import enable_grad, no_grad
from tinygrad_llm.ops.op import Array
from tinygrad_llm.optim.arrays import require_rate, scalar
from tinygrad_llm.optim.complex_parameters import as_reals
from tinygrad_llm.optim.line_search import strong_wolfe
from tinygrad_llm.optim.optimizer import Optimizer
from tinygrad_llm.tensor import Tensor


class LBFGS(Optimizer):
    """L-BFGS；只能有一个参数组，``step`` 必须给 ``closure``。

    Args:
        params: 参数。
        lr: 步长。
        max_iter: 每次 ``step`` 至多迭代几次。
        max_eval: 每次 ``step`` 至多求几次损失；缺省为 ``max_iter`` 的 1.25 倍。
        tolerance_grad: 梯度的最大绝对值不超过它就停。
        tolerance_change: 损失或参数的改变不超过它就停。
        history_size: 记住最近几步。
        line_search_fn: ``"strong_wolfe"`` 或 ``None``。

    Raises:
        ValueError: 超参数不合法，或参数组不止一个。
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        require_rate(lr)
        defaults = {
            "lr": lr, "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change, "history_size": history_size,
            "line_search_fn": line_search_fn,
        }  # fmt: skip
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    @no_grad
    def step(self, closure: Callable[[], Any]) -> Any:
        """迭代若干次。

        Args:
            closure: 清掉梯度、重新计算损失、反传，并返回损失。

        Returns:
            第一次求得的损失。

        Raises:
            RuntimeError: ``line_search_fn`` 不认识。
        """
        group = self.param_groups[0]
        state = self.state[group["params"][0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        loss = enable_grad(closure)()
        search = _Search(group, state, enable_grad(closure), float(loss))
        if group["max_iter"] > 0 and not search.is_flat():
            with np.errstate(all="ignore"):
                search.run()
        return loss


class _Search:
    """一次 ``step``：位置在参数里，方向、历史与损失在这里。"""

    def __init__(self, group: dict[str, Any], state: dict[str, Any], closure: Callable[[], Any], loss: float) -> None:
        self.group, self.state, self.closure, self.loss = group, state, closure, loss
        self.params: list[Tensor] = group["params"]
        self.lr, self.limit = scalar(group["lr"]), group["tolerance_change"]
        self.grad = self.flat_gradient()
        self.evals = 1
        state["func_evals"] += 1

    def is_flat(self) -> bool:
        """梯度已经足够小。"""
        return bool(np.abs(self.grad).max(initial=0) <= self.group["tolerance_grad"])

    def run(self) -> None:
        """求方向、走一步，直到收敛或次数用完；最后把历史写回状态。"""
        state, most = self.state, self.group["max_iter"]
        history = _History(state, self.group["history_size"], self.grad)
        for iteration in range(1, most + 1):
            state["n_iter"] += 1
            d = history.direction(self.grad, first=state["n_iter"] == 1)
            last = self.loss
            t = min(1.0, 1.0 / np.abs(self.grad).sum()) * self.lr if state["n_iter"] == 1 else self.lr
            history.t = t
            slope = self.grad @ d
            if slope > -self.limit:
                break
            t = history.t = self.walk(t, d, slope, final=iteration == most)
            if iteration == most or self.evals >= self.group["max_eval"] or self.is_flat():
                break
            if np.abs(d * t).max() <= self.limit or abs(self.loss - last) < self.limit:
                break
        history.save(state, last)

    def walk(self, t: Any, d: Array, slope: Any, *, final: bool) -> Any:
        """沿 ``d`` 走一步，更新损失与梯度；返回步长。"""
        method, before = self.group["line_search_fn"], self.evals
        if method is None:
            self.move(t, d)
            if not final:
                self.loss, self.grad = float(self.closure()), self.flat_gradient()
                self.evals += 1
        elif method == "strong_wolfe":
            start = [np.array(p.array) for p in self.params]

            def probe(t: Any) -> tuple[float, Array]:
                self.move(t, d)
                loss, grad = float(self.closure()), self.flat_gradient()
                for p, x in zip(self.params, start, strict=True):
                    p.array[...] = x
                return loss, grad

            most = self.group["max_eval"] - self.evals
            found = strong_wolfe(probe, t, d, self.loss, self.grad, slope, max_ls=most)
            self.loss, self.grad, t = found.loss, found.grad, found.t
            self.evals += found.evals
            self.move(t, d)
        else:
            raise RuntimeError("only 'strong_wolfe' is supported")
        self.state["func_evals"] += self.evals - before
        return t

    def flat_gradient(self) -> Array:
        """全部梯度首尾相接；没有梯度的参数是 0。"""
        grads = [np.zeros_like(p.array) if p.grad is None else p.grad.array for p in self.params]
        return np.concatenate([as_reals(g).reshape(-1) for g in grads])

    def move(self, t: Any, d: Array) -> None:
        """``θ ← θ + t · d``。"""
        start = 0
        for p in self.params:
            theta = as_reals(p.array)
            stop = start + theta.size
            theta += (d[start:stop] * t).reshape(theta.shape)
            p.touch()
            start = stop


class _History:
    """最近几步的位移 ``s``、梯度差 ``y`` 与 ``1/(y·s)``；以 torch 的键存进状态。"""

    def __init__(self, state: dict[str, Any], size: int, grad: Array) -> None:
        self.size, self.dtype = size, grad.dtype
        self.d, self.t = _array(state.get("d")), scalar(state.get("t"))
        self.ys = [_array(y) for y in state.get("old_dirs") or ()]
        self.ss = [_array(s) for s in state.get("old_stps") or ()]
        self.ro = [_array(r) for r in state.get("ro") or ()]
        self.scale = _array(state.get("H_diag", 1))
        self.previous = _array(state.get("prev_flat_grad"))
        self.al: list[Any] | None = None

    def direction(self, grad: Array, *, first: bool) -> Array:
        """两重循环算出 ``-H·g``，并记下这一步的 ``y`` 与 ``s``。"""
        if first:
            self.ys, self.ss, self.ro, self.scale = [], [], [], 1
            self.d = -grad
        else:
            self.remember(grad - self.previous, self.d * self.t)
            self.d = self.two_loops(-grad)
        self.previous = np.array(grad)
        return self.d  # type: ignore[no-any-return]

    def remember(self, y: Array, s: Array) -> None:
        """曲率为正才记。"""
        ys = y @ s
        if ys <= 1e-10:
            return
        for kept, new in ((self.ys, y), (self.ss, s), (self.ro, 1 / ys)):
            if len(kept) == self.size:
                kept.pop(0)
            kept.append(new)
        self.scale = ys / (y @ y)

    def two_loops(self, q: Array) -> Array:
        """由近及远、再由远及近。"""
        count = len(self.ys)
        alphas: list[Any] = [None] * count
        for i in reversed(range(count)):
            alphas[i] = self.ss[i] @ q * self.ro[i]
            q = q - self.ys[i] * alphas[i]
        self.al = [*map(_tensor, alphas), *[None] * (self.size - count)]
        r: Array = q * self.scale
        for i in range(count):
            r = r + self.ss[i] * (alphas[i] - self.ys[i] @ r * self.ro[i])
        return r

    def save(self, state: dict[str, Any], previous_loss: float) -> None:
        """写回状态。"""
        state.update(
            d=_tensor(self.d), t=float(self.t), old_dirs=[_tensor(y) for y in self.ys],
            old_stps=[_tensor(s) for s in self.ss], ro=[_tensor(r) for r in self.ro],
            H_diag=self.scale if isinstance(self.scale, int) else _tensor(self.scale),
            prev_flat_grad=_tensor(self.previous), prev_loss=previous_loss,
        )  # fmt: skip
        if self.al is not None:
            state["al"] = self.al


def _array(value: Any) -> Any:
    return value.array if isinstance(value, Tensor) else value


def _tensor(value: Any) -> Tensor:
    return Tensor.wrap(np.asarray(value))
