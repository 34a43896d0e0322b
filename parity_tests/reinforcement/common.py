"""测试共用的小模型与设置：一个几秒钟练成的初学者，两个引擎各一个。

流入：临时文件夹；流出：运行与设置。
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_llm.common.checkpoint import load_checkpoint
from tinygrad_llm.common.rl.beginner import prepare_beginner
from tinygrad_llm.common.rl.settings import RLConfig, TorchRLConfig
from tinygrad_llm.common.toml import load_toml
from tinygrad_llm.common.torch_config import TorchConfig
from tinygrad_llm.common.train_config import DType, TrainConfig

TASK = "storyworld:larger"
SMALL: dict[str, Any] = {"n_layer": 1, "n_head": 2, "n_embd": 16, "context": 64}


def beginner(folder: Path, steps: int = 60, dtype: DType = "float64", **changed: Any) -> str:
    """练一个初学者，返回运行名；学得久就会得多。"""
    from torch_llm.pretrain import run_session

    config = TorchConfig(
        run="base", runs_dir=str(folder), steps=steps, batch_size=16, lr=1e-2, dtype=dtype, workers=1, device="cpu",
        eval_every=0, sample_every=0, save_every=0, sample_tokens=1, **{**SMALL, **changed},
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        run_session(prepare_beginner(config, TASK, level=1, problems=512), config)
    return "base"


def settings(folder: Path, engine: str, **changed: Any) -> Any:
    """短短几步的设置。"""
    kind = RLConfig if engine == "numpy" else TorchRLConfig
    given = {
        "run": engine, "runs_dir": str(folder), "from_run": "base", "task": TASK, "level": 1, "group": 4,
        "batch_size": 8, "steps": 4, "answer_tokens": 6, "dtype": "float64", "workers": 1, "eval_problems": 4,
        "eval_samples": 2, "eval_every": 0, "sample_every": 0, "save_every": 0, "lr": 1e-3, "warmup_steps": 0,
        **({} if engine == "numpy" else {"device": "cpu"}), **changed,
    }  # fmt: skip
    assert set(given) <= {field.name for field in fields(kind)}
    return kind(**given)


def trained(config: TrainConfig) -> Any:
    """跑完一次强化学习，返回末尾的检查点。"""
    from tinygrad_llm import rl as numpy_rl
    from torch_llm import rl as torch_rl

    with contextlib.redirect_stdout(io.StringIO()):
        (torch_rl.run_rl if isinstance(config, TorchRLConfig) else numpy_rl.run_rl)(config)  # type: ignore[arg-type]
    return load_checkpoint(config.folder)


def continued(config: TrainConfig) -> Any:
    """像命令行的 ``--resume`` 那样接着走：设置取自那次运行的文件夹；返回末尾的检查点。"""
    kept: Any = load_toml(config.folder / "config.toml", type(config))
    return trained(replace(kept, resume=True))


def gap(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """两份权重最大的差。"""
    assert ours.keys() == theirs.keys()
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in ours)
