"""学习率试探、超参数的搜索与伸缩律：从命令行跑到文件。"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity_tests.whole_runs.commands import ENGINES, TINY, Ended, Place
from tinygrad_llm.common.checkpoint import load_checkpoint
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.runlog import read_metrics
from tinygrad_llm.common.study.cells import Cell
from tinygrad_llm.common.study.lr_range import exponential, read_curve, smoothed
from tinygrad_llm.common.study.sweep import Sweep, choices, ranked
from tinygrad_llm.common.study.tables import half_width
from tinygrad_llm.common.train_config import TrainConfig

MODEL_OF_SIZES = ("n_layer", "n_embd", "n_head")


def study(place: Place, engine: str, verb: str, *more: str, **changes: Any) -> Ended:
    """跑一个研究。"""
    flags = place.flags("study", {"eval_every": 0, "sample_every": 0, "save_every": 0, **changes})
    return place.call(engine, "study", verb, *flags, *more)


def result(place: Place, name: str) -> Any:
    """研究写下的 JSON；图与 Markdown 也须都在。"""
    folder = place.runs / "study"
    for suffix in (".png", ".svg", ".md"):
        assert (folder / name).with_suffix(suffix).stat().st_size > 100
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("engine", ENGINES)
def test_range_test_does_not_use_its_rates(place: Place, engine: str) -> None:
    """日志里的学习率就是指数的那一串；建议的一个在最陡与最低之间；再跑一次直接给出结果。"""
    done = study(place, engine, "lr-range", steps=30, lr_low=1e-4, lr_high=3.0)
    assert done.code == 0, done.err
    found = result(place, "lr_range")
    used = [record["lr"] for record in read_metrics(place.runs / "study" / "cells" / "sweep") if "lr" in record]
    assert used[: len(found["rows"])] == [row[0] for row in found["rows"]]
    np.testing.assert_allclose(used, np.geomspace(1e-4, 3.0, 30)[: len(used)], rtol=1e-12)
    assert found["steepest"] <= found["suggested"] <= found["lowest"]
    again = study(place, engine, "lr-range", steps=30, lr_low=1e-4, lr_high=3.0)
    assert "finished before" in again.out
    assert f"{found['suggested']:.2g}" in again.out


def test_range_reading_is_off() -> None:
    """手造的曲线：先平、再沿斜坡下降、触底、冲高；读数在该在的地方。"""
    rates = [exponential(t, 1e-5, 1.0, 101) for t in range(101)]
    assert rates[0] == 1e-5
    assert rates[-1] == pytest.approx(1.0, rel=1e-12)
    losses = [5.0] * 40 + [5.0 - 0.1 * t for t in range(30)] + [2.1] * 5 + [2.1 + t for t in range(26)]
    reading = read_curve(rates, losses, 0.0)
    assert rates[40] <= reading.steepest <= rates[70]
    assert rates[69] <= reading.lowest <= rates[75]
    with pytest.raises(UserError, match="never fell"):
        read_curve(rates, [float(t) for t in range(101)], 0.5)
    np.testing.assert_allclose(smoothed([4.0] * 9, 0.9), 4.0)  # 去掉了起点的偏差


@pytest.mark.parametrize("engine", ENGINES)
def test_sweep_is_not_sorted_or_repeats_cells(place: Place, engine: str) -> None:
    """由好到坏；每格正是同样设置的一次普通训练；再跑一次一格也不重来，数字不变。"""
    more = ("--grid", "lr=1e-5,3e-3", "--seeds=2", "--budget-steps=6")
    done = study(place, engine, "sweep", *more)
    assert done.code == 0, done.err
    rows = result(place, "sweep")["rows"]
    assert [row["values"]["lr"] for row in rows] == [3e-3, 1e-5]
    assert rows[0]["bits_per_byte"] < rows[1]["bits_per_byte"]
    assert all(len(row["seeds"]) == 2 for row in rows)
    assert place.train(engine, "alone", lr=3e-3, steps=6, seed=1).code == 0
    measured = [record["val_bits_per_byte"] for record in read_metrics(place.runs / "alone") if "val_loss" in record]
    assert rows[0]["seeds"][1] == measured[-1]
    before = {path: path.stat().st_mtime_ns for path in (place.runs / "study" / "cells").rglob("metrics.jsonl")}
    assert len(before) == 4
    assert study(place, engine, "sweep", *more).code == 0
    assert {path: path.stat().st_mtime_ns for path in (place.runs / "study" / "cells").rglob("metrics.jsonl")} == before
    assert result(place, "sweep")["rows"] == rows


def test_interrupted_cell_starts_over_or_differs(place: Place) -> None:
    """一格停在半途：同样的命令接着走，结果与没停过的相同。"""
    more = ("--grid", "lr=3e-3", "--budget-steps=8")
    assert study(place, "torch", "sweep", *more).code == 0
    expected = result(place, "sweep")["rows"]
    cell = place.runs / "study" / "cells" / "lr=0.003_seed=0"
    whole = load_checkpoint(cell).model
    flags = {"lr": 3e-3, "steps": 8, "sample_every": 0, "save_every": 0, "eval_every": 0, "keep": 1, "stop_at": 3}
    for path in sorted(cell.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    cell.rmdir()
    assert place.train("torch", cell.name, **{**flags, "runs_dir": cell.parent}).code == 0
    assert study(place, "torch", "sweep", *more).code == 0
    assert result(place, "sweep")["rows"][0]["seeds"] == expected[0]["seeds"]
    assert all(np.array_equal(load_checkpoint(cell).model[name], array) for name, array in whole.items())


@pytest.mark.parametrize("engine", ENGINES)
def test_scaling_study_loses_a_cell_or_its_fit(place: Place, engine: str) -> None:
    """两种大小、三种 token 数：六个点都在，N 是矩阵的元素数，拟合与区间、图都写下。"""
    changes = dict.fromkeys(MODEL_OF_SIZES)
    more = ("--sizes", "16x1", "32x1", "--budgets", "640", "1280", "2K", "--draws=10")
    done = study(place, engine, "scaling", *more, **changes)
    assert done.code == 0, done.err
    found = result(place, "scaling")
    assert [(point["size"], point["d"]) for point in found["points"]] == [
        (size, tokens) for size in ("16x1", "32x1") for tokens in (640, 1280, 1984)
    ]
    assert found["points"][0]["n"] == 12 * 16 * 16 + 16 * TINY["vocab_size"]
    assert all(math.isfinite(value) for value in found["law"].values())
    assert set(found["intervals_90"]) == {*found["law"], "exponent of N*"}


def config(**changes: Any) -> Sweep:
    """一份搜索的设置。"""
    return Sweep(run="s", **changes)


def test_grid_or_random_values_are_wrong() -> None:
    """网格是各取值的乘积；随机的值落在区间里、按对数均匀、与次数无关地可复现。"""
    grid = choices(config(grid=("lr=1e-3,2e-3", "optimizer=adamw,muon", "--batch-size=8")), TrainConfig)
    assert len(grid) == 4
    assert grid[0] == {"lr": 1e-3, "optimizer": "adamw", "batch_size": 8}
    drawn = choices(config(space=("lr=1e-4..1e-2", "n_layer=2..4", "weight_decay=0..0.2"), trials=200), TrainConfig)
    rates = np.array([one["lr"] for one in drawn])
    assert 1e-4 <= rates.min() < rates.max() <= 1e-2
    assert abs(np.mean(np.log10(rates)) + 3) < 0.1
    assert {one["n_layer"] for one in drawn} <= {2, 3, 4}
    few = choices(config(space=("lr=1e-4..1e-2", "n_layer=2..4", "weight_decay=0..0.2"), trials=3), TrainConfig)
    assert drawn[:3] == few


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--grid", "lr=fast"), "lr cannot be 'fast'"),
        (("--grid", "speed=1"), "not a setting to vary: 'speed'"),
        (("--grid", "optimizer=sgd,best"), "--optimizer must be one of"),
        (("--grid", "lr=1e-3", "lr=2e-3"), "named twice"),
        (("--space", "lr=1e-3"), "not an interval"),
        ((), "give either --grid or --space"),
        (("--grid", "lr=1e-3", "--resume"), "--resume"),
    ],
)
def test_mistake_in_a_sweep_starts_it(place: Place, flags: tuple[str, ...], told: str) -> None:
    """写错的一格在开跑之前就说清；什么也没写下。"""
    done = study(place, "numpy", "sweep", *flags)
    assert done.code == 2
    assert told in done.err
    assert not (place.runs / "study").exists()


def test_other_settings_are_mixed_into_a_study(place: Place) -> None:
    """同一个文件夹换了设置再跑：拒绝，指名变了什么。"""
    more = ("--grid", "lr=3e-3", "--budget-steps=2")
    assert study(place, "numpy", "sweep", *more).code == 0
    done = study(place, "numpy", "sweep", *more, batch_size=2)
    assert done.code == 2
    assert "batch_size" in done.err
    assert study(place, "numpy", "sweep", *more, workers=1).code == 0


def test_rows_or_intervals_are_wrong() -> None:
    """同样取值的几个种子合成一行；发散的排在最后；区间与手算的 t 区间相同。"""
    cells = [Cell("a", 1.0, score, 10, 1.0) for score in (2.0, 2.2, 1.0, 1.4, math.inf)]
    rows = ranked(list(zip([{"lr": 1}, {"lr": 1}, {"lr": 2}, {"lr": 2}, {"lr": 3}], cells, strict=True)))
    assert [row.values["lr"] for row in rows] == [2, 1, 3]
    assert rows[0].scores == [1.0, 1.4]
    assert half_width([1.0, 1.4]) == pytest.approx(12.706 * math.sqrt(0.08) / math.sqrt(2))
    assert math.isnan(half_width([1.0]))


def test_path_of_a_study_is_in_its_cells(place: Place, tmp_path: Path) -> None:
    """研究搬了家，再跑一次仍认得做过的格。"""
    more = ("--grid", "lr=3e-3", "--budget-steps=2")
    assert study(place, "numpy", "sweep", *more).code == 0
    place.runs.rename(tmp_path / "elsewhere")
    place.runs = tmp_path / "elsewhere"
    assert study(place, "numpy", "sweep", *more).code == 0
