"""分类那一页的数字：几次真正的训练与一次消融。

流入：``classify`` 的几个运行与 ``classify-grid`` 写下的文件夹；流出：随仓库保存的 ``recipes/classification.json`` 与
图，以及 ``torch_llm/CLASSIFICATION.md`` 里 ``<!-- classification -->`` 标记之间的文字。
用法：``python -m parity_tests.house.classification --grid runs/grid --runs runs/topic runs/spam``；不给的沿用保存着的。
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from parity_tests.house.repo import ROOT, write_block
from tinygrad_llm.common.report_text import rows_of
from tinygrad_llm.common.runlog import CONFIG, read_metrics
from tinygrad_llm.common.scoring.intervals import wilson_interval
from tinygrad_llm.common.toml import load_toml
from tinygrad_llm.common.tuning.config import TorchClassifyConfig
from tinygrad_llm.common.tuning.confusion import load_held_out

__all__ = ["PAGE", "RESULT", "expected"]

PAGE = ROOT / "torch_llm" / "CLASSIFICATION.md"
RESULT = ROOT / "torch_llm" / "recipes" / "classification.json"
PICTURE = RESULT.with_suffix(".svg")
RUNS = ["出发点", "数据", "学的", "步 × 批", "n", "正确率", "95 % 区间", "词袋基线", "靠猜"]
ROWS = ["变的是", "取值", "学的参数", "n × 种子", "正确率", "95 % 区间", "± 种子", "比缺省"]


def told(run: Path) -> dict[str, Any]:
    """一个运行的数字。"""
    settings, found = load_toml(run / CONFIG, TorchClassifyConfig), load_held_out(run)
    rank, last = settings.lora_rank, settings.last_layers
    scope = f"LoRA，秩 {rank}" if rank else "全部" if last is None else f"头与末 {last} 层" if last else "头"
    return {
        "from": Path(settings.from_run).name,
        "data": settings.data,
        "scope": scope,
        "steps": settings.steps,
        "batch": settings.batch_size,
        "n": int(found.truth.size),
        "right": int((found.guesses == found.truth).sum()),
        "bag_of_words": int((found.bag_of_words == found.truth).sum()),
        "chance": found.chance,
        "training_s": sum(record.get("elapsed_s", 0.0) for record in read_metrics(run)),
    }


def expected() -> str:
    """页面里该有的文字。"""
    kept = json.loads(RESULT.read_text(encoding="utf-8"))
    parts = [
        "各个任务（留作评估的文字，没有一组名字在训练里出现过）：",
        rows_of(RUNS, [_run(one) for one in kept["runs"]]),
    ]
    grid, default = kept["grid"], kept["grid"]["rows"][0]
    seeds, bag = len(default["seeds"]), grid["bag_of_words"]["accuracy"]
    levels = "，".join(f"{name} {level}" for name, level in default["levels"].items())
    parts.append(
        f"一次消融：{grid['texts']:,} 段文字，评估 {grid['n']:,} 段，{seeds} 个种子，{grid['steps']} 步；"
        f"总猜最多的一类对 {grid['chance']:.1%}，词袋基线 {bag:.1%}。缺省的一格：{levels}。"
    )
    picture = PICTURE.relative_to(PAGE.parent).as_posix()
    parts += [rows_of(ROWS, [_cell(one) for one in grid["rows"]]), f"![各格的正确率与区间]({picture})"]
    return "\n\n".join(parts)


def _run(one: dict[str, Any]) -> list[str]:
    found = wilson_interval(one["right"], one["n"])
    return [
        one["from"], one["data"], one["scope"], f"{one['steps']} × {one['batch']}", str(one["n"]), f"{found.value:.1%}",
        f"{found.low:.1%}–{found.high:.1%}", f"{one['bag_of_words'] / one['n']:.1%}", f"{one['chance']:.1%}",
    ]  # fmt: skip


def _cell(one: dict[str, Any]) -> list[str]:
    gap, spread = one["difference_interval"], one["half_width_seeds"]
    return [
        one["factor"] or "缺省",
        one["levels"][one["factor"]] if one["factor"] else "–",
        f"{one['trained']:,}",
        f"{one['n']} × {len(one['seeds'])}",
        f"{one['accuracy']:.1%}",
        f"{one['interval'][0]:.1%}–{one['interval'][1]:.1%}",
        "–" if spread is None else f"{spread:.1%}",
        "–" if gap is None else f"{one['difference']:+.1%} [{gap[0]:+.1%}, {gap[1]:+.1%}]",
    ]


def main() -> None:
    """保存结果，重写那一页。"""
    parser = argparse.ArgumentParser(prog="python -m parity_tests.house.classification")
    parser.add_argument("--grid", type=Path, help="what classify-grid wrote")
    parser.add_argument("--runs", type=Path, nargs="+", help="runs of classify")
    given = parser.parse_args()
    kept = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {"runs": [], "grid": None}
    if given.grid is not None:
        kept["grid"] = json.loads((given.grid / "grid.json").read_text(encoding="utf-8"))
        shutil.copy(given.grid / "grid.svg", PICTURE)
    if given.runs:
        kept["runs"] = [told(run) for run in given.runs]
    RESULT.write_text(json.dumps(kept, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(write_block(PAGE.read_text(encoding="utf-8"), "classification", expected()), encoding="utf-8")


if __name__ == "__main__":
    main()
