"""谁做哪一份：``--parallel`` 的选择变成一张两维的网格，每个进程是其中一格。

流入：设置、模型配置与「第几个进程、共几个」；流出：``Layout``，或在开训之前就说清楚的 ``UserError``。这里只有算术。
下一站：``ranks.py``（进程之间怎样说话）、``engine.py``（一步怎样合起来做）。
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.environment import Launch
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.torch_config import Parallel, TorchConfig


@dataclass(frozen=True)
class Layout:
    """一个进程在网格里的位置：行是数据的份，列是一份数据之内切开矩阵的几个进程。

    Attributes:
        kind: 怎样并行。
        rank: 第几个进程。
        world: 共几个进程。
        tp: 几个相邻的进程合用一份数据、各算矩阵的一部分；不切矩阵时为 1。
    """

    kind: Parallel
    rank: int
    world: int
    tp: int

    @property
    def parts(self) -> int:
        """批次分成几份。"""
        return self.world // self.tp

    @property
    def part(self) -> int:
        """这个进程取第几份。"""
        return self.rank // self.tp

    @property
    def lane(self) -> int:
        """这个进程算矩阵的第几部分。"""
        return self.rank % self.tp

    @property
    def shards_data(self) -> bool:
        """参数是不是按数据的份切开存放（FSDP2）。"""
        return self.kind in ("fsdp", "fsdp+tp")

    def describe(self) -> str:
        """给人看的一句。"""
        sizes = f"{self.parts} x {self.tp}" if self.kind == "fsdp+tp" else f"{self.world}"
        return f"{self.kind} on {sizes} processes"


def choose_layout(settings: TorchConfig, launch: Launch) -> Layout:
    """按设置与启动的方式定下网格。

    Args:
        settings: ``parallel``、``tp``、``batch_size``、``accumulate`` 与几个不能同时用的选项。
        launch: 第几个进程，共几个。

    Returns:
        这个进程的位置。

    Raises:
        UserError: 进程数、切法与批大小对不上；每个进程得到同样的消息。
    """
    world = launch.world
    kind: Parallel = settings.parallel if settings.parallel != "auto" else "ddp"
    if world == 1 and settings.parallel != "auto":
        raise UserError(
            f"--parallel {kind} needs at least 2 processes, and this is the only one",
            where="--parallel",
            fix="start it as: torchrun --nproc-per-node 2 -m -- torch_llm pretrain ...",
        )
    tp = settings.tp or (world if kind == "tp" else 1)
    layout = Layout(kind, launch.rank, world, tp)
    problems = [*_size_problems(settings, kind, world, tp)] or [*_option_problems(settings, layout)]
    if problems:
        raise UserError("; ".join(problems), where=f"{world} processes", fix="correct the flags named above")
    return layout


def _size_problems(settings: TorchConfig, kind: Parallel, world: int, tp: int) -> Iterator[str]:
    """进程数与切法对不上之处。"""
    if kind in ("ddp", "fsdp") and tp != 1:
        yield f"--tp {tp} needs --parallel tp or fsdp+tp, not {kind}"
    elif kind == "tp" and tp != world:
        yield f"--parallel tp splits every matrix over all {world} processes, not over --tp {tp}: use fsdp+tp"
    elif kind == "fsdp+tp" and settings.tp is None:
        yield "--parallel fsdp+tp needs --tp N, the number of processes that split a matrix"
    elif kind == "fsdp+tp" and (tp < 2 or world % tp or world == tp):
        yield f"--parallel fsdp+tp needs at least 2 groups of at least 2: --tp {tp} does not split {world} that way"


def _option_problems(settings: TorchConfig, layout: Layout) -> Iterator[str]:
    """批大小分不匀，或几个进程时用不了的选项。"""
    parts, accumulate = layout.parts, settings.accumulate
    if settings.batch_size % (parts * accumulate):
        yield (
            f"--batch-size {settings.batch_size} cannot be divided among {parts} processes x --accumulate {accumulate}"
            f": use a multiple of {parts * accumulate}"
        )
    if layout.world == 1 and settings.sharded_checkpoints:
        yield "--sharded-checkpoints needs several processes, and this is the only one: drop it"
    if layout.world > 1 and settings.auto_batch:
        yield "--auto-batch works in one process only: give --accumulate"
    if layout.kind != "ddp" and settings.compile:
        yield f"--compile works with --parallel ddp only, not {layout.kind}"
    if layout.kind != "ddp" and settings.optimizer == "muon":
        yield f"--optimizer muon needs whole matrices, --parallel {layout.kind} cuts them: use --parallel ddp or adamw"


def check_model(config: GPTConfig, layout: Layout) -> None:
    """这个模型的矩阵切得开。

    Raises:
        UserError: 头数或中间宽度不能平分。
    """
    sizes = {"n_head": config.n_head, "n_kv_head": config.kv_heads, "hidden": config.hidden_size}
    uneven = [f"{name}={size}" for name, size in sizes.items() if size % layout.tp]
    if uneven:
        raise UserError(
            f"tensor parallelism over {layout.tp} processes cannot divide {', '.join(uneven)}",
            where="model configuration",
            fix="use a --tp that divides them, or --parallel fsdp",
        )
