"""代价：反向一趟是前向的几倍，差分要多少趟前向，五万个节点的链要多久。

流入：几种宽度的两层网络、一条长链；流出：三张表与 ``figures/cost.svg``。时间因机器而异，比值与趋势不会。
运行：``OPENBLAS_NUM_THREADS=1 python examples/appendix_a_autograd/experiments/02_cost.py``（几秒）。
矩阵很小，多线程只添干扰，所以限定一个线程。
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from drawing import COLOURS, figure_folder, new_figure, save_svg

import tinygrad_llm as tg
from tinygrad_llm.nn import functional as F

WIDTHS = (2, 8, 32, 128, 512)
ROWS = 64
MEASURED_UP_TO = 2000  # 参数再多就不真的做差分，按「2n 趟前向」推算
CHAIN = 50_000


class Cost(NamedTuple):
    """一种宽度下的耗时，单位毫秒；``is_measured`` 为假表示差分的耗时是推算的。"""

    parameters: int
    forward_ms: float
    both_ms: float
    differences_ms: float
    is_measured: bool


def best_ms(function: Callable[[], Any], repeats: int = 30) -> float:
    """先热身一次，再取若干次里最快的一次：它受别的进程打扰最少。"""
    function()
    found = []
    for _ in range(repeats):
        started_at = time.perf_counter()
        function()
        found.append(time.perf_counter() - started_at)
    return 1e3 * min(found)


def cost_of(width: int) -> Cost:
    """一个「宽 → 宽 → 1」的网络：前向、前向加反向、对每个参数做中心差分。"""
    tg.manual_seed(0)
    model = tg.nn.Sequential(tg.nn.Linear(width, width), tg.nn.Tanh(), tg.nn.Linear(width, 1))
    x, t = tg.randn(ROWS, width), tg.randn(ROWS, 1)

    def forward() -> Any:
        with tg.no_grad():
            return F.mse_loss(model(x), t)

    def both() -> None:
        model.zero_grad()
        F.mse_loss(model(x), t).backward()

    def differences() -> None:
        for p in model.parameters():
            flat = p.data.numpy().reshape(-1)
            for i in range(flat.size):
                for h in (1e-3, -2e-3):
                    flat[i] += h
                    forward()
                flat[i] += 1e-3

    n = sum(p.numel() for p in model.parameters())
    forward_ms, is_measured = best_ms(forward), n <= MEASURED_UP_TO
    differences_ms = best_ms(differences, 2) if is_measured else 2 * n * forward_ms
    return Cost(n, forward_ms, best_ms(both), differences_ms, is_measured)


def chain_ms(lib: Any) -> tuple[float, float]:
    """搭一条 ``y = y + 1`` 的长链并反传，返回两段的毫秒数。"""
    x = y = lib.zeros(1, requires_grad=True)
    started_at = time.perf_counter()
    for _ in range(CHAIN):
        y = y + 1.0
    built_at = time.perf_counter()
    y.backward()
    done_at = time.perf_counter()
    if x.grad.item() != 1.0:
        raise AssertionError("the gradient along the chain is 1")
    return 1e3 * (built_at - started_at), 1e3 * (done_at - built_at)


def recursion_fails() -> str:
    """同一条链换成递归来走。"""
    y = tg.zeros(1, requires_grad=True)
    for _ in range(CHAIN):
        y = y + 1.0

    def walk(node: Any) -> None:
        for edge in node.edges:
            if hasattr(edge, "edges"):
                walk(edge)

    try:
        walk(y.grad_fn)
    except RecursionError as error:
        return f"{type(error).__name__}: {str(error).partition(' while')[0]}"
    return "no error"


def print_jacobian() -> None:
    """GPT-2 的一个 MLP 层：Jacobian 有多大，VJP 要的东西有多大。"""
    rows, inner, outer = 1024, 768, 3072
    jacobian, product = rows * outer * rows * inner, rows * outer + outer * inner
    print(f"matmul ({rows}, {inner}) @ ({inner}, {outer}), float32:")
    print(f"  Jacobian dy/dx: {4 * jacobian / 1e12:.1f} TB;  VJP reads g and the weight: {4 * product / 1e6:.1f} MB")


def draw(costs: list[Cost], folder: Path) -> None:
    """横轴是参数个数，纵轴是得到全部梯度的时间。"""
    figure, axes = new_figure(6.0, 3.4)
    n = [cost.parameters for cost in costs]
    series = [
        ("one forward", [c.forward_ms for c in costs], COLOURS[2]),
        ("forward + backward", [c.both_ms for c in costs], COLOURS[0]),
        ("central differences", [c.differences_ms for c in costs], COLOURS[1]),
    ]
    for label, values, colour in series:
        axes.plot(n, values, "-", color=colour, label=label)
    for cost in costs:  # 空心点是推算的
        axes.plot(cost.parameters, cost.differences_ms, "o", color=COLOURS[1], markersize=5,
                  markerfacecolor=COLOURS[1] if cost.is_measured else "white")  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="number of parameters n", ylabel="time (ms)")
    axes.legend(frameon=False, fontsize=8)
    save_svg(figure, folder / "cost.svg")


def main() -> None:
    """打印三张表，画图。"""
    folder = figure_folder()
    costs = [cost_of(width) for width in WIDTHS]
    print("parameters  forward ms  fwd+bwd ms  ratio  differences ms")
    for c in costs:
        note = "" if c.is_measured else "  (2n forwards, not run)"
        print(
            f"{c.parameters:10d} {c.forward_ms:11.3f} {c.both_ms:11.3f} {c.both_ms / c.forward_ms:6.1f}"
            f" {c.differences_ms:15.1f}{note}"
        )
    build_ms, backward_ms = chain_ms(tg)
    print(f"chain of {CHAIN} nodes: build {build_ms:.0f} ms, backward {backward_ms:.0f} ms")
    print(f"  {1e3 * build_ms / CHAIN:.1f} + {1e3 * backward_ms / CHAIN:.1f} microseconds per node")
    print(f"the same chain by recursion: {recursion_fails()}")
    print_jacobian()
    draw(costs, folder)


if __name__ == "__main__":
    np.seterr(all="raise")
    main()
