"""本章各个程序共用的工作台：备齐一次训练、把两个引擎摆在一起、走若干步、存图。

流入：对 ``TrainConfig`` 的覆盖；流出：``Session``、引擎、每步的结果与 SVG。这里只是调用两个包，什么也不重新定义。
下一个文件：``01_one_step.py``。
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinygrad_llm.common.batches import TokenDataset
from tinygrad_llm.common.engine import Engine, StepResult
from tinygrad_llm.common.loop import rate
from tinygrad_llm.common.session import Session, prepare
from tinygrad_llm.common.torch_config import TorchConfig
from tinygrad_llm.common.train_config import TrainConfig

FIGURES = Path(__file__).resolve().parent.parent / "figures"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe–Ito：常见色觉缺陷下仍可区分
SMALL: dict[str, Any] = {"n_layer": 2, "n_head": 2, "n_embd": 64, "context": 64}
"""实验用的小模型：约十七万参数，一步只要几十毫秒。"""


def arguments(description: str, steps: int) -> argparse.Namespace:
    """各程序相同的两个 flag。

    Args:
        description: ``--help`` 的第一句。
        steps: ``--steps`` 的缺省值。

    Returns:
        ``steps`` 与 ``figures``。
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--steps", type=int, default=steps, help=f"training steps (default {steps})")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="where the SVG goes (default: the chapter's)")
    return parser.parse_args()


def new_session(**overrides: Any) -> Session:
    """备齐数据、分词器与模型配置；不写任何文件，运行名只是占位。"""
    return prepare(TrainConfig(**{"run": "ch06-in-memory", "lr": 3e-3, **overrides}))


def variant(session: Session, **overrides: Any) -> Session:
    """同一份数据与分词器，换几项训练设置（模型的形状除外）；省得每次都重新训练分词器。"""
    settings = dataclasses.replace(session.settings, **overrides)
    train = TokenDataset(
        session.train.ids,
        vocab_size=session.model.vocab_size,
        context=session.model.context,
        batch_size=settings.batch_size,
        seed=settings.seed,
    )
    return dataclasses.replace(session, settings=settings, train=train)


def engine_of(name: str, session: Session) -> Any:
    """造一个引擎；torch 固定用 CPU，两边才是同一台机器上的比较。

    Args:
        name: ``"numpy"`` 或 ``"torch"``。
        session: 数据与设置。

    Returns:
        ``NumpyEngine`` 或 ``TorchEngine``，初始权重相同。
    """
    if name == "numpy":
        from tinygrad_llm.train import NumpyEngine

        return NumpyEngine(session.model, session.settings)

    from torch_llm.loop import TorchEngine

    return TorchEngine(session.model, TorchConfig.of(session.settings, "cpu"))


def training(session: Session, engine: Engine) -> Iterator[StepResult]:
    """逐步训练，到 ``settings.last_step`` 为止；不记日志，不存档。"""
    for step in range(session.settings.last_step):
        yield engine.train_step(step, session.train.batch(step), rate(session.settings, step))


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Any, Any]:
    """新建一张图。

    Args:
        width: 宽，英寸。
        height: 高，英寸。
        rows: 几行坐标系。
        columns: 几列坐标系。
        **options: 交给 ``plt.subplots``。

    Returns:
        matplotlib 的 ``Figure`` 与 ``Axes``（多于一个时为数组）。
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 9, "svg.fonttype": "path", "svg.hashsalt": "ch06"})
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), layout="constrained", **options)
    for one in figure.axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save_svg(figure: Any, folder: Path, name: str, **options: Any) -> None:
    """存成 SVG：不写日期，文字转成轮廓，同样的输入得到同样的字节。

    Args:
        figure: matplotlib 的 ``Figure``。
        folder: 放在哪个文件夹。
        name: 文件名。
        **options: 交给 ``savefig``；缺省为白底。
    """
    import matplotlib.pyplot as plt

    path = folder / name
    figure.savefig(path, metadata={"Date": None, "Creator": None}, **(options or {"facecolor": "white"}))
    plt.close(figure)
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")  # matplotlib 会留下行尾空格
    print(f"wrote figures/{name}")
