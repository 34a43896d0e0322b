"""几个进程合训一次：先都接通、都备好，再走同一个循环；报告只由头一个写。

流入：``TorchConfig`` 与这个进程的位置；流出：一个普通的运行文件夹，与一个进程写出来的没有两样。
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from tinygrad_llm.common.engine import Method
from tinygrad_llm.common.environment import launched
from tinygrad_llm.common.loop import train
from tinygrad_llm.common.profiling import profiled_step
from tinygrad_llm.common.session import Session
from tinygrad_llm.common.system import usable_cpus
from tinygrad_llm.common.torch_config import TorchConfig
from torch_llm.parallel.engine import ParallelEngine
from torch_llm.parallel.layout import Layout
from torch_llm.parallel.ranks import joined
from torch_llm.parallel.sharded import consolidate_newer, save_sharded
from torch_llm.pretrain import finish
from torch_llm.profiling import measure_step
from torch_llm.runtime import pick_runtime


def train_together(
    config: TorchConfig, layout: Layout, prepared: Callable[[], Session], method: Method | None = None
) -> None:
    """训练；每个进程都调用它。

    Args:
        config: 训练设置，各进程相同。
        layout: 这个进程的位置。
        prepared: 备好一次训练。
        method: 训练方法；缺省为语言模型。

    Raises:
        UserError: 设置不对；每个进程都抛出同一个。
        WorkerError: 有进程不在了，或这个进程的内存不够。
    """
    torch.set_num_threads(config.workers or max(1, usable_cpus() // launched().local_world))
    if layout.rank:
        config = replace(config, profile=None)  # 剖析一个进程就够了
    with joined(layout) as ranks:
        if config.resume:
            ranks.first(lambda: consolidate_newer(config.folder, config.keep))
        session = ranks.every(prepared)  # 都备好了才有谁动笔：后来的不会把刚写下的当作已有的运行
        ranks.every(lambda: pick_runtime(config))
        engine = ranks.every(lambda: ParallelEngine(session.model, config, ranks, method=method))
        with profiled_step(session, engine, measure_step):
            store = partial(save_sharded, engine, config.folder, config.keep) if config.sharded_checkpoints else None
            train(session, engine, ranks=ranks, store=store)
        ranks.first(lambda: finish(config))
