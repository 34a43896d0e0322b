"""内存：转换与载入在全新的进程里量，不超过权重的 1.2 倍（外加解释器与库自己的）。"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from parity_tests.house.repo import ROOT
from tinygrad_llm.common.config import GPTConfig, parameter_count, parameter_shapes
from tinygrad_llm.common.safetensors import write_safetensors
from tinygrad_llm.common.weights.command import ConvertConfig, convert
from tinygrad_llm.common.weights.hf_config import config_to_hf
from tinygrad_llm.common.weights.names import hf_links, to_theirs

CONFIG = GPTConfig(
    vocab_size=8192, context=64, n_layer=6, n_head=8, n_embd=512, hidden=1024, norm="rmsnorm", position="rope",
    mlp="swiglu", bias=False,
)  # fmt: skip
_CONVERT = """
from tinygrad_llm.common.weights.command import ConvertConfig, convert
from tinygrad_llm.common.weights import gguf_models, hf_folder, model_files, tf_gpt2
from tinygrad_llm.common.tokenizers import formats
import tinygrad_llm.common.progress, rich.progress
work = lambda: convert(ConvertConfig(source=sys.argv[1], run=sys.argv[2], runs_dir=sys.argv[3]))
"""
_EXPORT = """
from tinygrad_llm.common.weights import export_gguf, export_hf
from tinygrad_llm.common.weights.export_command import ExportConfig, export
work = lambda: export(ExportConfig(run=sys.argv[1], out=pathlib.Path(sys.argv[2]), format="gguf", dtype="q8_0"))
"""
_NUMPY = """
from tinygrad_llm.common.session import load_weights
from tinygrad_llm.train import build_model
def work():
    config, checkpoint = load_weights(pathlib.Path(sys.argv[1]))
    return build_model(config, checkpoint.model, adopt=True)
"""
_TORCH = _NUMPY.replace("tinygrad_llm.train", "torch_llm.loop")
_MEASURE = """
import pathlib, resource, sys
{}
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
before = peak()
kept = work()
print("bytes", peak() - before)
"""


def peak_bytes(work: str, *arguments: object) -> int:
    """一个全新的进程里，``work`` 使峰值内存涨了多少字节。"""
    command = [sys.executable, "-c", _MEASURE.format(work), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=240)
    return int(done.stdout.split("bytes")[-1])


def hf_folder(folder: Path, config: GPTConfig) -> Path:
    """一个权重有几十 MB 的 HF 文件夹。"""
    rng = np.random.default_rng(0)
    weights = {k: rng.standard_normal(shape, np.float32) for k, shape in parameter_shapes(config).items()}
    folder.mkdir()
    write_safetensors(folder / "model.safetensors", to_theirs(weights, hf_links(config, "llama")))
    (folder / "config.json").write_text(json.dumps(config_to_hf(config, "llama", "float32", {})))
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read through resource, which Windows lacks")
def test_a_conversion_holds_the_weights_twice(tmp_path: Path) -> None:
    """转换一份 HF 文件夹时，内存里同时不止一份权重；它其实一次只拿着一个张量。"""
    source = hf_folder(tmp_path / "m", CONFIG)
    weights = 4 * parameter_count(CONFIG)
    assert weights > 50 << 20
    assert peak_bytes(_CONVERT, source, "a", tmp_path) <= 0.7 * weights


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read through resource, which Windows lacks")
@pytest.mark.parametrize("work", [_NUMPY, _TORCH, _EXPORT], ids=["numpy", "torch", "export"])
def test_loading_holds_the_weights_twice(tmp_path: Path, work: str) -> None:
    """载入一个运行时（优化器的状态有权重的两倍大，不该读），或写成 GGUF 时，内存超过了权重的 1.2 倍。"""
    convert(ConvertConfig(source=str(hf_folder(tmp_path / "m", CONFIG)), run="a", runs_dir=str(tmp_path)))
    assert peak_bytes(work, tmp_path / "a", tmp_path / "out") <= 1.2 * 4 * parameter_count(CONFIG)
