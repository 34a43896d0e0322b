"""几个种子各训练一次：改进是真的，还是这一次运气好。

流入：设置与种子数；流出：``RUN-seed0`` 等几次运行，与 ``RUN/`` 里合起来的 pass@k。下一个文件：``hacking.py``。
停下之后再跑一次同样的命令就接着走，做完的种子不重做。
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.rl.curves import OUTCOME, Outcome, described, finish, pooled, write_curves
from tinygrad_llm.common.rl.drift import Drift, drift_lines, drift_of
from tinygrad_llm.common.rl.settings import RLConfig, TorchRLConfig
from tinygrad_llm.common.runlog import CONFIG
from tinygrad_llm.common.toml import load_toml

__all__ = ["SeedsConfig", "TorchSeedsConfig", "compare_seeds", "once"]


@dataclass(frozen=True)
class SeedsConfig(RLConfig):
    """几个种子各训练一次的设置。"""

    run: str = "rl-seeds"
    """运行名；各个种子写在 ``RUN-seed0`` 等，合起来的结果写在 ``RUN``。"""
    seeds: int = 3
    """几个种子：``--seed`` 起，依次加一。"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seeds < 2:
            raise UserError(f"--seeds must be at least 2, got {self.seeds}", fix="use 3")
        if self.resume:
            raise UserError("--resume is not needed here", fix="the same command goes on where it stopped")


@dataclass(frozen=True)
class TorchSeedsConfig(SeedsConfig, TorchRLConfig):
    """torch 上几个种子各训练一次的设置。"""


def compare_seeds(settings: SeedsConfig, kind: type[RLConfig], run: Callable[[Any], Outcome]) -> list[Outcome]:
    """各训练一次，写出合起来的曲线，说出结果。

    Args:
        settings: 设置。
        kind: 一次训练的设置的类型。
        run: 训练一次。

    Returns:
        各个种子的结果。
    """
    outcomes, drifts = dict[str, Outcome](), dict[str, Drift]()
    for seed in range(settings.seed, settings.seed + settings.seeds):
        given = {name: value for name, value in vars(settings).items() if name != "seeds"}
        config = kind(**{**given, "seed": seed, "run": f"{settings.run}-seed{seed}"})
        outcomes[f"seed {seed}"] = once(config, run)
        if (found := drift_of(config.folder)) is not None:
            drifts[f"seed {seed}"] = found
    for name, one in outcomes.items():
        print(f"{name}: {described(one)[0]}")
    for name, drift in drifts.items():
        print(*(f"{name}: {line}" for line in drift_lines(drift)), sep="\n")
    every = pooled(list(outcomes.values()))
    print(*(f"all seeds: {line}" for line in described(every)), sep="\n")
    settings.folder.mkdir(parents=True, exist_ok=True)
    print(f"pass@k: {write_curves(settings.folder, {'全部种子': every, **outcomes}, settings.run, drifts)}")
    return list(outcomes.values())


def once(config: Any, run: Callable[[Any], Outcome]) -> Outcome:
    """训练一次；做完了的直接取结果，停在半路的接着走。

    Args:
        config: 一次训练的设置。
        run: 训练一次。

    Raises:
        UserError: 那里已有一次别的设置的运行。
    """
    if (config.folder / CONFIG).is_file():
        kept: Any = load_toml(config.folder / CONFIG, type(config))
        changed = [name for name in (*config.fixed_on_resume, "steps", "lr") if not _same(kept, config, name)]
        if changed:
            raise UserError(
                f"the folder holds a run with other settings: {', '.join(changed)}",
                where=str(config.folder),
                fix="choose another --run NAME, or remove the folder",
            )
        if (config.folder / OUTCOME).is_file():
            told = json.loads((config.folder / OUTCOME).read_text(encoding="utf-8"))
            return Outcome(np.array(told["before"]), np.array(told["after"]), int(told["samples"]))
        config = replace(kept, resume=True)
    outcome = run(config)
    finish(config.folder, outcome)
    return outcome


def _same(kept: Any, config: Any, name: str) -> bool:
    """这一项没有变；由出发点补全的几项（模型与词表）不必给。"""
    filled = {"preset", "context", "n_layer", "n_head", "n_kv_head", "n_embd", "window", "vocab_size"}
    return name in filled or getattr(kept, name) == getattr(config, name)
