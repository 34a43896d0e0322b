"""校准的舍入：GPTQ 与 AWQ 的输出误差小于就近舍入；逐层的误差与报告说的是同一件事。"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.checkpoint import Checkpoint, save_checkpoint
from tinygrad_llm.common.cli import main
from tinygrad_llm.common.config import preset
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.quantization import Packed, Scheme, dequantize, dequantized, quantize
from tinygrad_llm.common.quantization.awq import channel_scales
from tinygrad_llm.common.quantization.gptq import gptq, output_error
from tinygrad_llm.common.tokenizers import train_bpe
from torch_llm.__main__ import VERBS
from torch_llm.loop import build_model
from torch_llm.quantization.calibrate import calibrated, gather_grams
from torch_llm.quantization.layers import layer_errors

CONFIG = preset("toy-llama", vocab_size=264, context=32, n_layer=2)
SCHEMES = [Scheme("int4", 32, True), Scheme("int4", 64), Scheme("int8")]


def correlated(seed: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """``(out, in)`` 的权重与相关的、各通道大小悬殊的输入 ``(tokens, in)``。"""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((columns, columns)) / np.sqrt(columns) + np.eye(columns)
    x = rng.standard_normal((4 * columns, columns)) @ mix * np.exp(rng.standard_normal(columns))
    return rng.standard_normal((48, columns)).astype(np.float32), x


@given(st.integers(0, 2**32 - 1), st.sampled_from([64, 96]), st.sampled_from(SCHEMES))
def test_gptq_answers_closer_than_rounding_to_nearest(seed: int, columns: int, scheme: Scheme) -> None:
    """误差照定义直接算：GPTQ 的输出误差小于就近舍入。"""
    w, x = correlated(seed, columns)
    gram = x.T @ x
    errors = [
        np.square(x @ (dequantize(packed) - w).T).sum() for packed in (gptq(w, gram, scheme), quantize(w, scheme))
    ]
    assert errors[0] < errors[1]
    direct = np.sqrt(errors[1] / np.square(x @ w.T).sum())
    assert output_error(w, dequantize(quantize(w, scheme)), gram) == pytest.approx(direct, rel=1e-6)


def test_gptq_without_data_rounds_to_nearest() -> None:
    """校准输入全为 0 时没有误差可分摊，结果就是就近舍入。"""
    w, _ = correlated(0, 64)
    ours, plain = gptq(w, np.zeros((64, 64)), SCHEMES[1]), quantize(w, SCHEMES[1], np.zeros(64))
    assert np.array_equal(ours.codes, plain.codes)


@given(st.integers(0, 2**32 - 1))
def test_scaling_channels_never_answers_worse(seed: int) -> None:
    """α = 0（不放缩）也在候选之内，所以挑出来的从不更差。"""
    w, x = correlated(seed, 64)
    gram, scheme = x.T @ x, SCHEMES[1]
    scale = channel_scales([w], gram, [scheme])
    scaled = output_error(w, dequantize(quantize(w * scale, scheme)) / scale, gram)
    assert scaled <= output_error(w, dequantize(quantize(w, scheme)), gram)


@pytest.mark.parametrize("method", ["gptq", "awq"])
@pytest.mark.parametrize("name", ["toy", "toy-llama"])
def test_calibrated_rounding_keeps_the_model(name: str, method: str) -> None:
    """整个模型：量化之后的 logits 仍近；awq 的放缩并进前一层之后，不量化时模型不变。"""
    config = preset(name, vocab_size=264, context=32, n_layer=2, n_embd=64)
    weights = initial_weights(config, 0)
    ids = np.random.default_rng(0).integers(264, size=(12, 32))
    tensors = calibrated(config, weights, ids, lambda name: Scheme("int8"), method)
    with torch.no_grad():
        exact = build_model(config, weights).eval()(torch.from_numpy(ids))
        ours = build_model(config, dequantized(tensors)).eval()(torch.from_numpy(ids))
    assert float((ours - exact).norm() / exact.norm()) < 0.02  # int8：每层千分之几
    assert isinstance(tensors["h.1.mlp.c_proj.weight"], Packed)
    if method == "awq":
        assert not np.array_equal(np.asarray(tensors["h.0.ln_1.weight"]), weights["h.0.ln_1.weight"])


def test_grams_are_the_sums_over_every_token() -> None:
    """收集到的 ``Σ x xᵀ`` 与手算的相同，钩子用完就摘掉。"""
    layer = torch.nn.Sequential(torch.nn.Linear(5, 3))
    x = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    gram = gather_grams(layer, lambda: layer(x))["0"]
    assert np.allclose(gram, np.einsum("bti,btj->ij", x.numpy(), x.numpy()), atol=1e-5)
    assert not layer[0]._forward_pre_hooks


def test_the_layer_map_blames_the_layer_that_was_spoiled() -> None:
    """一个矩阵里没有输入的几列极大，只把 int4 的刻度撑大：逐层的误差指着它；做完模型一个比特也没变。"""
    weights = initial_weights(CONFIG, 0)
    weights["h.1.mlp.c_fc.weight"][:, ::32] = 9
    weights["h.1.ln_2.weight"][::32] = 0
    model = build_model(CONFIG, weights).eval()
    ids = np.random.default_rng(0).integers(264, size=(4, 32))
    _, found = layer_errors(model, ids, Scheme("int4", 32))
    worst = max((one for one in found if one.name != "wte.weight"), key=lambda one: one.output)
    assert worst.name == "h.1.mlp.c_fc.weight"
    assert worst.loss != 0
    assert all(np.array_equal(model.state_dict()[name].numpy(), array) for name, array in weights.items())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """一个随机权重的运行、它的语料与三种量化。"""
    folder = tmp_path_factory.mktemp("runs")
    text = folder / "text.txt"
    text.write_text("".join(f"the cat {i} sat on the mat {i * i}. " for i in range(600)), encoding="utf-8")
    tokenizer = train_bpe(text.read_text(encoding="utf-8"), 264)
    state = {"model": CONFIG.to_dict(), "tokenizer": tokenizer.digest}
    save_checkpoint(folder / "plain", Checkpoint(1, initial_weights(CONFIG, 0), {}, state))
    tokenizer.save(folder / "plain" / "tokenizer.json")
    for name, *flags in [("a", "--format", "int8"), ("b", "--format", "int4", "--method", "gptq")]:
        words = ["quantize", "plain", "--run", name, "--runs-dir", str(folder), *flags]
        assert main("torch_llm", "", VERBS, [*words, "--calibration", str(text), "--calibration-tokens", "512"]) == 0
    return folder


def test_the_report_lists_every_run_and_is_the_same_every_time(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """每个运行一行，int8 另有激活也量化的一行；质量的 JSON 两次逐字节相同，数字与文件的大小对得上。"""
    kept = []
    for i in range(2):
        out = tmp_path / str(i)
        words = ["quantize", "report", "plain", "a", "b", "--runs-dir", str(runs), "--corpora", str(runs / "text.txt")]
        words += ["--tokens", "256", "--decode-tokens", "2", "--rounds", "1", "--out", str(out)]
        assert main("torch_llm", "", VERBS, words) == 0
        kept.append((out / "quality.json").read_bytes())
        assert "<svg" in (out / "report.html").read_text(encoding="utf-8")
        assert len(json.loads((out / "speed.json").read_text(encoding="utf-8"))) == 4
    assert kept[0] == kept[1]
    rows: list[dict[str, Any]] = json.loads(kept[0])["rows"]
    assert [row["name"] for row in rows] == ["plain", "a", "a w8a8", "b"]
    assert rows[0]["bytes"] > rows[1]["bytes"] > rows[3]["bytes"]
    assert all(abs(change) < 0.05 for row in rows for change in row["change"].values())
    assert "int4 g32 gptq" in capsys.readouterr().out


def test_the_layer_map_is_written(runs: Path, tmp_path: Path) -> None:
    """命令写出表、图与 JSON，每个矩阵一行。"""
    words = ["quantize", "layers", "plain", "--runs-dir", str(runs), "--corpora", str(runs / "text.txt")]
    assert main("torch_llm", "", VERBS, [*words, "--tokens", "256", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "layers.json").read_text(encoding="utf-8"))
    assert len(found["layers"]) == 1 + 5 * CONFIG.n_layer
    assert "<svg" in (tmp_path / "layers.html").read_text(encoding="utf-8")
