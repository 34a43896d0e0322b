"""``python -m torch_llm chat``：与一个训练好的模型对话，在 torch 上。

流入：``ChatConfig``；流出：终端上的对话。对话怎样进行在 ``tinygrad_llm/common/chat/``，两个引擎共用。
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tinygrad_llm.common.chat.settings import ChatConfig

if TYPE_CHECKING:
    from tinygrad_llm.common.chat.dialogue import OpenedModel


def main(config: ChatConfig) -> None:
    """对话；torch 打开模型时才导入，``--help`` 因此立即可答。"""
    from tinygrad_llm.common.chat.console import run_chat

    run_chat(config, partial(open_model, kv_cache=config.kv_cache))


def open_model(folder: Path, kv_cache: Literal["plain", "int8"] = "plain") -> OpenedModel:
    """打开一个运行文件夹，在 torch 上。"""
    from tinygrad_llm.common.chat.dialogue import OpenedModel
    from tinygrad_llm.common.decoding.slots import OneSlot
    from torch_llm.decoding.slots import TorchSlots
    from torch_llm.loading import load_model

    loaded = load_model(folder)
    template = str(loaded.state.get("chat_template", ""))
    return OpenedModel(folder.name, loaded.tokenizer, OneSlot(TorchSlots(loaded.model, kv_cache=kv_cache)), template)
