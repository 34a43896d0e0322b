"""超参数的搜索：网格或随机，每种取值跑几个种子，按验证集的 bits per byte 排序。

流入：训练的设置与要变的几项（``--grid lr=1e-3,3e-3 optimizer=adamw,muon``，或 ``--space lr=1e-4..1e-2 --trials 8``）；
流出：一张表、一张图、JSON。每一格是一个普通的运行，跑完的不再跑，同样的命令再跑一次就接着走。
各取值共用同样的种子，于是可以成对比较：一行与最好的一行之差，由各种子的差得出均值与 95% 置信区间。
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.initial import philox
from tinygrad_llm.common.study.cells import CELLS, PLACE, Cell, Lab, base_settings, open_study, run_cell, save_json
from tinygrad_llm.common.study.figures import COLOURS, save_figure
from tinygrad_llm.common.study.tables import half_width, markdown_table, write_markdown
from tinygrad_llm.common.train_config import TrainConfig

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Row", "Sweep", "choices", "ranked", "run_sweep"]

Values = dict[str, Any]
RESULT = "sweep"
LOG_RATIO = 10.0
"""区间两端之比不小于它，就按对数均匀地抽。"""


@dataclass(frozen=True)
class Sweep(TrainConfig):
    """超参数搜索的设置。"""

    run: str = "sweep"
    """研究的名字；结果写在 ``RUNS_DIR/RUN/``。"""
    grid: tuple[str, ...] = ()
    """要变的设置与它的取值，如 ``lr=1e-3,3e-3``；几个相乘成网格。"""
    space: tuple[str, ...] = ()
    """要随机抽取的设置与区间，如 ``lr=1e-4..1e-2``；给出 ``--trials`` 次。"""
    trials: int = 8
    """随机抽几次；只用于 ``--space``。"""
    seeds: int = 1
    """每种取值跑几个种子。"""
    budget_steps: int = 0
    """每一格跑几步，学习率也按它安排；0 表示用 ``--steps``。"""

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = []
        if bool(self.grid) == bool(self.space):
            problems.append("give either --grid or --space")
        if self.seeds < 1 or self.trials < 1 or self.budget_steps < 0:
            problems.append("--seeds and --trials must be at least 1, --budget-steps at least 0")
        if problems:
            raise UserError("; ".join(problems), where="study sweep", fix="see --help")


class Row(NamedTuple):
    """表的一行：一种取值，各种子的结果。

    Attributes:
        values: 变了的设置。
        scores: 各种子的 bits per byte。
        val_losses: 各种子的验证损失。
        elapsed_s: 用时之和，秒。
    """

    values: Values
    scores: list[float]
    val_losses: list[float]
    elapsed_s: float

    @property
    def mean(self) -> float:
        """Bits per byte 的均值；有一个种子发散就是无穷。"""
        return sum(self.scores) / len(self.scores)


def choices(config: Sweep, settings_type: type[TrainConfig]) -> list[Values]:
    """各格的取值，次序固定。

    Args:
        config: 设置。
        settings_type: 引擎的训练设置。

    Returns:
        每格一个字典。

    Raises:
        UserError: 写法不对，没有这项设置，或取值的类型不对。
    """
    if config.grid:
        named = [_listed(text, settings_type) for text in config.grid]
        _check_names([name for name, _ in named])
        return [dict(zip([name for name, _ in named], picked, strict=True))
                for picked in itertools.product(*(values for _, values in named))]  # fmt: skip
    spaces = [_interval(text, settings_type) for text in config.space]
    _check_names([name for name, *_ in spaces])
    return [
        {name: _drawn(config.seed, trial, name, low, high) for name, low, high in spaces}
        for trial in range(config.trials)
    ]


def ranked(found: Sequence[tuple[Values, Cell]]) -> list[Row]:
    """同样取值的几格合成一行，按均值由好到坏排；相等时次序如给出的。"""
    rows: dict[str, Row] = {}
    for values, cell in found:
        row = rows.setdefault(repr(values), Row(values, [], [], 0.0))
        row.scores.append(cell.bits_per_byte)
        row.val_losses.append(cell.val_loss)
        rows[repr(values)] = row._replace(elapsed_s=row.elapsed_s + cell.elapsed_s)
    return sorted(rows.values(), key=lambda row: row.mean)


def run_sweep(config: Sweep, lab: Lab) -> list[Row]:
    """跑完全部的格，写下表与图。

    Args:
        config: 设置。
        lab: 实验台。

    Returns:
        由好到坏的各行。

    Raises:
        UserError: 设置不对；任何一格的设置不合法都在开跑之前发现。
        InterruptedRunError: 收到信号；同样的命令再跑一次就接着走。
    """
    steps = config.budget_steps or config.steps
    cells = []
    for values in choices(config, lab.settings_type):
        for seed in range(config.seed, config.seed + config.seeds):
            changes = {"steps": steps, "seed": seed, "sample_every": 0, "save_every": 0, "keep": 1, **values}
            place = {"run": _cell_name({**values, "seed": seed}), "runs_dir": str(config.folder / CELLS)}
            cells.append((values, base_settings(config, lab, **changes, **place)))
    folder = open_study(config, "sweep")
    found = []
    for number, (values, settings) in enumerate(cells, start=1):
        print(f"cell {number}/{len(cells)}: {settings.run}", flush=True)
        found.append((values, run_cell(settings, lab)))
    rows = ranked(found)
    table = _table(rows)
    save_json(folder / f"{RESULT}.json", {"rows": [_json_row(row) for row in rows]})
    save_figure(folder / RESULT, [lambda axes: _panel(axes, rows)])
    note = (
        f"{len(rows)} settings, {config.seeds} seed(s), {steps} steps each; bits per byte of the validation set, "
        "mean ± 95% interval over seeds; the last column pairs seeds with the best row."
    )
    write_markdown(folder / f"{RESULT}.md", "Hyper-parameter sweep", [note, table, f"![the sweep]({RESULT}.svg)"])
    print(f"{table}\nwrote {folder}")
    return rows


# ---- 取值的写法 ----


def _listed(text: str, settings_type: type[TrainConfig]) -> tuple[str, list[Any]]:
    """``lr=1e-3,3e-3``。"""
    name, hint, rest = _named(text, settings_type)
    return name, [_value(name, word.strip(), hint) for word in rest.split(",")]


def _interval(text: str, settings_type: type[TrainConfig]) -> tuple[str, Any, Any]:
    """``lr=1e-4..1e-2``。"""
    name, hint, rest = _named(text, settings_type)
    first, dots, last = rest.partition("..")
    low, high = (_value(name, word.strip(), hint) for word in (first, last)) if dots else ("", "")
    if any(isinstance(end, str | bool) for end in (low, high)) or not low < high:
        raise UserError(f"not an interval of numbers: {text[:60]!r}", where="--space", fix="write lr=1e-4..1e-2")
    return name, low, high


def _named(text: str, settings_type: type[TrainConfig]) -> tuple[str, Any, str]:
    flag, equals, rest = text.partition("=")
    name = flag.strip().lstrip("-").replace("-", "_")
    hints = get_type_hints(settings_type)
    known = {field.name for field in fields(settings_type)} - {*PLACE, "seed", "steps"}
    if not equals or not rest:
        raise UserError(f"cannot read {text[:60]!r}", where="study sweep", fix="write NAME=VALUE,VALUE")
    if name not in known:
        raise UserError(f"not a setting to vary: {name[:40]!r}", where="study sweep", fix="use a training flag")
    return name, hints[name], rest


def _value(name: str, word: str, hint: Any) -> Any:
    """一个取值，按字段的类型读。"""
    options = [option for option in get_args(hint) if option is not type(None)] or [hint]
    if get_origin(hint) is Literal:
        options = [str]
    for option in options:
        if option is bool and word in ("true", "false"):
            return word == "true"
        if option in (int, float):
            try:
                return option(word)
            except ValueError:
                continue
        if option is str:
            return word
    raise UserError(f"{name} cannot be {word[:40]!r}", where="study sweep", fix="see the type in --help")


def _check_names(names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise UserError("a setting is named twice", where="study sweep", fix="list all its values once")


def _drawn(seed: int, trial: int, name: str, low: Any, high: Any) -> Any:
    """第几次抽取的值：（种子，次序，名字）的纯函数。"""
    u = float(philox(seed, f"sweep {trial} {name}").random())
    if low > 0 and high / low >= LOG_RATIO:
        value = low * (high / low) ** u
    else:
        value = low + (high - low) * u
    return min(int(value), high) if isinstance(low, int) else float(f"{value:.4g}")


def _cell_name(values: Mapping[str, Any]) -> str:
    """一格的文件夹名。"""
    return re.sub(r"[^\w.=+-]", "-", "_".join(f"{name}={value}" for name, value in values.items()))


# ---- 表与图 ----


def _table(rows: Sequence[Row]) -> str:
    names = list(rows[0].values)
    lines = []
    for row in rows:
        gaps = [a - b for a, b in zip(row.scores, rows[0].scores, strict=True)]
        versus = "best" if row is rows[0] else _plus_minus(gaps, signed=True)
        values = [f"{row.values[name]}" for name in names]
        loss = sum(row.val_losses) / len(row.val_losses)
        lines.append([*values, _plus_minus(row.scores), _shown(loss), versus, f"{row.elapsed_s:.0f}"])
    return markdown_table([*names, "bits/byte", "loss", "vs best", "s"], lines)


def _plus_minus(values: Sequence[float], *, signed: bool = False) -> str:
    mean = sum(values) / len(values)
    if not math.isfinite(mean):
        return "diverged"
    half = half_width(values)
    return f"{mean:{'+' if signed else ''}.4f}" + (f" ± {half:.4f}" if math.isfinite(half) else "")


def _shown(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "–"


def _json_row(row: Row) -> dict[str, Any]:
    half = half_width(row.scores)
    return {
        "values": row.values,
        "bits_per_byte": row.mean if math.isfinite(row.mean) else None,
        "half_width_95": half if math.isfinite(half) else None,
        "seeds": [score if math.isfinite(score) else None for score in row.scores],
        "elapsed_s": row.elapsed_s,
    }


def _panel(axes: Axes, rows: Sequence[Row]) -> None:
    """各行的均值与区间，好的在上；发散的只留名字。"""
    for place, row in enumerate(rows):
        if not math.isfinite(row.mean):
            continue
        half = half_width(row.scores)
        axes.errorbar(row.mean, place, xerr=half if math.isfinite(half) else None, fmt="o", color=COLOURS[0], capsize=3)
        axes.plot(row.scores, [place] * len(row.scores), "|", color=COLOURS[1])
    labels = [", ".join(f"{name}={value}" for name, value in row.values.items()) for row in rows]
    axes.set_yticks(range(len(rows)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("bits per byte (mean, 95% interval, seeds)")
