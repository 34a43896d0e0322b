"""有老师与没有老师，差多少：同一个学生、同样的步数，几个种子各训练一遍，逐个种子配对相减。

流入：设置与训练一次的函数；流出：``RUN/cells/`` 下一次次普通的运行，``RUN/`` 里的表、网页与 ``students.json``。
停下之后再跑一次同样的命令就接着走，做完的不重做。
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygrad_llm.common.checkpoint import list_checkpoints
from tinygrad_llm.common.run_names import run_folder
from tinygrad_llm.common.runlog import CONFIG, read_metrics
from tinygrad_llm.common.scoring.intervals import Interval, seed_interval
from tinygrad_llm.common.study.cells import CELLS, open_study, save_json
from tinygrad_llm.common.tuning.distillation_config import DistillConfig

__all__ = ["Row", "compare_students", "table_lines"]

ALONE = "no teacher"
FIGURE = "val_bits_per_byte"
RESULT = "students"


class Row(NamedTuple):
    """一种教法的结果，bits per byte 越低越好。

    Attributes:
        name: 教法；``no teacher`` 是没有老师的。
        values: 各个种子的。
        mean: 均值与区间。
        gap: 与同一个种子没有老师的之差，均值与区间；没有老师的为 ``None``。
    """

    name: str
    values: tuple[float, ...]
    mean: Interval
    gap: Interval | None


def compare_students(config: Any, kind: type[DistillConfig], run: Callable[[Any], None]) -> list[Row]:
    """逐个训练，写下表与网页，说出结果。

    Args:
        config: 设置，``DistillSeedsConfig`` 一类。
        kind: 一次蒸馏的设置的类型。
        run: 蒸馏一次。

    Returns:
        各种教法的结果，没有老师的在前。

    Raises:
        UserError: 文件夹里是另一份设置的研究，或给了对研究没有意义的 flag。
    """
    folder = open_study(config, "distillation")
    seeds = range(config.seed, config.seed + config.seeds)
    levels = ("logits", "sequence") if config.level == "both" else (config.level,)
    values = {name: [_trained(_cell(config, kind, folder, name, seed), run) for seed in seeds]
              for name in (ALONE, *levels)}  # fmt: skip
    alone = np.array(values[ALONE])
    rows = [
        Row(name, tuple(one), seed_interval(np.array(one)), None if name == ALONE else seed_interval(one - alone))
        for name, one in values.items()
    ]
    save_json(folder / f"{RESULT}.json", {"figure": FIGURE, "steps": config.steps, "seeds": list(seeds),
                                          "rows": [_plain(row) for row in rows]})  # fmt: skip
    print(*table_lines(rows), f"page: {_page(folder, rows, config.steps)}", sep="\n")
    return rows


def _cell(config: Any, kind: type[DistillConfig], folder: Path, name: str, seed: int) -> Any:
    """一次训练的设置；只留它自己用得着的几项。"""
    shared = {field.name: getattr(config, field.name) for field in fields(kind)}
    for key in ("teacher", "from_run"):  # 名字是相对原来的 ``--runs-dir`` 说的
        shared[key] = shared[key] and str(run_folder(config.runs_dir, shared[key]).resolve())
    level = "sequence" if name == "sequence" else "logits"
    usual = {field.name: field.default for field in fields(DistillConfig)}
    unused = ("alpha", "temperature", "reverse") if level == "sequence" else (
        "sequences", "prompt_tokens", "sampling_temperature")  # fmt: skip
    chosen = {**shared, **{key: usual[key] for key in unused}, "level": level, "seed": seed}
    if name == ALONE:
        chosen["alpha"] = 0.0
    run = f"{name.replace(' ', '-')}-seed{seed}"
    return kind(**{**chosen, "run": run, "runs_dir": str(folder / CELLS)})


def _trained(config: Any, run: Callable[[Any], None]) -> float:
    """训练一次；做完了的直接取结果，停在半路的接着走。"""
    if config.steps not in list_checkpoints(config.folder):
        run(replace(config, resume=(config.folder / CONFIG).is_file()))
    return [float(record[FIGURE]) for record in read_metrics(config.folder) if FIGURE in record][-1]


def table_lines(rows: Sequence[Row]) -> list[str]:
    """给终端看的表。"""
    lines = ["student       bits/byte  95% interval        minus no teacher, paired over the seeds"]
    for row in rows:
        mean = f"{row.mean.value:9.4f}  {row.mean.low:.4f} to {row.mean.high:.4f}"
        gap = "" if row.gap is None else f"    {row.gap.value:+.4f} [{row.gap.low:+.4f}, {row.gap.high:+.4f}]"
        lines.append(f"{row.name:12s}  {mean}{gap}  (n = {row.mean.n} seeds)")
    return lines


def _plain(row: Row) -> dict[str, Any]:
    gap = None if row.gap is None else asdict(row.gap)
    return {"name": row.name, "values": list(row.values), "mean": asdict(row.mean), "gap": gap}


def _page(folder: Path, rows: Sequence[Row], steps: int) -> Path:
    """表与条形图。"""
    from tinygrad_llm.common.report import Section, bar_chart, page, preformatted, write_page

    means = [row.mean.value for row in rows]
    chart = bar_chart([row.name for row in rows], means, title="各种教法", x_label="验证集的 bits/byte，各种子的平均")
    note = f"同一个学生，各走 {steps:,} 步；越低越好。差是同一个种子配对相减，区间由 t 分布得出。"
    sections = [Section("数字", preformatted("\n".join(table_lines(rows))), note), Section("图", chart)]
    path = folder / f"{RESULT}.html"
    write_page(path, page(folder.resolve().name, sections, subtitle="老师教学生"))
    return path
