"""三张示意图：神经元的计算图、用了两次的值、广播与求和。

流入：引擎算出的值与梯度（图上的数都来自它）；流出：``figures/{neuron,shared,broadcast}.svg``。
运行：``python examples/appendix_a_autograd/experiments/06_diagrams.py``。
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from drawing import COLOURS, figure_folder, new_figure, save_svg

import tinygrad_llm as tg
from tinygrad_llm.ops.op import Array

FORWARD, BACKWARD, OTHER = COLOURS[0], COLOURS[1], COLOURS[2]
Point = tuple[float, float]


def blank(width: float, height: float) -> tuple[Any, Any]:
    """没有坐标轴的画布，单位是英寸。"""
    figure, axes = new_figure(width, height)
    axes.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    axes.axis("off")
    return figure, axes


def box(axes: Any, at: Point, name: str, value: str = "", gradient: str = "") -> None:
    """一个节点：框里是名字，上方蓝色是值，下方橙色是梯度。"""
    style = {"boxstyle": "round,pad=0.35", "facecolor": "#f4f4f4", "edgecolor": "#555555"}
    axes.text(*at, name, ha="center", va="center", bbox=style, fontsize=10)
    axes.text(at[0], at[1] + 0.3, value, ha="center", va="center", color=FORWARD, fontsize=8)
    axes.text(at[0], at[1] - 0.3, gradient, ha="center", va="center", color=BACKWARD, fontsize=8)


def arrow(
    axes: Any, start: Point, end: Point, label: str = "", colour: str = "#555555", lift: float = 0.1, gap: float = 16
) -> None:
    """一条边；``label`` 是局部导数，写在中点旁；``gap`` 是两端离节点中心的距离（磅）。"""
    style = {"arrowstyle": "-|>", "color": colour, "shrinkA": gap, "shrinkB": gap, "linewidth": 1.1}
    axes.annotate("", end, start, arrowprops=style)
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + lift)
    axes.text(*middle, label, ha="center", va="bottom", fontsize=8, color="#333333")


def draw_neuron(folder: Path) -> None:
    """与 ``main/01_neuron.py`` 相同的数。"""
    w, x, b = (tg.tensor(value, dtype=tg.float64, requires_grad=True) for value in (2.2, 1.1, 0.0))
    product = w * x
    z = product + b
    a = z.sigmoid()
    loss = -a.log()
    nodes = {"w": w, "x": x, "b": b, "×": product, "+": z, "σ": a, "-ln": loss}
    grads = dict(zip(nodes, tg.autograd.grad(loss, list(nodes.values()), retain_graph=True), strict=True))
    slope = {
        "wx": (tg.autograd.grad(product, [w, x], retain_graph=True)),
        "σ": tg.autograd.grad(a, z, retain_graph=True)[0].item(),
        "ln": tg.autograd.grad(loss, a)[0].item(),
    }
    places = {"w": (0.5, 2.2), "x": (0.5, 1.2), "b": (1.9, 0.5), "×": (1.9, 1.7), "+": (3.3, 1.7)}
    places |= {"σ": (4.8, 1.7), "-ln": (6.4, 1.7)}
    figure, axes = blank(7.0, 2.8)
    for name, at in places.items():
        box(axes, at, name, f"{nodes[name].item():.4f}", f"{grads[name].item():.4f}")
    arrow(axes, places["w"], places["×"], f"{slope['wx'][0].item():.1f}", lift=0.06)
    arrow(axes, places["x"], places["×"], f"{slope['wx'][1].item():.1f}", lift=0.06)
    arrow(axes, places["×"], places["+"], "1")
    arrow(axes, places["b"], places["+"], "1")
    arrow(axes, places["+"], places["σ"], f"a(1-a) = {slope['σ']:.4f}")
    arrow(axes, places["σ"], places["-ln"], f"-1/a = {slope['ln']:.4f}")
    axes.text(3.5, 2.65, "value (forward)", color=FORWARD, fontsize=8)
    axes.text(4.7, 2.65, "gradient of the loss (backward)", color=BACKWARD, fontsize=8)
    axes.text(3.5, 0.35, "on the edges: local derivatives", color="#333333", fontsize=8)
    save_svg(figure, folder / "neuron.svg")


def draw_shared(folder: Path) -> None:
    """与 ``main/02_shared_value.py`` 相同的数；两条路径用两种颜色。"""
    x = tg.tensor(1.5, dtype=tg.float64, requires_grad=True)
    s = x * x
    u = s + 1.0
    y = s * u
    to_x, to_s, to_u = tg.autograd.grad(y, [x, s, u])
    figure, axes = blank(6.0, 2.5)
    places: dict[str, Point] = {"x": (0.5, 1.2), "s = x²": (2.0, 1.2), "u = s + 1": (3.7, 1.9), "y = s u": (5.3, 1.2)}
    box(axes, places["x"], "x", f"{x.item():g}", f"{to_x.item():g}")
    box(axes, places["s = x²"], "s = x²", f"{s.item():g}", "")
    box(axes, places["u = s + 1"], "u = s + 1", f"{u.item():g}", f"{to_u.item():g}")
    box(axes, places["y = s u"], "y = s u", f"{y.item():g}", "1")
    arrow(axes, places["x"], places["s = x²"], "2x = 3", gap=24)
    arrow(axes, places["s = x²"], places["u = s + 1"], "1", BACKWARD, gap=32)
    arrow(axes, places["u = s + 1"], places["y = s u"], f"s = {s.item():g}", BACKWARD, gap=32)
    arrow(axes, places["s = x²"], places["y = s u"], f"u = {u.item():g}", OTHER, lift=-0.25, gap=27)
    parts = ((f"{u.item():g}", OTHER), (" + ", "#333333"), (f"{to_u.item():g}", BACKWARD))
    for i, (text, colour) in enumerate(parts):
        axes.text(1.62 + 0.28 * i, 0.9, text, color=colour, fontsize=8, ha="center", va="center")
    axes.text(2.58, 0.9, f"= {to_s.item():g}", fontsize=8, color="#333333", ha="center", va="center")
    axes.text(0.2, 0.2, "two paths lead from y back to s: the gradients of both arrive there and are added", fontsize=8)
    save_svg(figure, folder / "shared.svg")


def grid(axes: Any, corner: Point, values: Array, colour: str) -> None:
    """一格一个数的小方阵；``corner`` 是左上角。"""
    import matplotlib.patches as shapes

    for (i, j), value in np.ndenumerate(values):
        left, top = corner[0] + 0.5 * j, corner[1] - 0.4 * i
        axes.add_patch(shapes.Rectangle((left, top - 0.4), 0.5, 0.4, facecolor="white", edgecolor=colour))
        axes.text(left + 0.25, top - 0.2, f"{value:g}", ha="center", va="center", fontsize=9, color=colour)


def draw_broadcast(folder: Path) -> None:
    """前向：一行复制成两行；反向：两行加成一行。"""
    b = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    g = tg.tensor([[1.0, 0.0, 2.0], [3.0, 1.0, 2.0]])
    y = b.expand(2, 3)
    (found,) = tg.autograd.grad(y, b, g)
    figure, axes = blank(6.6, 2.2)
    grid(axes, (0.2, 1.45), b.detach().numpy()[None], FORWARD)
    arrow(axes, (1.55, 1.25), (2.45, 1.25), "copy")
    grid(axes, (2.3, 1.65), y.detach().numpy(), FORWARD)
    grid(axes, (4.0, 1.65), g.numpy(), BACKWARD)
    for j in range(3):
        arrow(axes, (4.25 + 0.5 * j, 1.05), (4.25 + 0.5 * j, 0.4))
    grid(axes, (4.0, 0.6), found.numpy()[None], BACKWARD)
    for at, text in (
        ((0.95, 1.85), "b, shape (3,)"),
        ((3.05, 1.85), "y, shape (2, 3)"),
        ((4.75, 1.85), "g, shape (2, 3)"),
    ):
        axes.text(*at, text, ha="center", fontsize=8, color="#333333")
    axes.text(5.6, 0.4, "sum of rows", va="center", fontsize=8, color="#333333")
    save_svg(figure, folder / "broadcast.svg")


def main() -> None:
    """画三张图。"""
    folder = figure_folder()
    draw_neuron(folder)
    draw_shared(folder)
    draw_broadcast(folder)


if __name__ == "__main__":
    main()
