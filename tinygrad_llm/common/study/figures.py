"""研究的图：一张画布几个格子，存成 PNG 与 SVG；同样的数据总是同样的字节。

流入：作图的函数；流出：两个文件。``report.py`` 的图嵌在网页里，这里的图是独立的文件，文字因此用英文。
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygrad_llm.common.charts import COLOURS
from tinygrad_llm.common.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLOURS", "save_figure"]

PANEL_IN = (4.6, 3.4)
DPI = 120


def save_figure(stem: Path, panels: list[Callable[[Axes], None]]) -> list[Path]:
    """画几个并排的格子。

    Args:
        stem: 文件名，不带后缀。
        panels: 各格的画法。

    Returns:
        写好的两个文件。

    Raises:
        DataError: 写不进去。
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        style: Any = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9.0, "svg.hashsalt": stem.name}
        matplotlib.rcParams.update(style)
        figure = Figure(figsize=(PANEL_IN[0] * len(panels), PANEL_IN[1]), layout="constrained")
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            panel(axes)
            axes.grid(alpha=0.15, linewidth=0.6)
        paths = [stem.with_suffix(suffix) for suffix in (".png", ".svg")]
        try:
            figure.savefig(paths[0], dpi=DPI, metadata={"Software": None})
            figure.savefig(paths[1], metadata={"Date": None, "Creator": None})
        except OSError as error:
            raise DataError(f"cannot write: {error.strerror}", where=str(stem), fix="check the folder") from error
    return paths
