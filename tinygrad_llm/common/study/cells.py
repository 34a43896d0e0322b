"""一格：研究里的一次小训练，本身是一个普通的运行文件夹；跑过的不再跑，跑到一半的接着跑。

流入：一格的设置与引擎；流出：验证损失、bits per byte、用时，写在 ``cell.json``。下一个文件：``sweep.py``。
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from tinygrad_llm.common.batches.sources import data_digest, open_sources
from tinygrad_llm.common.checkpoint import list_checkpoints
from tinygrad_llm.common.engine import StepResult
from tinygrad_llm.common.errors import DataError, DivergedError, UserError
from tinygrad_llm.common.files import write_atomically
from tinygrad_llm.common.runlog import CONFIG, read_metrics
from tinygrad_llm.common.session import Session, prepare
from tinygrad_llm.common.train_config import TrainConfig

__all__ = ["CELL", "CELLS", "Cell", "Lab", "OnStep", "base_settings", "open_study", "run_cell", "save_json"]

OnStep = Callable[[int, StepResult], None]

CELL, STUDY, CELLS = "cell.json", "study.json", "cells"
PLACE = ("run", "runs_dir", "resume", "stop_at", "profile", "keep", "workers")
"""与研究的是什么无关的设置：在哪里、用几个核。"""


class Lab(NamedTuple):
    """一个引擎的实验台。

    Attributes:
        settings_type: 它的训练设置。
        run: 跑完备好的一次训练。
    """

    settings_type: type[TrainConfig]
    run: Callable[[Session, Any, OnStep | None], None]


class Cell(NamedTuple):
    """一格的结果。

    Attributes:
        name: 名字，即运行文件夹的名字。
        val_loss: 末尾的验证损失（纳特每 token）；发散了是无穷。
        bits_per_byte: 末尾的 bits per byte；发散了是无穷。
        tokens: 训练了多少 token。
        elapsed_s: 各步用时之和，秒。
    """

    name: str
    val_loss: float
    bits_per_byte: float
    tokens: int
    elapsed_s: float


def base_settings(config: TrainConfig, lab: Lab, **changes: Any) -> TrainConfig:
    """从研究的设置里取出训练的设置，改掉几项。

    Args:
        config: 研究的设置；它是训练设置的子类。
        lab: 实验台。
        **changes: 要改的几项。
    """
    kept = {field.name: getattr(config, field.name) for field in fields(lab.settings_type)}
    return lab.settings_type(**{**kept, **changes})


def open_study(config: TrainConfig, kind: str, digest: str = "") -> Path:
    """打开（或新建）研究的文件夹；里面若是另一份设置的研究，拒绝。

    Args:
        config: 研究的设置，``folder`` 是研究的文件夹。
        kind: 哪一种研究。
        digest: 数据的摘要；缺省由 ``--data`` 的分片算出。

    Returns:
        研究的文件夹。

    Raises:
        UserError: 文件夹里是别的东西，或设置变了；或给了对研究没有意义的 flag。
        DataError: 写不进去。
    """
    pointless = [name for name in ("resume", "stop_at", "profile", "dry_run") if getattr(config, name)]
    if pointless:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in pointless)
        raise UserError(
            f"a study does not take {flags}", where=f"study {kind}", fix="drop it; the same command again goes on"
        )
    folder = config.folder
    wanted = {"kind": kind, "settings": _plain(config)}
    if digest or config.data:
        wanted["data"] = digest or data_digest(open_sources(config.data))
    path = folder / STUDY
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        changed = _changed(found, wanted)
        if changed:
            raise UserError(
                f"this folder holds a study with other settings: {', '.join(changed)}",
                where=str(folder),
                fix="repeat its command to go on with it, or give the new study another --run NAME",
            )
    elif folder.exists() and any(folder.iterdir()):
        raise UserError("this folder is in use", where=str(folder), fix="give the study another --run NAME")
    save_json(path, wanted)
    return folder


def run_cell(settings: TrainConfig, lab: Lab) -> Cell:
    """跑一格，或取回它先前的结果。

    Args:
        settings: 一格的设置，``folder`` 是它的运行文件夹。
        lab: 实验台。

    Returns:
        结果；训练发散也是一种结果。

    Raises:
        InterruptedRunError: 收到信号；同样的命令再跑一次就接着走。
    """
    path = settings.folder / CELL
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        losses = (_finite(kept["val_loss"]), _finite(kept["bits_per_byte"]))
        return Cell(str(kept["name"]), *losses, int(kept["tokens"]), float(kept["elapsed_s"]))
    diverged = False
    if settings.steps not in list_checkpoints(settings.folder):
        begun = (settings.folder / CONFIG).is_file()
        own = replace(settings, resume=begun)
        try:
            lab.run(prepare(own), own, None)
        except DivergedError:
            diverged = True
    cell = _result(settings, diverged)
    record = {name: value if value != math.inf else None for name, value in cell._asdict().items()}
    save_json(path, record)
    return cell


def _result(settings: TrainConfig, diverged: bool) -> Cell:
    """由日志得出结果。"""
    metrics = read_metrics(settings.folder)
    measured = [record for record in metrics if "val_loss" in record]
    steps = [record for record in metrics if "elapsed_s" in record]
    last = {} if diverged or not measured else measured[-1]
    return Cell(
        settings.run,
        _finite(last.get("val_loss")),
        _finite(last.get("val_bits_per_byte")),
        round(sum(record["elapsed_s"] * record["tokens_per_s"] for record in steps)),
        sum(record["elapsed_s"] for record in steps),
    )


def save_json(path: Path, value: Any) -> None:
    """可靠地写下一份 JSON。

    Raises:
        DataError: 写不进去。
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False)
        write_atomically(path, f"{text}\n".encode())
    except OSError as error:
        raise DataError(f"cannot write: {error.strerror}", where=str(path), fix="check the folder") from error


def _finite(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.inf


def _plain(config: TrainConfig) -> dict[str, Any]:
    kept = {name: value for name, value in asdict(config).items() if name not in PLACE}
    plain: dict[str, Any] = json.loads(json.dumps(kept, default=str))
    return plain


def _changed(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """变了的设置的名字。"""
    before, after = found.get("settings", {}), wanted["settings"]
    names = [name for name in after if before.get(name) != after[name]]
    return [*(name for name in ("kind", "data") if found.get(name) != wanted.get(name)), *names]
