"""量化感知训练：两个引擎同样地舍入，梯度原样通过；训练之后照同样的格式存下来，模型不变。"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as tg
from parity_tests.tolerances import assert_close
from tinygrad_llm.common.checkpoint import load_checkpoint
from tinygrad_llm.common.cli import main
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.quantization import STATE_KEY, Scheme, dequantize, dequantized, join, quantize
from tinygrad_llm.common.quantization.scheme import qat_scheme
from tinygrad_llm.quantizing import fake_quantize as numpy_fake
from torch_llm.__main__ import VERBS
from torch_llm.loop import build_model
from torch_llm.quantization.qat import fake_quantize, train_aware

SCHEMES = [Scheme("int8"), Scheme("int4", 32), Scheme("int4", 32, True), Scheme("int4", 128, True)]


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 150), st.sampled_from(SCHEMES))
def test_both_engines_round_alike_and_let_the_gradient_through(
    seed: int, rows: int, columns: int, scheme: Scheme
) -> None:
    """前向与存下来再读出的逐位相同；梯度就是上面来的梯度。"""
    rng = np.random.default_rng(seed)
    w = (rng.standard_normal((rows, columns)) * 10.0 ** rng.uniform(-4, 3)).astype(np.float32)
    w[rng.random((rows, columns)) < rng.choice([0, 1])] = 0
    stored = dequantize(quantize(w, scheme, search=False))
    theirs = torch.tensor(w, requires_grad=True)
    ours = tg.tensor(w, requires_grad=True)
    upstream = rng.standard_normal((rows, columns)).astype(np.float32)
    y, z = fake_quantize(theirs, scheme), numpy_fake(ours, scheme)
    assert np.array_equal(y.detach().numpy(), stored)
    assert np.array_equal(z.array, stored)
    y.backward(torch.from_numpy(upstream))
    z.backward(tg.from_numpy(upstream))
    assert theirs.grad is not None
    assert ours.grad is not None
    assert np.array_equal(theirs.grad.numpy(), upstream)
    assert np.array_equal(ours.grad.array, upstream)


@pytest.mark.parametrize("format", ["int8", "int4"])
def test_an_aware_run_loses_nothing_when_it_is_quantised(tmp_path: Path, format: str) -> None:
    """训练几步，再量化成同样的格式：存下的各线性层就是训练时前向用的那些；词嵌入另存成 int8。"""
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat. " * 400, encoding="utf-8")
    sizes = {"vocab-size": 264, "n-layer": 1, "n-embd": 64, "context": 16, "batch-size": 2, "workers": 1, "steps": 3}
    shape = [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
    flags = ["--run", "aware", "--runs-dir", str(tmp_path), "--corpus", str(text)]
    trained = ["pretrain", *flags, *shape, "--sample-every", "0", "--qat", format, "--qat-group", "32"]
    assert main("torch_llm", "", VERBS, trained) == 0
    words = ["quantize", "aware", "--run", "small", "--runs-dir", str(tmp_path), "--format", format, "--group", "32"]
    assert main("torch_llm", "", VERBS, words) == 0

    plain, small = (load_checkpoint(tmp_path / name) for name in ("aware", "small"))
    config = GPTConfig.from_dict(plain.state["model"])
    stored = dequantized(join(config, small.model, small.state[STATE_KEY], where="small"))
    model = build_model(config, {**plain.model, "wte.weight": stored["wte.weight"]}).eval()
    train_aware(model, qat_scheme(format, 32))  # type: ignore[arg-type]
    ids = torch.arange(16)[None]
    with torch.no_grad():
        assert_close(build_model(config, stored).eval()(ids).numpy(), model(ids).numpy(), "gpt float32")
    assert not np.array_equal(stored["h.0.mlp.c_fc.weight"], plain.model["h.0.mlp.c_fc.weight"])


def test_a_group_that_cannot_be_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """组大小不对，开训之前就说。"""
    assert main("torch_llm", "", VERBS, ["pretrain", "--qat", "int4", "--qat-group", "48"]) == 2
    assert "--qat-group must be one of 32, 64, 128" in capsys.readouterr().err
