"""``python -m tinygrad_llm serve``：把模型放到 HTTP 后面，在 NumPy 上。

流入：``ServeConfig``；流出：一直运行的服务器。服务器本身在 ``common/serving/``，两个引擎共用。
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tinygrad_llm.common.serving.config import ServeConfig

if TYPE_CHECKING:
    from tinygrad_llm.common.serving.served import Opened


def main(config: ServeConfig) -> None:
    """服务；``--engine torch`` 把这个进程整个换成另一个引擎的。"""
    from tinygrad_llm.common.serving.command import hand_over, run_server

    if config.engine == "torch":
        hand_over("torch_llm")
    run_server(config, open_model)


def open_model(folder: Path, config: ServeConfig) -> Opened:
    """打开一个运行文件夹，在 NumPy 上。"""
    from tinygrad_llm.common.serving.served import Opened
    from tinygrad_llm.decoding import NumpySlots
    from tinygrad_llm.loading import load_model

    loaded = load_model(folder)
    model = loaded.model
    return Opened(
        loaded.tokenizer,
        NumpySlots(model, config.slots, config.context, config.kv_cache, config.threads),
        NumpySlots(model, 1, config.context, threads=config.threads),
        "numpy",
        sum(one.numel() for one in model.parameters()),
        model.config.n_embd,
        str(loaded.state.get("chat_template", "")),
        int(folder.stat().st_mtime),
    )
