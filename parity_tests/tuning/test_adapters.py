"""支路与 ``peft`` 往来：两边 logits 相等；并入之后是普通的运行；一个底座可以有几套支路。"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from parity_tests.tuning.running import FLAGS, tune
from parity_tests.whole_runs.commands import Ended, Place, as_flags, assert_bit_equal
from tinygrad_llm.common.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.session import load_weights
from tinygrad_llm.common.tokenizers import load_tokenizer
from torch_llm.loading import load_model

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft 自己的

CLOSE = 1e-5
"""float32 的 logits：支路先乘后加，与并入权重之后相乘，舍入的次序不同。"""
LLAMA: dict[str, Any] = {
    "n_layer": 2, "n_head": 2, "n_kv_head": 1, "n_embd": 16, "hidden": 24, "context": 32,
    "norm": "rmsnorm", "position": "rope", "mlp": "swiglu", "bias": False,
}  # fmt: skip


def make_base(place: Place, family: str) -> GPTConfig:
    """一个随机权重的底座 ``start``，分词器取自 ``base``。"""
    tokenizer = load_tokenizer(place.runs / "base" / "tokenizer.json")
    shape = LLAMA if family == "llama" else {"n_layer": 2, "n_head": 2, "n_embd": 16, "context": 32}
    config = GPTConfig(vocab_size=tokenizer.vocab_size, **shape)
    state = {"model": config.to_dict(), "tokenizer": tokenizer.digest}
    save_checkpoint(place.runs / "start", Checkpoint(0, initial_weights(config, 7, "float32"), {}, state))
    tokenizer.save(place.runs / "start" / "tokenizer.json")
    return config


def verb(place: Place, *words: object, **flags: Any) -> Ended:
    """跑一条命令。"""
    return place.call("torch", *map(str, words), *as_flags({"runs_dir": place.runs, **flags}))


def ours(place: Place, run: str) -> Any:
    """我们的 logits。"""
    with torch.no_grad():
        return load_model(place.runs / run, "cpu").model(torch.arange(20)[None] * 7 % 290).numpy()


def theirs(base: Path, adapter: Path | None) -> Any:
    """``transformers`` 与 ``peft`` 的 logits。"""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    found = model if adapter is None else PeftModel.from_pretrained(model, adapter)
    with torch.no_grad():
        return found.eval()(torch.arange(20)[None] * 7 % 290).logits.numpy()


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_peft_reads_another_adapter(based: Place, family: str) -> None:
    """这里练的支路，``peft`` 打开之后 logits 不同；或再读回来不是原来的。"""
    make_base(based, family)
    targets = ["--lora-targets", "c_attn", "c_proj", "c_fc", *(["c_gate"] if family == "llama" else [])]
    flags = {
        **FLAGS,
        "from": "start",
        "run": "tuned",
        "runs_dir": based.runs,
        "lora_rank": 2,
        "lr": 0.05,
        "dtype": "float32",
    }
    done = based.call("torch", "sft", *as_flags(flags), *targets)
    assert done.code == 0, done.err
    assert verb(based, "export", "start", "hf").code == 0
    done = verb(based, "adapter", "export", "tuned", "peft")
    assert done.code == 0, done.err
    expected = ours(based, "tuned")
    assert np.abs(theirs(Path("hf"), Path("peft")) - expected).max() < CLOSE
    assert np.abs(theirs(Path("hf"), None) - expected).max() > 100 * CLOSE
    done = verb(based, "adapter", "import", "peft", run="back", **{"from": "start"})
    assert done.code == 0, done.err
    assert_bit_equal(load_checkpoint(based.runs / "back").model, load_checkpoint(based.runs / "tuned").model)


@pytest.mark.parametrize(
    "modules", [["q_proj", "v_proj"], ["q_proj", "k_proj", "v_proj", "down_proj"]], ids=["qv", "qkv"]
)
def test_an_adapter_of_peft_is_read_wrong(based: Place, modules: list[str]) -> None:
    """``peft`` 练的支路（q、k、v 各有各的 A）读进来之后 logits 不同。"""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    make_base(based, "llama")
    assert verb(based, "export", "start", "hf").code == 0
    torch.manual_seed(0)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained("hf"), LoraConfig(r=2, lora_alpha=6, target_modules=modules)
    )
    for name, p in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(p, std=0.3)
    model.save_pretrained("peft")
    done = verb(based, "adapter", "import", "peft", run="got", **{"from": "start"})
    assert done.code == 0, done.err
    assert np.abs(theirs(Path("hf"), Path("peft")) - ours(based, "got")).max() < CLOSE
    flags = {"from_": "got", "lora_rank": 1, "dtype": "float32"}
    assert tune(based, "torch", "further", **flags).code == 0


def test_merging_changes_the_model(based: Place) -> None:
    """并入之后的运行不等于底座加支路，或仍要底座在场；几套支路共用一个底座，互不相干。"""
    for run, seed in (("one", 1), ("two", 2)):
        assert tune(based, "torch", run, lora_rank=2, seed=seed).code == 0
    whole = {run: load_weights(based.runs / run)[1].model for run in ("one", "two")}
    assert verb(based, "adapter", "merge", "one").code == 0
    (based.runs / "base").rename(based.runs / "moved")
    assert_bit_equal(load_weights(based.runs / "one-merged")[1].model, whole["one"])
    assert any((whole["one"][name] != whole["two"][name]).any() for name in whole["one"])
    done = verb(based, "adapter", "merge", "one", run="again")
    assert done.code == 4
    assert "is not there" in done.err


def test_a_foreign_adapter_is_accepted(based: Place) -> None:
    """底座不对、不是 LoRA、用了花样的支路，应说清楚。"""
    make_base(based, "llama")
    assert tune(based, "torch", "tuned", lora_rank=2).code == 0
    assert verb(based, "adapter", "export", "tuned", "peft").code == 0
    done = verb(based, "adapter", "import", "peft", run="got", **{"from": "start"})
    assert done.code == 4
    assert "does not fit this model" in done.err
    settings = json.loads(Path("peft/adapter_config.json").read_text(encoding="utf-8"))
    Path("peft/adapter_config.json").write_text(json.dumps({**settings, "use_dora": True}), encoding="utf-8")
    done = verb(based, "adapter", "import", "peft", run="got", **{"from": "base"})
    assert done.code == 4
    assert "use_dora" in done.err
    assert verb(based, "adapter", "export", "base", "out").code == 2
