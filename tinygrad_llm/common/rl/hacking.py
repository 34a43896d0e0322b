"""钻奖励的空子：把「答案出现过就算对」当奖励，模型学会什么都说一遍；两种补救各走一次，画在一起。

流入：设置与一个引擎；流出：一个初学者、三次训练，与 ``hacking.html``、``hacking.json``。

三次训练只差一处：``proxy`` 用有空子的奖励，``proxy+kl`` 多扣离开出发点的代价，``verified`` 换成核对过的奖励。
要看的是真正的成绩（留出的题上的 pass@1）与奖励分道扬镳。停下之后再跑一次同样的命令就接着走。
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from tinygrad_llm.common.checkpoint import list_checkpoints
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.rl.beginner import prepare_beginner
from tinygrad_llm.common.rl.curves import Outcome, pass_rows
from tinygrad_llm.common.rl.seeds import once
from tinygrad_llm.common.rl.settings import RLConfig
from tinygrad_llm.common.runlog import CONFIG, read_metrics, read_samples
from tinygrad_llm.common.session import Session
from tinygrad_llm.common.train_config import TrainConfig

__all__ = ["HackingConfig", "Workbench", "demonstrate"]

TASK, LEVEL = "storyworld:first+last+larger", 1
PAGE = "hacking"
BASE = "beginner"
WAYS: dict[str, dict[str, Any]] = {
    "proxy": {"reward": "contains", "kl_weight": 0.0},
    "proxy+kl": {"reward": "contains", "kl_weight": 1.0},
    "verified": {"reward": "verified", "kl_weight": 0.0},
}
"""三次训练的差别。"""


@dataclass(frozen=True)
class HackingConfig:
    """演示的设置。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("FlagCreatePairsOff",)

    run: str = "hacking"
    """放结果的文件夹的名字；各次训练在其中。"""
    runs_dir: str = "runs"
    """放各次运行的文件夹。"""
    base_steps: int = 150
    """初学者学几步。"""
    steps: int = 120
    """每次强化学习走几步。"""
    seed: int = 0
    """种子。"""
    workers: int | None = None
    """用几个 CPU 核；缺省为可用的核数。"""

    def __post_init__(self) -> None:
        problems = [
            f"--{name.replace('_', '-')} must be at least {least}, got {getattr(self, name)}"
            for name, least in (("base_steps", 1), ("steps", 2), ("seed", 0), ("workers", 1))
            if getattr(self, name) is not None and getattr(self, name) < least
        ]
        if self.steps % 2:
            problems.append(f"--steps must be even, got {self.steps}")
        if problems:
            raise UserError("; ".join(problems), where="demonstration settings", fix="correct the flags named above")

    @property
    def folder(self) -> Path:
        """放结果的文件夹。"""
        return Path(self.runs_dir) / self.run


class Workbench(NamedTuple):
    """一个引擎的工作台。

    Attributes:
        base: 监督训练的设置的类型。
        settings: 强化学习的设置的类型。
        supervise: 跑完备好的一次监督训练。
        reinforce: 跑完一次强化学习。
        fixed: 两种设置都要给的，例如设备。
    """

    base: type[TrainConfig]
    settings: type[RLConfig]
    supervise: Callable[[Session, Any], None]
    reinforce: Callable[[Any], Outcome]
    fixed: Mapping[str, Any]


def demonstrate(config: HackingConfig, bench: Workbench) -> dict[str, Outcome]:
    """造初学者，走三次，画在一起。

    Args:
        config: 设置。
        bench: 用哪个引擎。

    Returns:
        各次训练前后的考试。
    """
    shared = {
        "runs_dir": str(config.folder), "seed": config.seed, "workers": config.workers, "save_every": 0, **bench.fixed,
    }  # fmt: skip
    _begin(config, bench, shared)
    outcomes = {}
    for name, way in WAYS.items():
        every = max(2, config.steps // 12 * 2)
        settings = bench.settings(
            run=name, from_run=BASE, task=TASK, level=LEVEL, steps=config.steps, lr=2e-3, answer_tokens=12,
            eval_every=every, sample_every=every, **way, **shared,
        )  # fmt: skip
        outcomes[name] = once(settings, bench.reinforce)
    path = _write(config.folder, outcomes)
    print(*_told(outcomes, config.folder), sep="\n")
    print(f"page: {path}")
    return outcomes


def _begin(config: HackingConfig, bench: Workbench, shared: Mapping[str, Any]) -> None:
    """造初学者；造好了就不再造。"""
    settings = bench.base(
        run=BASE, n_layer=2, n_head=2, n_embd=64, context=96, steps=config.base_steps, batch_size=32, lr=2e-3,
        eval_every=0, sample_every=0, sample_tokens=1, **shared,
    )  # fmt: skip
    if config.base_steps in list_checkpoints(settings.folder):
        return
    if (settings.folder / CONFIG).is_file():
        raise UserError(
            "the beginner was not finished, or with another --base-steps",
            where=str(settings.folder),
            fix="remove the folder, or choose another --run NAME",
        )
    bench.supervise(prepare_beginner(settings, TASK, level=LEVEL, problems=2048), replace(settings))


def _measured(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """各次训练里每次考试的记录。"""
    return {name: [one for one in read_metrics(folder / name) if "pass_at_1" in one] for name in WAYS}


def _told(outcomes: Mapping[str, Outcome], folder: Path) -> list[str]:
    """给终端看的几行：奖励、真正的成绩、长度，前与后。"""
    lines = [f"{'':<10}{'contains':>18}{'right (pass@1)':>20}{'p':>9}{'length':>16}"]
    for name, records in _measured(folder).items():
        row, first, last = pass_rows(outcomes[name])[0], records[0], records[-1]
        lines.append(
            f"{name:<10}{first['val_contains']:>9.1%} ->{last['val_contains']:>6.1%}"
            f"{row['before']:>11.1%} ->{row['after']:>6.1%}{row['p']:>9.2g}"
            f"{first['val_length']:>8.1f} ->{last['val_length']:>5.1f}"
        )
    return lines


def _write(folder: Path, outcomes: Mapping[str, Outcome]) -> Path:
    """三条曲线画在一起，各附末尾的回答。"""
    from tinygrad_llm.common.report import Section, Series, line_chart, page, preformatted, side_by_side, write_page

    measured = _measured(folder)
    shown = {
        "val_contains": ("答案出现过的比例（有空子的奖励）", ""),
        "pass_at_1": ("答对的比例（真正要的）", ""),
        "val_length": ("回答的长度", "token"),
    }
    charts = []
    for key, (title, unit) in shown.items():
        lines = [
            Series(name, [float(one["step"] + 1) for one in records], [float(one[key]) for one in records])
            for name, records in measured.items()
        ]
        charts.append(line_chart(lines, title=title, x_label="步", y_label=unit))
    drift = [
        Series(name, [float(one["step"] + 1) for one in steps], [float(one["kl"]) for one in steps])
        for name in WAYS
        if (steps := [one for one in read_metrics(folder / name) if "kl" in one])
    ]
    charts.append(line_chart(drift, title="离开出发点多远（KL）", x_label="步", y_label="纳特/token"))
    note = "proxy 的奖励在升，答对的却越来越少：它学会了把能说的都说一遍。另外两条是两种补救：KL 的代价，核对过的奖励。"
    sections = [Section("曲线", side_by_side(charts), note)]
    for name in WAYS:
        samples = read_samples(folder / name)
        sections.append(Section(f"{name} 末尾的回答", preformatted(samples[-1][1] if samples else "")))
    path = folder / f"{PAGE}.html"
    write_page(path, page("钻奖励的空子，与两种补救", sections, subtitle="reward hacking"))
    told = {
        name: {
            "settings": WAYS[name],
            "exam": pass_rows(outcomes[name])[0],
            "curve": [{key: one[key] for key in ("step", *shown)} for one in records],
        }
        for name, records in measured.items()
    }
    write_page(path.with_suffix(".json"), json.dumps(told, ensure_ascii=False, indent=1) + "\n")
    return path
