"""HF 文件夹与 GGUF 两个方向：``transformers`` 存下的我们读得对，我们写的它打得开；写出再读回，逐比特或在舍入之内。"""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parity_tests.tokenizers.samples import small
from parity_tests.transformers.exact import Float64
from parity_tests.transformers.families import FAMILIES, configs, from_theirs, state_of, their_model
from parity_tests.transformers.sides import MODELS, our_model
from tinygrad_llm.common.chat import TEMPLATES, Conversation, Message, render_prompt
from tinygrad_llm.common.checkpoint import Checkpoint, save_checkpoint
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.errors import CheckpointError, UserError
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.session import load_trained, load_weights
from tinygrad_llm.common.weights.command import ConvertConfig, convert
from tinygrad_llm.common.weights.export_command import ExportConfig, export
from tinygrad_llm.common.weights.ggml import BY_NAME
from tinygrad_llm.common.weights.names import Family

os.environ.setdefault("HF_HUB_OFFLINE", "1")

LLAMA: dict[str, Any] = {
    "n_kv_head": 2, "head_dim": 16, "norm": "rmsnorm", "position": "rope", "mlp": "swiglu", "bias": False, "hidden": 64,
}  # fmt: skip
SHAPE: dict[str, Any] = {"vocab_size": 70, "context": 8, "n_layer": 2, "n_head": 4, "n_embd": 32}
EXAMPLES: dict[Family, GPTConfig] = {
    "gpt2": GPTConfig(**SHAPE),
    "llama": GPTConfig(**SHAPE, **LLAMA, tie_head=False),
    "qwen3": GPTConfig(**SHAPE, **LLAMA, qk_norm=True),
}
BITS = {"float32": 0.0, "float16": 2.0**-11, "bfloat16": 2.0**-8}
SOME = settings(max_examples=min(50, settings().max_examples), suppress_health_check=list(HealthCheck))


def saved_run(folder: Path, config: GPTConfig, seed: int = 0) -> dict[str, Any]:
    """一个没有分词器的运行，权重打散。"""
    weights = {k: 3 * v + 0.1 for k, v in initial_weights(config, seed, "float32").items()}
    save_checkpoint(folder, Checkpoint(0, weights, {}, {"model": config.to_dict(), "tokenizer": None}))
    return weights


def same_shape(one: GPTConfig, two: GPTConfig) -> bool:
    """两份配置是同一个模型；同一个大小可以写作数，也可以写作 ``None``。"""
    values = [
        {**c.to_dict(), "hidden": c.hidden_size, "n_kv_head": c.kv_heads, "head_dim": c.head_size} for c in (one, two)
    ]
    return values[0] == values[1]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("is_sharded", [False, True], ids=["one file", "sharded"])
def test_a_folder_of_transformers_is_read_wrong(tmp_path: Path, family: Family, is_sharded: bool) -> None:
    """``transformers`` 存下的文件夹，读成的配置或权重不同。"""
    config = EXAMPLES[family]
    theirs = their_model(config, family)
    theirs.save_pretrained(tmp_path / "m", max_shard_size="30KB" if is_sharded else "1GB")
    assert (tmp_path / "m" / "model.safetensors.index.json").exists() == is_sharded
    convert(ConvertConfig(source=str(tmp_path / "m"), run="a", runs_dir=str(tmp_path), dtype="float64"))
    found, checkpoint = load_weights(tmp_path / "a")
    assert same_shape(found, config)
    for name, value in from_theirs(state_of(theirs), config, family).items():
        np.testing.assert_array_equal(checkpoint.model[name], value, err_msg=name)
    with pytest.raises(CheckpointError, match="no tokenizer"):
        load_trained(tmp_path / "a")


@pytest.mark.full
@SOME
@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data())
def test_both_directions_through_files_change_the_logits(
    family: Family, data: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """经过文件之后，两边的 logits 超出了 1e-10（float64）。"""
    folder = tmp_path_factory.mktemp("both")
    config = data.draw(configs(family))
    theirs = their_model(config, family)
    theirs.save_pretrained(folder / "m")
    convert(ConvertConfig(source=str(folder / "m"), run="a", runs_dir=str(folder), dtype="float64"))
    found, checkpoint = load_weights(folder / "a")
    assert same_shape(found, config)
    ids = np.random.default_rng(0).integers(0, config.vocab_size, (2, config.context))
    with Float64(), torch.no_grad():
        expected = theirs(input_ids=torch.tensor(ids)).logits.numpy()
    for m in MODELS:
        logits = np.asarray(our_model(m, config, checkpoint.model)(m.tensor(ids)).detach().numpy())
        assert np.abs(logits - expected).max() <= 1e-10 * max(1.0, np.abs(expected).max()), m.__name__
    weights = saved_run(folder / "b", config)
    export(ExportConfig(run="b", runs_dir=str(folder), out=folder / "hf"))
    with Float64():
        again = type(theirs).from_pretrained(folder / "hf", dtype=torch.float64)
    for name, value in from_theirs(state_of(again), config, family).items():
        np.testing.assert_array_equal(value, weights[name].astype(np.float64), err_msg=name)
    with Float64(), torch.no_grad():
        expected = again(input_ids=torch.tensor(ids)).logits.numpy()
    exact = {name: value.astype(np.float64) for name, value in weights.items()}
    for m in MODELS:
        logits = np.asarray(our_model(m, config, exact)(m.tensor(ids)).detach().numpy())
        assert np.abs(logits - expected).max() <= 1e-10 * max(1.0, np.abs(expected).max()), m.__name__


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("format", ["hf", "gguf"])
@pytest.mark.parametrize("dtype", [*BITS, "q8_0", "q4_0", "q4_1"])
def test_an_export_does_not_come_back(tmp_path: Path, family: Family, format: Any, dtype: Any) -> None:
    """写出再读回，float32 差了一个比特，或别的类型超出了自己的舍入误差。"""
    if format == "hf" and dtype not in BITS:
        with pytest.raises(UserError, match="belongs to --format gguf"):
            ExportConfig(run="a", out=tmp_path, format="hf", dtype=dtype)
        return
    config = EXAMPLES[family]
    weights = saved_run(tmp_path / "a", config)
    export(ExportConfig(run="a", runs_dir=str(tmp_path), out=tmp_path / "x", format=format, dtype=dtype))
    source = tmp_path / "x" if format == "hf" else next((tmp_path / "x").iterdir())
    convert(ConvertConfig(source=str(source), run="b", runs_dir=str(tmp_path)))
    found, checkpoint = load_weights(tmp_path / "b")
    assert same_shape(found, config)
    for name, value in weights.items():
        back = checkpoint.model[name]
        if dtype in BITS:  # 比 float16 最小的正规数还小的，误差是最小间隔的一半
            least = 2.0**-25 if dtype == "float16" else 0.0
            assert (np.abs(back - value) <= BITS[dtype] * np.abs(value) + least).all(), name
            continue
        levels = {"q8_0": 127, "q4_0": 8, "q4_1": 7.5}[dtype]
        assert np.abs(back - value).max() <= np.abs(value).max() * (1 / levels + 2e-3), name


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_cannot_open_an_export(tmp_path: Path, family: Family) -> None:
    """``transformers`` 打不开我们写的文件夹，或读出的权重、logits 不同。"""
    transformers: Any = importlib.import_module("transformers")
    config = EXAMPLES[family]
    weights = saved_run(tmp_path / "a", config)
    export(ExportConfig(run="a", runs_dir=str(tmp_path), out=tmp_path / "x"))
    with Float64():
        theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "x", dtype=torch.float64)
    exact = {name: value.astype(np.float64) for name, value in weights.items()}
    ids = np.random.default_rng(0).integers(0, config.vocab_size, (2, 7))
    with Float64(), torch.no_grad():
        expected = theirs(input_ids=torch.tensor(ids)).logits.numpy()
    logits = our_model(torch, config, exact)(torch.tensor(ids)).detach().numpy()
    assert np.abs(logits - expected).max() <= 1e-10 * np.abs(expected).max()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gguf_package_reads_an_export_differently(tmp_path: Path, family: Family) -> None:
    """PyPI 的 ``gguf`` 打不开我们写的文件，或反量化出的数不同。"""
    pytest.importorskip("gguf", reason="the PyPI package gguf is not installed")
    gguf: Any = importlib.import_module("gguf")
    quants: Any = importlib.import_module("gguf.quants")
    config = EXAMPLES[family]
    weights = saved_run(tmp_path / "a", config)
    export(ExportConfig(run="a", runs_dir=str(tmp_path), out=tmp_path / "x", format="gguf", dtype="q8_0"))
    path = next((tmp_path / "x").iterdir())
    convert(ConvertConfig(source=str(path), run="b", runs_dir=str(tmp_path)))
    _, checkpoint = load_weights(tmp_path / "b")
    reader = gguf.GGUFReader(path)
    found = {one.name: one for one in reader.tensors}
    assert reader.fields["general.architecture"].contents() == family
    assert len(found) == sum(one.count(".attn.c_attn.") * (2 if family != "gpt2" else 0) + 1 for one in weights)
    wte = found["token_embd.weight"]
    np.testing.assert_array_equal(quants.dequantize(wte.data, wte.tensor_type), checkpoint.model["wte.weight"])
    assert wte.tensor_type == BY_NAME["Q8_0"].number


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=lambda one: one.name)
@pytest.mark.parametrize("format", ["hf", "gguf"])
def test_the_tokenizer_or_the_template_gets_lost(tmp_path: Path, template: Any, format: Any) -> None:
    """写出再读回，分词器或对话模板变了；或 ``transformers`` 按模板拼出的 id 与我们的不同。"""
    tokenizer = small().with_specials([name for name in template.specials if name != "<|endoftext|>"])
    config = GPTConfig(**{**SHAPE, "vocab_size": tokenizer.vocab_size + 5})
    weights = initial_weights(config, 0, "float32")
    state = {"model": config.to_dict(), "tokenizer": tokenizer.digest, "chat_template": template.name}
    save_checkpoint(tmp_path / "a", Checkpoint(0, weights, {}, state))
    tokenizer.save(tmp_path / "a" / "tokenizer.json")
    export(ExportConfig(run="a", runs_dir=str(tmp_path), out=tmp_path / "x", format=format))
    source = tmp_path / "x" if format == "hf" else next((tmp_path / "x").iterdir())
    convert(ConvertConfig(source=str(source), run="b", runs_dir=str(tmp_path)))
    _, found, checkpoint = load_trained(tmp_path / "b")
    text = "Hello, world! 你好 <|endoftext|> 12345\n"
    assert found.encode(text) == tokenizer.encode(text)
    assert {name: found.special(name) for name in found.specials} == {
        n: tokenizer.special(n) for n in tokenizer.specials
    }
    assert checkpoint.state["chat_template"] == template.name
    if format == "hf":
        transformers: Any = importlib.import_module("transformers")
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "x")
        turns = [("user", "Who are you?\n"), ("assistant", "I am."), ("user", "Sure?")]
        messages = [{"role": role, "content": content} for role, content in turns]
        ids = theirs.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
        talk = Conversation(tuple(Message(role, content) for role, content in turns))  # type: ignore[arg-type]
        assert ids == list(render_prompt(talk, tokenizer, template).ids)


def test_a_model_without_a_home_is_exported(tmp_path: Path) -> None:
    """三家都装不下的模型，也写了出来。"""
    for odd in ({"window": 4}, {"norm": "rmsnorm"}, {"n_kv_head": 2}, {"qk_norm": True}):
        folder = tmp_path / next(iter(odd))
        saved_run(folder, GPTConfig(**{**SHAPE, **odd}))
        with pytest.raises(UserError, match="have no place for"):
            export(ExportConfig(run=str(folder), out=tmp_path / "x"))
    assert not (tmp_path / "x").exists()


def test_a_number_beyond_float16_becomes_infinite(tmp_path: Path) -> None:
    """装不下的数写成了无穷，或留下了半个文件夹。"""
    weights = saved_run(tmp_path / "a", EXAMPLES["gpt2"])
    weights["wte.weight"][0, 0] = 1e5
    state = {"model": EXAMPLES["gpt2"].to_dict(), "tokenizer": None}
    save_checkpoint(tmp_path / "a", Checkpoint(0, weights, {}, state))
    for format in ("hf", "gguf"):
        with pytest.raises(UserError, match="beyond float16"):
            export(ExportConfig(run="a", runs_dir=str(tmp_path), out=tmp_path / "x", format=format, dtype="float16"))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


REFUSED: dict[str, dict[str, Any]] = {
    "architecture": {"model_type": "mamba"},
    "activation": {"hidden_act": "gelu"},
    "rope scaling": {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0}},
    "old rope scaling": {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": None},
    "some biases": {"attention_bias": True},
    "quantised": {"quantization_config": {"bits": 4}},
    "sliding layers": {"layer_types": ["sliding_attention", "full_attention"]},
    "text for a number": {"num_hidden_layers": "2"},
    "true for a number": {"num_attention_heads": True},
    "infinite": {"rms_norm_eps": float("inf")},
    "too many layers": {"num_hidden_layers": 1 << 30},
    "heads do not divide": {"num_key_value_heads": 3},
    "other width": {"hidden_size": 64},
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_wrong_config_is_accepted(tmp_path: Path, kind: str) -> None:
    """``config.json`` 要求我们没有的结构，或自相矛盾，却照样读了。"""
    their_model(EXAMPLES["llama"], "llama").save_pretrained(tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | REFUSED[kind]))
    with pytest.raises(CheckpointError) as caught:
        convert(ConvertConfig(source=str(tmp_path / "m"), run="a", runs_dir=str(tmp_path)))
    assert len(str(caught.value).splitlines()) <= 3
    assert not (tmp_path / "a").exists()
