"""运行文件夹里切开存的检查点放在哪里、有没有比普通的新。

流入：运行文件夹；流出：步数，或「先拼起来」的 ``CheckpointError``。只看名字，不读内容；怎样写、怎样拼见
``torch_llm/parallel/sharded.py``。
"""

from __future__ import annotations

from pathlib import Path

from .checkpoint import STEP_NAME, list_checkpoints
from .errors import CheckpointError

__all__ = ["SHARDED", "newer_shards", "refuse_newer_shards", "sharded_steps"]

SHARDED = "sharded"


def sharded_steps(run: Path) -> list[int]:
    """切开存的各个检查点做完了几步，升序。"""
    folder = run / SHARDED
    if not folder.is_dir():
        return []
    return sorted(int(match[1]) for path in folder.iterdir() if (match := STEP_NAME.fullmatch(path.name)))


def newer_shards(run: Path) -> int | None:
    """最新的检查点若是切开存的，是第几步；否则为 ``None``。"""
    steps, portable = sharded_steps(run), list_checkpoints(run)
    return steps[-1] if steps and (not portable or portable[-1] < steps[-1]) else None


def refuse_newer_shards(run: Path) -> None:
    """最新的检查点是切开存的，就不许悄悄用旧的。

    Raises:
        CheckpointError: 是切开存的。
    """
    step = newer_shards(run)
    if step is not None:
        raise CheckpointError(
            f"the newest checkpoint of this run, step {step}, is a sharded one",
            where=str(run / SHARDED),
            fix=f"make it an ordinary one: python -m torch_llm consolidate --run {run.name} --runs-dir {run.parent}",
        )
