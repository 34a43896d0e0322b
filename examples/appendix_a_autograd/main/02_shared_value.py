"""一个值用了两次：为什么要累加，又为什么要按拓扑序走。

流入：y = s·u，s = x²，u = s + 1（s 用了两次，x 也用了两次）；流出：四种走法在同一张图上的结果与访问次数。
四种走法都走引擎记下的图，局部导数都由 ``node.vjp`` 给出，差别只在次序与「遇到第二次怎么办」。
运行：``python examples/appendix_a_autograd/main/02_shared_value.py``。下一个文件：``03_two_layer.py``。
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from three_columns import Numbers, print_comparison

import tinygrad_llm

X = 1.5
Gradients = dict[int, float]  # 键是节点或叶子的 id


def shared(lib: Any) -> tuple[Any, Any]:
    """搭出 y = s·u 的图，返回叶子 x 与输出 y。"""
    x = lib.tensor(X, dtype=lib.float64, requires_grad=True)
    s = x * x
    u = s + 1.0
    return x, s * u


def inputs_of(node: Any, g: float) -> list[tuple[Any, float]]:
    """一个节点把收到的梯度 ``g`` 分给它的各个输入。"""
    found = node.vjp(np.asarray(g))  # 逐个给出（第几个输入，它的那一份）
    return [(node.edges[position], float(part)) for position, part in found if node.edges[position] is not None]


def overwrite(edge: Any, g: float, got: Gradients) -> int:
    """走法一：后到的梯度盖掉先到的。返回访问过的节点数，下同。"""
    got[id(edge)] = g
    return 1 + sum(overwrite(e, part, got) for e, part in inputs_of(edge, g)) if is_node(edge) else 0


def add_too_early(edge: Any, g: float, got: Gradients) -> int:
    """走法二：会累加，但一收到就把累计值往下传，先到的那份于是传了两遍。"""
    got[id(edge)] = got.get(id(edge), 0.0) + g
    total = got[id(edge)]
    return 1 + sum(add_too_early(e, part, got) for e, part in inputs_of(edge, total)) if is_node(edge) else 0


def every_path(edge: Any, g: float, got: Gradients) -> int:
    """走法三：每条路径各走一遍，只传新到的那份。结果正确，代价是路径的条数。"""
    got[id(edge)] = got.get(id(edge), 0.0) + g
    return 1 + sum(every_path(e, part, got) for e, part in inputs_of(edge, g)) if is_node(edge) else 0


def topological(edge: Any, g: float, got: Gradients) -> int:
    """走法四：总是先处理创建得最晚的节点；轮到它时梯度已经收齐，每个节点恰好一次。"""
    got[id(edge)] = g
    waiting, visited = {edge}, 0
    while waiting:
        node = min(waiting, key=lambda one: one.order)  # 次序号往下数：最小的创建得最晚
        waiting.remove(node)
        visited += 1
        for e, part in inputs_of(node, got[id(node)]):
            got[id(e)] = got.get(id(e), 0.0) + part
            waiting |= {e} if is_node(e) else set()
    return visited


def is_node(edge: Any) -> bool:
    """来处是图上的节点（中间结果），而不是叶子。"""
    return bool(edge.is_node)


WALKS = (overwrite, add_too_early, every_path, topological)


def by_hand() -> Numbers:
    """两条路径各算各的，最后相加。"""
    s = X * X
    u = s + 1
    through_u = s * 1.0 * 2 * X  # y → u → s → x
    direct = u * 2 * X  # y → s → x
    return {"y": s * u, "via u": through_u, "direct": direct, "dy/dx": through_u + direct}


def by_library(lib: Any) -> Numbers:
    """同一个函数交给自动微分；把 s 的一处换成常数，就只剩一条路径。"""
    x, y = shared(lib)
    (total,) = lib.autograd.grad(y, x)
    s = x * x
    (direct,) = lib.autograd.grad(s * (s.detach() + 1.0), x, retain_graph=True)
    (through_u,) = lib.autograd.grad(s.detach() * (s + 1.0), x)
    return {"y": y.item(), "via u": through_u.item(), "direct": direct.item(), "dy/dx": total.item()}


def main() -> int:
    """比较四种走法，再打印三列对照；全部符合预期时返回 0。"""
    expected = by_hand()["dy/dx"]
    results = {}
    for walk in WALKS:
        x, y = shared(tinygrad_llm)
        got: Gradients = {}
        visited = walk(y.grad_fn, 1.0, got)
        results[walk.__name__] = got[id(x)]
        verdict = "right" if got[id(x)] == expected else "WRONG"
        print(f"{walk.__name__:14} dy/dx = {got[id(x)]:8.4f}  {verdict}  nodes visited: {visited}")
    print("\nx <- x + x, repeated:   every_path   topological")
    for depth in (2, 4, 8, 12):
        x = y = tinygrad_llm.tensor(1.0, requires_grad=True)
        for _ in range(depth):
            y = y + y
        print(f"{depth:20d} {every_path(y.grad_fn, 1.0, {}):12d} {topological(y.grad_fn, 1.0, {}):13d}")
    print()
    as_told = [results[walk.__name__] == expected for walk in WALKS] == [False, False, True, True]
    return print_comparison(by_hand(), by_library) or int(not as_told)


if __name__ == "__main__":
    sys.exit(main())
