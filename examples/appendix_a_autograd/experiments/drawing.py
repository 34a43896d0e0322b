"""作图的公共设定：色板、字号、可重复的 SVG。

流入：图名与尺寸；流出：``figures/`` 下的 SVG。文字转成轮廓，不依赖读者装了什么字体；同样的输入得到同样的字节。
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).resolve().parent.parent / "figures"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe–Ito：常见色觉缺陷下仍可区分


def figure_folder() -> Path:
    """命令行给出的 ``--figures``；缺省为本章的 ``figures/``。"""
    parser = argparse.ArgumentParser()
    parser.add_argument("--figures", type=Path, default=FIGURES, help="folder that receives the SVG files")
    folder: Path = parser.parse_args().figures
    return folder


def new_figure(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    """新建一张白底图。

    Args:
        width: 宽，英寸。
        height: 高，英寸。
        columns: 并排几个坐标系。

    Returns:
        matplotlib 的 ``Figure`` 与 ``Axes``（多于一列时为数组）。
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 9, "svg.fonttype": "path", "svg.hashsalt": "appendix-a"})
    figure, axes = plt.subplots(1, columns, figsize=(width, height), layout="constrained")
    for one in [axes] if columns == 1 else axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save_svg(figure: Any, path: Path) -> None:
    """存成 SVG；不写日期，重画一次不会改动文件。"""
    import matplotlib.pyplot as plt

    figure.savefig(path, metadata={"Date": None, "Creator": None}, facecolor="white")
    plt.close(figure)
    print(f"wrote {path.parent.name}/{path.name}")
