"""nanoGPT 的 ``ckpt.pt``：照它的名字存下的读得回来；坏了的、敌意的都报一个错，什么也不执行。"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.errors import CheckpointError
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.session import load_weights
from tinygrad_llm.common.weights.command import ConvertConfig
from torch_llm.convert import main
from torch_llm.nanogpt import read_nanogpt

CONFIG = GPTConfig(vocab_size=19, context=6, n_layer=2, n_head=2, n_embd=8, mlp="gelu")


def checkpoint(config: GPTConfig, prefix: str = "") -> dict[str, Any]:
    """nanoGPT 的 ``train.py`` 存下的样子：编译过的带前缀，共用的输出层与掩码也在，旁边有优化器。"""
    weights = {name: torch.from_numpy(value) for name, value in initial_weights(config, 0, "float32").items()}
    model = {f"{prefix}transformer.{name}": value for name, value in weights.items()}
    model[f"{prefix}lm_head.weight"] = weights["wte.weight"]
    model[f"{prefix}transformer.h.0.attn.bias"] = torch.ones(1, 1, 6, 6)
    arguments = {"n_layer": config.n_layer, "n_head": config.n_head, "n_embd": config.n_embd, "dropout": 0.0,
                 "block_size": config.context, "bias": config.bias, "vocab_size": config.vocab_size}  # fmt: skip
    moments = {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(19, 8)}}
    return {"model": model, "model_args": arguments, "optimizer": {"state": moments}, "iter_num": 3,
            "best_val_loss": torch.tensor(2.5), "config": {"dataset": "openwebtext"}}  # fmt: skip


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
def test_a_checkpoint_gives_other_weights(tmp_path: Path, prefix: str, bias: bool) -> None:
    """权重或配置读错，或命令写下的运行不是那个模型。"""
    config = GPTConfig(**{**CONFIG.to_dict(), "bias": bias})
    torch.save(checkpoint(config, prefix), tmp_path / "ckpt.pt")
    main(ConvertConfig(source=str(tmp_path / "ckpt.pt"), run="a", runs_dir=str(tmp_path / "runs")))
    found, saved = load_weights(tmp_path / "runs" / "a")
    assert found == config
    expected = initial_weights(config, 0, "float32")
    assert saved.model.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(saved.model[name], value, err_msg=name)


class Payload:
    """解开就会建一个文件的对象。"""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_code_in_a_checkpoint_runs(tmp_path: Path) -> None:
    """藏在 pickle 里的代码执行了，或报的不是检查点的错。"""
    torch.save({**checkpoint(CONFIG), "config": Payload(tmp_path / "ran")}, tmp_path / "ckpt.pt")
    with pytest.raises(CheckpointError, match="not plain tensors"):
        read_nanogpt(tmp_path / "ckpt.pt")
    assert not (tmp_path / "ran").exists()


def expanded(size: int) -> torch.Tensor:
    """声明得很大、其实只有一个数的张量。"""
    return torch.zeros(1, 1).expand(size, 8)


HOSTILE: dict[str, Any] = {
    "no model": lambda c: {"model_args": c["model_args"]},
    "a list": lambda c: [c],
    "huge vocabulary": lambda c: {"model": c["model"] | {"transformer.wte.weight": expanded(1 << 40)},
                                  "model_args": c["model_args"] | {"vocab_size": 1 << 30}},
    "many layers": lambda c: c | {"model_args": c["model_args"] | {"n_layer": 1 << 30}},
    "numbers as text": lambda c: c | {"model_args": c["model_args"] | {"n_layer": "2"}},
    "not tensors": lambda c: c | {"model": {"transformer.wte.weight": 3}},
    "integers": lambda c: c | {"model": {k: v.to(torch.int32) for k, v in c["model"].items()}},
    "sparse": lambda c: c | {"model": {k: v.to_sparse() for k, v in c["model"].items()}},
    "missing tensor": lambda c: c | {"model": dict(list(c["model"].items())[1:])},
    "heads": lambda c: c | {"model_args": c["model_args"] | {"n_head": 3}},
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_checkpoint_is_another_error(tmp_path: Path, kind: str) -> None:
    """敌意的内容没有报成检查点的错。"""
    torch.save(HOSTILE[kind](checkpoint(CONFIG)), tmp_path / "ckpt.pt")
    with pytest.raises(CheckpointError) as caught:
        read_nanogpt(tmp_path / "ckpt.pt")
    assert len(str(caught.value).splitlines()) <= 3


def test_a_compressed_bomb_is_unpacked(tmp_path: Path) -> None:
    """压缩过的 zip 可以展开成任意大，应当一开始就拒绝。"""
    with zipfile.ZipFile(tmp_path / "ckpt.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(1 << 20))
    with pytest.raises(CheckpointError, match="compressed"):
        read_nanogpt(tmp_path / "ckpt.pt")
