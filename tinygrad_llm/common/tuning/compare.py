"""``sft-compare``：同样的数据，全部参数、末几层、LoRA 各练一次，比答对几成、忘了多少、要多少内存与时间。

流入：设置；流出：每格一个普通的运行文件夹，与合起来的 ``compare.json``、``compare.html``、``compare.md``。
每格各在一个进程里练，内存的峰值因此是它自己的；停下之后同样的命令再跑一次就接着走，练完的不再练。
先读 ``ways.py``。下一个文件：``compare_report.py``。
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.checkpoint import list_checkpoints, read_state, step_folder
from tinygrad_llm.common.config import GPTConfig, parameter_count
from tinygrad_llm.common.errors import InterruptedRunError, UserError
from tinygrad_llm.common.files import file_digest, write_atomically
from tinygrad_llm.common.forgetting import Forgetting, forgetting, watched_names
from tinygrad_llm.common.runlog import CONFIG, read_metrics
from tinygrad_llm.common.session import model_of
from tinygrad_llm.common.signals import GracefulStop
from tinygrad_llm.common.study.cells import open_study
from tinygrad_llm.common.toml import dump_toml
from tinygrad_llm.common.tuning.quiz_log import QUIZ
from tinygrad_llm.common.tuning.ways import Arm, SftCompareConfig, arms

__all__ = ["Measured", "compare_ways", "measured"]

POLL_S = 0.2
LOG, SETTINGS = "log.txt", "settings"


@dataclass(frozen=True)
class Measured:
    """一格的结果。

    Attributes:
        way: 学法。
        seed: 种子。
        right: 每道留作评估的题对不对，训练之后。
        before: 训练之前答对几成。
        losses: 留作评估的对话的损失，训练前后。
        forgotten: 各份旧数据训练前后的 bits per byte。
        trained: 学了几个参数。
        parameters: 模型共几个参数。
        memory_bytes: 内存峰值。
        step_s: 一步的中位数，秒。
        total_s: 各步与各次评估合计，秒。
        stored_bytes: 要存的权重（检查点里的那一份）。
    """

    way: str
    seed: int
    right: NDArray[np.bool_]
    before: float
    losses: tuple[float, float]
    forgotten: dict[str, Forgetting]
    trained: int
    parameters: int
    memory_bytes: int
    step_s: float
    total_s: float
    stored_bytes: int

    @property
    def exact_match(self) -> float:
        """训练之后答对几成。"""
        return float(self.right.mean())


def compare_ways(config: SftCompareConfig, package: str) -> list[Measured]:
    """各练一次，写下表与图。

    Args:
        config: 设置。
        package: 由哪个包的 ``sft`` 来练。

    Returns:
        各格的结果。

    Raises:
        UserError: 设置不对，文件夹里是另一份设置的比较，或某一格没有练完。
        InterruptedRunError: 收到信号；同样的命令再跑一次就接着走。
    """
    from tinygrad_llm.common.tuning.compare_report import publish

    cells = arms(config)
    folder = open_study(config, "sft-compare", _digest(config))
    found = []
    for number, arm in enumerate(cells, start=1):
        print(f"{number}/{len(cells)}: {arm.way.name}, seed {arm.seed}", flush=True)
        train_arm(arm, folder, package)
        found.append(measured(arm))
    publish(folder, config, found)
    return found


def train_arm(arm: Arm, folder: Path, package: str) -> None:
    """练一格；练完的跳过，停在半路的接着走。

    Args:
        arm: 一格。
        folder: 比较的文件夹。
        package: 由哪个包来练。

    Raises:
        UserError: 没有练完。
        InterruptedRunError: 收到信号。
    """
    run = arm.settings.folder
    if is_done(run):
        return
    path = folder / SETTINGS / f"{run.name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, dump_toml(arm.settings).encode())
    words = ["--config", str(path)]
    if (run / CONFIG).is_file():
        words = ["--resume", "--run", run.name, "--runs-dir", str(run.parent)]
    log = folder / SETTINGS / f"{run.name}-{LOG}"
    with log.open("ab") as file, GracefulStop() as stop:
        child = subprocess.Popen(
            [sys.executable, "-m", package, "sft", *words],
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip  # 自成一组：Ctrl-C 只由这里转告一次，它收到第二次就不存档了
        passed_on = False
        while child.poll() is None:
            if stop.requested and not passed_on:
                passed_on = True
                child.send_signal(stop.requested)
            time.sleep(POLL_S)
    if stop.requested:
        raise InterruptedRunError(
            f"stopped during {run.name}", where=str(folder), fix="run the same command again to go on",
            exit_code=stop.exit_code,
        )  # fmt: skip
    if child.returncode:
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
        raise UserError(f"{run.name} failed: {' '.join(said)[-600:]}", where=str(log), fix="see the log")


def is_done(run: Path) -> bool:
    """这次运行练完了没有；提前停下的也算，它写了报告。"""
    if (run / "report.html").is_file():
        return True
    kept = list_checkpoints(run)
    return bool(kept) and bool(read_state(step_folder(run, str(kept[-1])))["settings"]["steps"] == kept[-1])


def measured(arm: Arm) -> Measured:
    """由一格的运行文件夹得出结果。

    Args:
        arm: 练完的一格。
    """
    run = arm.settings.folder
    metrics = read_metrics(run)
    looks = [record for record in metrics if "exact_match" in record]
    steps = [record for record in metrics if "elapsed_s" in record]
    last = step_folder(run, str(list_checkpoints(run)[-1]))
    config = GPTConfig.from_dict(model_of(read_state(last)))
    shapes = arm.settings.scope.shapes(config)
    old = {name: forgetting(metrics, name) for name in watched_names(metrics)}
    return Measured(
        way=arm.way.name,
        seed=arm.seed,
        right=np.array(json.loads((run / QUIZ).read_bytes())["after"], bool),
        before=float(looks[0]["exact_match"]),
        losses=(float(looks[0]["val_loss"]), float(looks[-1]["val_loss"])),
        forgotten={name: one for name, one in old.items() if one is not None},
        trained=parameter_count(config) if shapes is None else sum(map(math.prod, shapes.values())),
        parameters=parameter_count(config),
        memory_bytes=max(int(record["memory_bytes"]) for record in steps),
        step_s=statistics.median(float(record["elapsed_s"]) for record in steps),
        total_s=total(steps, "elapsed_s") + total(metrics, "eval_s"),
        stored_bytes=(last / "model.safetensors").stat().st_size,
    )


def _digest(config: SftCompareConfig) -> str:
    """数据文件的摘要；故事世界的数据由写法决定。"""
    parts = [part.strip() for part in f"{config.data},{config.val_data}".split(",")]
    found = [file_digest(Path(part)) if Path(part).is_file() else part for part in parts]
    return hashlib.sha256("\n".join(found).encode()).hexdigest()


def total(records: Any, name: str) -> float:
    """日志里一项数字之和。"""
    return float(sum(record[name] for record in records if name in record))
