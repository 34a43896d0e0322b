"""``python -m torch_llm consolidate``：把切开存的检查点拼成普通的 safetensors，别的程序与 NumPy 引擎才读得了。

流入：一个运行；流出：它的 ``checkpoints/step_N``。
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tinygrad_llm.common.errors import CheckpointError, UserError


@dataclass(frozen=True)
class ConsolidateConfig:
    """要拼的是哪个运行。"""

    run: str = "toy"
    """运行名。"""
    runs_dir: str = "runs"
    """放各次运行的文件夹。"""
    keep: int = 2
    """保留最近的几个普通检查点。"""

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise UserError(f"--keep must be at least 1, got {self.keep}", fix="use 2")


def main(config: ConsolidateConfig) -> None:
    """拼最新的一个；它不比普通的新，就什么也不做。"""
    from tinygrad_llm.common.sharded import sharded_steps

    run = Path(config.runs_dir) / config.run
    if not sharded_steps(run):
        raise CheckpointError("this run has no sharded checkpoint", where=str(run), fix="check --run and --runs-dir")
    from torch_llm.parallel.sharded import consolidate_newer

    step = consolidate_newer(run, config.keep)
    if step is None:
        print("nothing to do: the ordinary checkpoint is at least as new")
    else:
        print(f"checkpoint: {run / 'checkpoints' / f'step_{step:06d}'}")
