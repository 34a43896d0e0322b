"""``python -m torch_llm serve``：把模型放到 HTTP 后面，在 torch 上。

流入：``ServeConfig``；流出：一直运行的服务器。服务器本身在 ``tinygrad_llm/common/serving/``，两个引擎共用。
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tinygrad_llm.common.serving.config import ServeConfig

if TYPE_CHECKING:
    from tinygrad_llm.common.serving.served import Opened

_SWITCH_S = 1e-4
"""打开模型时，读文件的线程每读一小段都要等一次解释器锁；缺省一次等 5 ms，几百次就是一秒。"""


def main(config: ServeConfig) -> None:
    """服务；``--engine numpy`` 把这个进程整个换成另一个引擎的。"""
    from tinygrad_llm.common.serving.command import hand_over, run_server

    if config.engine == "numpy":
        hand_over("tinygrad_llm")
    run_server(config, open_model)


def open_model(folder: Path, config: ServeConfig) -> Opened:
    """打开一个运行文件夹，在 torch 上。"""
    from concurrent.futures import ThreadPoolExecutor

    from tinygrad_llm.common.serving.served import Opened
    from tinygrad_llm.common.session import load_trained

    patience = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        with ThreadPoolExecutor(1) as aside:  # 读权重、验摘要大半不占解释器锁，与导入 torch 同时做，省下一秒
            trained = aside.submit(load_trained, folder)
            import torch

            from torch_llm.decoding.slots import TorchSlots
            from torch_llm.loading import load_model
    finally:
        sys.setswitchinterval(patience)
    loaded = load_model(folder, trained=trained.result())
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    model = loaded.model
    return Opened(
        loaded.tokenizer,
        TorchSlots(model, config.slots, config.context, config.kv_cache, config.packed),
        TorchSlots(model, 1, config.context),
        "torch",
        sum(one.numel() for one in model.parameters()),
        model.config.n_embd,
        str(loaded.state.get("chat_template", "")),
        int(folder.stat().st_mtime),
    )
