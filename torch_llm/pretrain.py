"""``python -m torch_llm pretrain``：在 torch 上预训练，flag 比 ``python -m tinygrad_llm train`` 多出设备与精度的几个。

流入：``TorchConfig``；流出：运行文件夹与报告。由 ``torchrun`` 起几个进程时，见 ``parallel/``。
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from tinygrad_llm.common.environment import launched
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.torch_config import TorchConfig

if TYPE_CHECKING:
    import torch

    from tinygrad_llm.common.engine import Method, StepResult
    from tinygrad_llm.common.session import Session
    from torch_llm.gpt import GPT

    OnStep = Callable[[int, StepResult], None]


def main(config: TorchConfig) -> None:
    """训练，写出运行文件夹与报告。"""
    from tinygrad_llm.common.session import prepare

    run_and_report(config, lambda: prepare(config))


def run_and_report(config: TorchConfig, prepared: Callable[[], Session], method: Method | None = None) -> None:
    """一个进程，或 ``torchrun`` 起的几个进程，跑完一次训练，写出报告。

    Args:
        config: 训练设置。
        prepared: 备好一次训练；预训练与中段训练只在这里不同。
        method: 训练方法，须学模型的全部参数；缺省为语言模型。

    Raises:
        UserError: 设置与进程数对不上，或别的方法要把模型切开存放。
    """
    from torch_llm.parallel.layout import choose_layout

    layout = choose_layout(config, launched())
    if layout.world > 1 and config.dry_run:
        raise UserError(
            "--dry-run measures one process",
            where=f"{layout.world} processes",
            fix="start it without torchrun, or use the verb plan",
        )
    if layout.world > 1:
        from torch_llm.parallel.pretrain import train_together

        if method is not None and layout.kind != "ddp":
            raise UserError(
                f"this kind of tuning cannot cut the model up: --parallel {layout.kind}",
                where=f"{layout.world} processes",
                fix="use --parallel ddp",
            )
        return train_together(config, layout, prepared, method)
    from tinygrad_llm.common.sharded import newer_shards

    if config.resume and newer_shards(config.folder) is not None:
        from torch_llm.parallel.sharded import consolidate_newer

        consolidate_newer(config.folder, config.keep)
    run_session(prepared(), config, method=method)
    if not config.dry_run:
        finish(config)


def run_session(
    session: Session,
    config: TorchConfig,
    on_step: OnStep | None = None,
    method: Method | None = None,
    model: Callable[[torch.device], GPT] | None = None,
) -> None:
    """跑完备好的一次训练，或只作估计；torch 在这里才导入，``--help`` 因此立即可答。

    Args:
        session: 备好的训练。
        config: 设置。
        on_step: 每步之后调用。
        method: 训练方法；缺省为语言模型。
        model: 由设备造出现成的模型，例如冻结的底座；缺省由种子造一个。
    """
    print(*config.dials, sep="\n", end="\n" if config.dials else "")
    import torch

    from tinygrad_llm.common.loop import train
    from tinygrad_llm.common.profiling import profiled_step
    from torch_llm.loop import TorchEngine
    from torch_llm.profiling import measure_step
    from torch_llm.runtime import pick_runtime

    if config.workers is not None:
        torch.set_num_threads(config.workers)
    if config.dry_run:
        from torch_llm.dry_run import dry_run

        dry_run(session, config, method, model)
        return
    if config.auto_batch:
        from torch_llm.dry_run import fitting_micro_batch

        config = fitting_micro_batch(session, config)
        session = replace(session, settings=config)
    built = None if model is None else model(pick_runtime(config).device)
    engine = TorchEngine(session.model, config, method=method, model=built)
    with profiled_step(session, engine, measure_step):
        train(session, engine, on_step)


def finish(config: TorchConfig) -> None:
    """写出报告，说明它在哪里。"""
    from tinygrad_llm.common.report import training_report
    from tinygrad_llm.common.runlog import read_metrics
    from tinygrad_llm.common.tuning.outcome import outcome

    lines = outcome(read_metrics(config.folder), config.folder)
    print(*lines, f"report: {training_report(config.folder)}", sep="\n")
