"""``classify-grid``：分类的消融，一条命令。

流入：``classify`` 的设置与要变的几样（特征取哪里、学哪些参数、怎样填充、看不看得见后文、从哪个模型出发）；
流出：每一格几个种子的结果。缺省一次只变一样，``--full-grid`` 是全部的组合。每一格是一个普通的运行，做完的不再做，
同样的命令再跑一次就接着走。下一个文件：``classify_table.py``。
"""

from __future__ import annotations

import itertools
import json
import math
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from tinygrad_llm.common.checkpoint import FOLDER, list_checkpoints
from tinygrad_llm.common.config import parameter_count
from tinygrad_llm.common.errors import DivergedError, InterruptedRunError, UserError
from tinygrad_llm.common.lineage import load_ancestor
from tinygrad_llm.common.run_names import run_folder
from tinygrad_llm.common.runlog import CONFIG, read_metrics
from tinygrad_llm.common.study.cells import CELL, CELLS, open_study, save_json
from tinygrad_llm.common.toml import load_toml
from tinygrad_llm.common.tuning.classify_settings import GridConfig
from tinygrad_llm.common.tuning.config import LORA_RATE, ClassifyConfig
from tinygrad_llm.common.tuning.labelled_rows import Padding

__all__ = ["Factor", "Outcome", "Row", "factors", "run_grid"]

Levels = dict[str, str]
RATES = {"head": 1e-2, "last": 2e-3, "lora": LORA_RATE}
"""只学一部分时的学习率：参数越少，要走得越快。"""


class Factor(NamedTuple):
    """要变的一样。

    Attributes:
        name: 名字。
        levels: 取值的名字到要改的设置；头一个是缺省的。
    """

    name: str
    levels: dict[str, dict[str, Any]]


class Outcome(NamedTuple):
    """一格的一个种子。

    Attributes:
        seed: 种子。
        guesses: 留作评估的各段文字猜的类别。
        macro_f1: 宏平均 F1。
        val_loss: 留作评估的损失。
        elapsed_s: 各步用时之和，秒。
        diverged: 训练发散了，猜测是发散之前的。
    """

    seed: int
    guesses: list[int]
    macro_f1: float
    val_loss: float
    elapsed_s: float
    diverged: bool


class Row(NamedTuple):
    """一格。

    Attributes:
        factor: 变的是哪一样；缺省的一格与全部的组合里为空。
        levels: 每一样的取值。
        outcomes: 各个种子的结果。
        trained: 学了几个参数。
        parameters: 模型与头共有几个参数。
    """

    factor: str
    levels: Levels
    outcomes: list[Outcome]
    trained: int
    parameters: int


def factors(config: GridConfig, fixed_tokens: int) -> list[Factor]:
    """要变的各样；缺省的取值由 ``classify`` 的那几项定，不在列的也补在头里。

    Args:
        config: 设置。
        fixed_tokens: ``fixed`` 填充到几个 token。
    """
    bases = [part.strip() for part in config.from_run.split(",")]
    if len({Path(base).name for base in bases}) < len(bases):
        raise UserError("--from names a run twice", where="classify-grid", fix="name every run once")
    sides, own = [_own_padding(config), *config.paddings], _own_scope(config)
    scopes = [own, *(word for word in config.trained if word.partition("@")[0] != own.partition("@")[0])]
    causals = ("yes" if config.causal else "no", *config.causals)
    return [
        # 各格另有自己的 runs_dir，所以出发点写成路径
        Factor("from", {Path(base).name: {"from_run": str(run_folder(config.runs_dir, base))} for base in bases}),
        Factor("pool", {pool: {"pool": pool} for pool in (config.pool, *config.pools)}),
        Factor("trained", dict(_trained(config, word) for word in scopes)),
        Factor("padding", {word: _padding(config, word, fixed_tokens) for word in sides}),
        Factor("causal", {word: {"causal": word == "yes"} for word in causals}),
    ]


def _own_scope(config: GridConfig) -> str:
    if config.lora_rank:
        return f"lora:{config.lora_rank}@{config.lr}"
    if config.last_layers is None:
        return "full"
    return f"last:{config.last_layers}@{config.lr}" if config.last_layers else f"head@{config.lr}"


def _trained(config: GridConfig, word: str) -> tuple[str, dict[str, Any]]:
    name, _, rate = word.partition("@")
    kind, _, count = name.partition(":")
    last = {"head": 0, "last": int(count or 0)}.get(kind)
    rank = int(count) if kind == "lora" else 0
    return name, {"last_layers": last, "lora_rank": rank, "lr": float(rate) if rate else RATES.get(kind, config.lr)}


def _own_padding(config: GridConfig) -> str:
    words = [config.padding, *(["fixed"] if config.pad_to else []), *([] if config.pad_mask else ["seen"])]
    return "-".join(words)


def _padding(config: GridConfig, word: str, fixed_tokens: int) -> dict[str, Any]:
    parts = word.split("-")
    side: Padding = "left" if "left" in parts else "right"
    length = (config.pad_to or fixed_tokens) if "fixed" in parts else 0
    return {"padding": side, "pad_to": length, "pad_mask": "seen" not in parts}


def _cells(found: Sequence[Factor], *, full: bool) -> Iterator[tuple[str, Levels]]:
    """各格：变的是哪一样，每一样的取值；缺省的在头里。"""
    default = {factor.name: next(iter(factor.levels)) for factor in found}
    if full:
        for levels in itertools.product(*(factor.levels for factor in found)):
            yield "", dict(zip(default, levels, strict=True))
        return
    yield "", default
    for factor in found:
        for level in factor.levels:
            if level != default[factor.name]:
                yield factor.name, {**default, factor.name: level}


def run_grid(config: GridConfig, kind: type[ClassifyConfig], run: Callable[[Any], None]) -> list[Row]:
    """跑完全部的格，写下表、图与网页。

    Args:
        config: 设置。
        kind: ``classify`` 的设置的类型。
        run: 训练一个分类器。

    Returns:
        各格，缺省的在头里。

    Raises:
        UserError: 设置不对；任何一格的设置不合法都在开跑之前发现。
        InterruptedRunError: 收到信号；同样的命令再跑一次就接着走。
    """
    from tinygrad_llm.common.tuning.classification import prepare_rows
    from tinygrad_llm.common.tuning.classify_table import write_grid
    from tinygrad_llm.common.tuning.session import open_base

    if config.resume or config.dry_run:
        raise UserError("classify-grid takes no --resume and no --dry-run", fix="the same command again goes on")
    shared = {field.name: getattr(config, field.name) for field in fields(kind)}
    first = str(run_folder(config.runs_dir, config.from_run.split(",")[0].strip()))
    base = open_base(kind(**{**shared, "from_run": first}))
    prepared = prepare_rows(base)
    longest = max(len(row) for rows in (prepared.train.rows, prepared.held_out.rows) for row in rows)
    varied = factors(config, config.fixed_tokens or min(2 * longest, base.model.context))
    levels = {(factor.name, name): changes for factor in varied for name, changes in factor.levels.items()}
    place = {"runs_dir": str(config.folder / CELLS), "watch": config.watch or "none", "keep": 1}
    place |= {"eval_every": 0, "sample_every": 0, "save_every": 0}
    plan = []
    for factor, chosen in _cells(varied, full=config.full_grid):
        changes = {name: value for one in chosen.items() for name, value in levels[one].items()}
        seeds = range(config.seed, config.seed + config.seeds)
        own = [kind(**{**shared, **place, **changes, "seed": s, "run": _folder(factor, chosen, s)}) for s in seeds]
        model = base.model if changes["from_run"] == first else load_ancestor(own[0]).model
        shapes = own[0].scope.shapes(model)  # 没有这么多层、没有要添支路的层，现在就说
        head, whole = len(prepared.labels) * (model.n_embd + 1), parameter_count(model)
        trained = whole if shapes is None else sum(map(math.prod, shapes.values()))
        plan.append((Row(factor, chosen, [], trained + head, whole + head), own))
    folder = open_study(config, "classify-grid", prepared.train.digest + prepared.held_out.digest)
    count = sum(len(own) for _, own in plan)
    print(f"{len(plan)} settings, {config.seeds} seed(s): {count} classifiers to train", flush=True)
    number = itertools.count(1)
    for row, own in plan:
        for settings in own:
            print(f"cell {next(number)}/{count}: {settings.run}", flush=True)
            row.outcomes.append(_outcome(settings, run, keep=config.keep_checkpoints))
    rows = [row for row, _ in plan]
    write_grid(folder, rows, prepared, config.steps)
    return rows


def _folder(factor: str, levels: Mapping[str, str], seed: int) -> str:
    """一格的文件夹名。"""
    shown = {factor: levels[factor]} if factor else levels
    return re.sub(r"[^\w.=+-]", "-", "_".join(f"{name}={level}" for name, level in shown.items())) + f"_seed{seed}"


def _outcome(settings: Any, run: Callable[[Any], None], *, keep: bool) -> Outcome:
    """跑一格，或取回先前的结果。"""
    from tinygrad_llm.common.tuning.confusion import load_held_out

    folder = settings.folder
    path, diverged = folder / CELL, False
    if path.is_file():
        return Outcome(**json.loads(path.read_text(encoding="utf-8")))
    if settings.steps not in list_checkpoints(folder):
        if (folder / CONFIG).is_file():
            settings = replace(load_toml(folder / CONFIG, type(settings)), resume=True)
        try:
            run(settings)
        except DivergedError:
            diverged = True
        except InterruptedRunError as error:
            error.fix = "the same command again goes on"
            raise
    metrics = read_metrics(folder)
    last = [record for record in metrics if "accuracy" in record][-1]
    elapsed = sum(record.get("elapsed_s", 0.0) for record in metrics)
    guesses = load_held_out(folder).guesses.tolist()
    found = Outcome(settings.seed, guesses, last["macro_f1"], last["val_loss"], elapsed, diverged)
    save_json(path, found._asdict())
    if not keep:
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
    return found
