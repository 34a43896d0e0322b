"""``python -m torch_llm pretrain``：在 torch 上预训练，flag 与 ``python -m tinygrad_llm train`` 相同。

流入：``TrainConfig``；流出：运行文件夹与报告。
"""

from __future__ import annotations

from tinygrad_llm.common.train_config import TrainConfig


def main(config: TrainConfig) -> None:
    """训练，写出运行文件夹与报告；torch 在这里才导入，``--help`` 因此立即可答。"""
    from tinygrad_llm.common.loop import train
    from tinygrad_llm.common.profiling import profiled_step
    from tinygrad_llm.common.report import training_report
    from tinygrad_llm.common.session import prepare

    session = prepare(config)
    import torch

    from torch_llm.loop import TorchEngine
    from torch_llm.profiling import measure_step

    if config.workers is not None:
        torch.set_num_threads(config.workers)
    engine = TorchEngine(session.model, config)
    with profiled_step(session, engine, measure_step):
        train(session, engine)
    print(f"report: {training_report(config.folder)}")
