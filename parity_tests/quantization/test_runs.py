"""量化了的运行文件夹：两个引擎写出同样的字节、读出同样的模型；坏了的说得清楚。"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.tolerances import assert_close
from tinygrad_llm import loading as numpy_loading
from tinygrad_llm.common.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tinygrad_llm.common.cli import main
from tinygrad_llm.common.config import GPTConfig, preset
from tinygrad_llm.common.errors import CheckpointError
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.quantization import STATE_KEY, Packed, Scheme, dequantized, join, quantize_tensors, split
from tinygrad_llm.common.quantization.storage import matrices
from tinygrad_llm.common.tokenizers import train_bpe
from torch_llm import loading as torch_loading
from torch_llm.loop import build_model

CONFIGS = {
    "gpt2": preset("toy", vocab_size=264, context=32, n_layer=2, n_embd=64),
    "llama": preset("toy-llama", vocab_size=264, context=32, n_layer=2),
    "untied": GPTConfig(vocab_size=264, context=32, n_layer=1, n_head=2, n_embd=64, tie_head=False, mlp="gelu"),
}
FORMATS = [("int8",), ("int4", "--group", "32"), ("int4", "--group", "64", "--head", "int4")]


@pytest.fixture
def run(tmp_path: Path) -> Callable[[GPTConfig], Path]:
    """一个随机权重的运行文件夹。"""

    def make(config: GPTConfig) -> Path:
        folder = tmp_path / "plain"
        tokenizer = train_bpe("the cat sat on the mat. " * 9, config.vocab_size)
        state = {"model": config.to_dict(), "tokenizer": tokenizer.digest}
        save_checkpoint(folder, Checkpoint(3, initial_weights(config, 1), {}, state))
        tokenizer.save(folder / "tokenizer.json")
        return folder

    return make


def quantize(package: str, source: Path, name: str, *flags: str) -> int:
    """命令行上的 ``quantize``；返回退出码。"""
    verbs = __import__(f"{package}.__main__", fromlist=["VERBS"]).VERBS
    words = ["quantize", str(source), "--run", name, "--runs-dir", str(source.parent), *flags]
    return main(package, "", verbs, words)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("flags", FORMATS)
def test_both_engines_write_one_file_and_read_one_model(
    run: Callable[[GPTConfig], Path], name: str, flags: tuple[str, ...]
) -> None:
    """两边写出的张量逐字节相同；两边读出的模型 logits 相同，等于还原成浮点数的模型。"""
    config = CONFIGS[name]
    source = run(config)
    for package, made in (("torch_llm", "a"), ("tinygrad_llm", "b")):
        assert quantize(package, source, made, "--format", *flags) == 0
    files = [next((source.parent / made).rglob("model.safetensors")).read_bytes() for made in "ab"]
    assert files[0] == files[1]
    assert len(files[0]) < next(source.rglob("model.safetensors")).stat().st_size / 2.8

    ids = np.random.default_rng(0).integers(config.vocab_size, size=(2, 9))
    ours = numpy_loading.load_model(source.parent / "a").model(tg.from_numpy(ids)).array
    theirs = torch_loading.load_model(source.parent / "b", compute="exact").model
    assert_close(ours, theirs(torch.from_numpy(ids)).numpy(), "gpt float32")
    kept = load_checkpoint(source.parent / "a")
    restored = dequantized(join(config, kept.model, kept.state[STATE_KEY], where="a"))
    assert_close(build_model(config, restored).eval()(torch.from_numpy(ids)).detach().numpy(), ours, "gpt float32")


def test_norms_biases_and_positions_stay_as_they_were() -> None:
    """只有矩阵量化，位置嵌入除外；其余的就是原来的数组。"""
    config = CONFIGS["gpt2"]
    weights = initial_weights(config, 0)
    found = quantize_tensors(config, weights, lambda name: Scheme("int8"))
    assert {name for name, value in found.items() if isinstance(value, Packed)} == set(matrices(config))
    assert all(found[name] is weights[name] for name in set(weights) - set(matrices(config)))
    assert "wpe.weight" not in matrices(config)
    assert "wte.weight" in matrices(config)


def test_a_quantised_run_is_not_quantised_again_nor_overwritten(
    run: Callable[[GPTConfig], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """再量化一次要从原来的运行开始；已有的运行不覆盖。"""
    source = run(CONFIGS["gpt2"])
    assert quantize("torch_llm", source, "small") == 0
    assert quantize("torch_llm", source.parent / "small", "smaller") == 2
    assert "already quantised" in capsys.readouterr().err
    assert quantize("torch_llm", source, "small") == 2
    assert "already holds a run" in capsys.readouterr().err
    assert quantize("tinygrad_llm", source, "other", "--group", "48") == 2
    assert "--group must be one of 32, 64, 128" in capsys.readouterr().err


SPOILED: dict[str, tuple[Callable[[dict[str, Any], dict[str, Any]], object], str]] = {
    "not a table": (lambda meta, arrays: meta.update(tensors=[]), "does not list"),
    "no tensors": (lambda meta, arrays: meta.update(tensors={}), "names no tensor"),
    "later version": (lambda meta, arrays: meta.update(version=2), "version 2"),
    "a stranger": (lambda meta, arrays: meta["tensors"].update({"ln_f.weight": {}}), "ln_f.weight"),
    "unknown format": (lambda meta, arrays: meta["tensors"]["wte.weight"].update(format="int3"), "int3"),
    "a list for a group": (lambda meta, arrays: meta["tensors"]["wte.weight"].update(group=[64]), "group"),
    "other group": (lambda meta, arrays: meta["tensors"]["h.0.mlp.c_fc.weight"].update(group=32), "wrong shape"),
    "missing scale": (lambda meta, arrays: arrays.pop("wte.weight.scale"), "missing wte.weight.scale"),
    "a zero scale": (lambda meta, arrays: arrays["wte.weight.scale"].fill(0), "not positive"),
    "wrong type": (
        lambda meta, arrays: arrays.update({"wte.weight.codes": arrays["wte.weight.codes"].astype(np.int16)}),
        "it is int16",
    ),
}


@pytest.mark.parametrize("what", SPOILED)
def test_damaged_metadata_ends_in_one_clear_error(what: str) -> None:
    """元数据与数组对不上，读之前就说清哪里不对。"""
    config = CONFIGS["gpt2"]
    scheme = Scheme("int4", 64)
    tensors = quantize_tensors(
        config, initial_weights(config, 0), lambda n: Scheme("int8") if n == "wte.weight" else scheme
    )
    arrays, metadata = split(tensors)
    metadata = json.loads(json.dumps(metadata))
    assert join(config, arrays, metadata, where="here").keys() == tensors.keys()
    spoil, message = SPOILED[what]
    spoil(metadata, arrays)
    with pytest.raises(CheckpointError, match=message) as caught:
        join(config, arrays, metadata, where="here")
    assert len(str(caught.value).splitlines()) <= 3
