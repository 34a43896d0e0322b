"""引擎的几条承诺，逐条做给读者看。

流入：几个小例子；流出：各算子留下了什么、节点的次序、累加、释放、就地写入的检测、二阶导、gradcheck 的报错。
运行：``python examples/appendix_a_autograd/experiments/05_engine.py``。
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_llm as tg
from tinygrad_llm.gradcheck import GradcheckError
from tinygrad_llm.nn import functional as F
from tinygrad_llm.ops import REGISTRY, Op


def title(text: str) -> None:
    """小标题。"""
    print(f"\n[{text}]")


def saved_by(op: Op, *wanted: bool) -> str:
    """前向要为反向留下的东西的名字。"""
    plan = op.plan(wanted)
    return ", ".join(plan.sources) if plan is not None and plan.sources else "nothing"


def show_saved() -> None:
    """求导表的形参名，就是留下的东西。"""
    title("what each op saves")
    print("op         inputs that need a gradient   saved")
    rows = (("add", "a b"), ("mul", "a b"), ("mul", "a"), ("exp", "x"), ("tanh", "x"), ("log", "x"), ("softmax", "x"))
    for name, wanted in rows:
        op = REGISTRY[name]
        print(f"{name:10} {wanted:29} {saved_by(op, *[one in wanted.split() for one in op.inputs])}")


def show_order() -> None:
    """创建次序：次序号往下数，每个节点的都小于它的全部来处。"""
    title("creation order")
    x = tg.tensor(1.5, requires_grad=True)
    s = x * x
    u = s + 1.0
    y = s * u
    first = s.grad_fn.order
    for name, tensor in (("s", s), ("u", u), ("y", y)):
        node = tensor.grad_fn
        sources = [f"#{edge.order - first}" if edge.is_node else "leaf" for edge in node.edges if edge is not None]
        print(f"{name}: #{node.order - first} {node.name()} <- {', '.join(sources)}")


def show_leaves() -> None:
    """梯度累加在叶子上；中间结果不留。"""
    title("accumulation on leaves")
    x = tg.tensor(3.0, requires_grad=True)
    for _ in range(2):
        y = x * x
        (2.0 * y).backward()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # 读中间结果的 .grad 会得到一句警告；这里正是要看它
            print(f"x.grad = {x.grad.item() if x.grad is not None else None}, y.grad = {y.grad}")


def error_of(action: Callable[[], Any]) -> str:
    """执行 ``action``，返回它报的错，折成几行。"""
    try:
        action()
    except (RuntimeError, GradcheckError) as error:
        return textwrap.fill(str(error), 100)
    return "no error"


def show_errors() -> None:
    """图只能用一次；反向要用的值不许改。"""
    title("a freed graph")
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    loss = (x * x).sum()
    loss.backward()
    print(error_of(loss.backward))
    title("an in-place write")
    h = x * 2.0
    loss = (h * h).sum()
    h += 1.0
    print(error_of(loss.backward))


def show_second_order() -> None:
    """反传自己也记图：同一张求导表跑在 Tensor 上。"""
    title("create_graph: y = x ** 3 at x = 2")
    x = tg.tensor(2.0, dtype=tg.float64, requires_grad=True)
    y = x**3
    for order in range(1, 5):
        (y,) = tg.autograd.grad(y, x, create_graph=True)
        print(f"derivative {order}: {y.item():g}")


class WrongTanh(tg.autograd.Function):
    """故意写错的 tanh：导数漏了平方，写成 ``1 - y``。"""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        """``y = tanh x``。"""
        y = x.tanh()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """应为 ``g (1 - y²)``。"""
        (y,) = ctx.saved_tensors
        return grad_outputs[0] * (1.0 - y)


def show_gradcheck() -> None:
    """对的通过，错的指名到元素。"""
    title("gradcheck")
    draw = np.random.default_rng(0)
    x = tg.tensor(draw.standard_normal((2, 3)), requires_grad=True)
    w = tg.tensor(draw.standard_normal(3), requires_grad=True)
    print("layer_norm:", tg.gradcheck(lambda x, w: F.layer_norm(x, (3,), w), [x, w]))
    print("second order:", tg.gradgradcheck(lambda x, w: F.layer_norm(x, (3,), w), [x, w]))
    point = tg.tensor([0.5, -1.0], dtype=tg.float64, requires_grad=True)
    print("wrong tanh:", error_of(lambda: tg.gradcheck(WrongTanh.apply, point)))


def main() -> None:
    """依次展示。"""
    show_saved()
    show_order()
    show_leaves()
    show_errors()
    show_second_order()
    show_gradcheck()


if __name__ == "__main__":
    main()
