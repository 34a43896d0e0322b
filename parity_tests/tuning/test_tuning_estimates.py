"""微调的 ``--dry-run``：只学一部分就只算那一部分，行按对话的长短算，什么也不留，而且估得准。"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import estimates
from parity_tests.tuning.running import FLAGS, tune
from parity_tests.whole_runs.commands import Place, as_flags
from tinygrad_llm.common.adapter import LoRAConfig
from tinygrad_llm.common.checkpoint import load_checkpoint
from tinygrad_llm.common.config import GPTConfig, parameter_count
from tinygrad_llm.common.engine import LanguageModelling
from tinygrad_llm.common.torch_config import TorchConfig
from tinygrad_llm.common.tuning.config import TorchSftConfig
from tinygrad_llm.common.tuning.scope import Scope
from tinygrad_llm.common.tuning.session import open_base
from tinygrad_llm.common.tuning.sft import gather, sft_session
from torch_llm.dry_run import scene_of
from torch_llm.footprint import STATES, WEIGHTS, Scene, footprint
from torch_llm.runtime import Runtime
from torch_llm.scoped import Scoped

SCOPES: dict[str, dict[str, Any]] = {
    "full": {}, "last layer": {"last_layers": 1}, "lora": {"lora_rank": 2}, "packed": {"packing": "bos"},
}  # fmt: skip
CPU = Runtime(torch.device("cpu"), None, ())


@pytest.mark.parametrize("name", SCOPES)
def test_dry_run_of_tuning_counts_what_is_frozen(based: Place, name: str) -> None:
    """估计留下了文件，把冻结的参数也算进梯度与检查点，或把每一行都当作整个上下文。"""
    flags = {"dtype": "float32", "watch": "none", **SCOPES[name]}
    answer = Path("estimate.json")
    ended = tune(based, "torch", "x", **flags, dry_run=True, json=answer)
    assert (ended.code, ended.err) == (0, "")
    assert not (based.runs / "x").exists()
    found = json.loads(answer.read_bytes())
    assert tune(based, "torch", "x", **flags).code == 0
    kept = load_checkpoint(based.runs / "x").model
    learnt = sum(array.size for array in kept.values())
    assert found["parameters"].get("trained", found["parameters"]["total"]) == learnt
    assert found["state"]["gradients"] == 4 * learnt
    assert found["state"]["optimizer state"] == 8 * learnt
    used = sum(path.stat().st_size for path in (based.runs / "x" / "checkpoints").rglob("*") if path.is_file())
    assert used <= found["disk"]["total_bytes"]
    widest = FLAGS["batch_size"] * 32
    assert found["tokens"]["per_step"] == widest if name == "packed" else found["tokens"]["per_step"] < widest
    assert found["memory"]["peak_bytes"] == sum(found["memory"]["parts"].values())
    assert any("evaluations" in part for part in found["time"]["parts"])


def test_memory_of_lora_is_that_of_full_tuning() -> None:
    """LoRA 的梯度与优化器的状态按全部参数算了，或评估、答题的批次没有算。"""
    config = GPTConfig(vocab_size=500, context=64, n_layer=2, n_head=2, n_embd=64)
    scope = Scope(LoRAConfig(4, 8.0))
    scene = Scene(16, ((16, 24),), (4, 40), Scoped(LanguageModelling(), scope))
    settings = TorchConfig(batch_size=4)
    lora, full = (footprint(config, settings, CPU, one) for one in (scene, Scene(16, ((16, 24),), (4, 40))))
    learnt = sum(map(math.prod, (scope.shapes(config) or {}).values()))
    assert lora.parts[WEIGHTS] == 4 * (parameter_count(config) + learnt)
    assert lora.phases["optimizer"] - lora.parts[WEIGHTS] < 0.2 * (full.phases["optimizer"] - full.parts[WEIGHTS])
    assert 8 * learnt <= lora.parts[STATES] < 8.1 * learnt
    wide = footprint(config, settings, CPU, Scene(16, ((16, 64),), (4, 40)))
    assert wide.phases["evaluation"] > full.phases["evaluation"]
    many = footprint(config, settings, CPU, Scene(16, ((16, 24),), (16, 40)))
    cache = 2 * 2 * 64 * 40 * 4  # 每个槽每层的 K 与 V
    assert many.phases["sampling"] - full.phases["sampling"] >= 12 * cache


def test_integers_are_counted_as_floats(based: Place) -> None:
    """整数的底座（QLoRA）按浮点数的权重估了内存。"""
    assert based.call("torch", "quantize", "base", *as_flags({"runs_dir": based.runs, "run": "int8"})).code == 0
    found = {}
    for run in ("base", "int8"):
        settings = TorchSftConfig(
            run="x", runs_dir=str(based.runs), from_run=run, data="chats.jsonl", lora_rank=2, watch="none"
        )
        base = open_base(settings)
        session = sft_session(base, gather(base))
        scene = scene_of(session, settings, Scoped(LanguageModelling(), settings.scope))
        found[run] = footprint(session.model, settings, CPU, scene).parts[WEIGHTS]
    kept = load_checkpoint(based.runs / "int8", weights_only=True).model
    codes = sum(array.size for name, array in kept.items() if name.endswith(".codes"))
    scales = sum(array.size for name, array in kept.items() if name.endswith(".scale"))
    assert found["base"] - found["int8"] == (4 - 1) * codes - 4 * scales


@pytest.mark.full
@pytest.mark.parametrize("scope", ["--lora-rank 8", "--last-layers 1", "--packing bos", ""])
def test_estimated_memory_of_tuning_is_off(based: Place, scope: str, tmp_path: Path) -> None:
    """微调的内存估计与新进程里的实测差了一成半以上。"""
    shape = "--preset gpt2 --n-layer 4 --context 256 --batch-size 4 --steps 1 --warmup-steps 0 --sample-tokens 1"
    python = [sys.executable, "-m", "torch_llm"]
    folder = ["--runs-dir", str(based.runs)]
    estimates.watched([*python, "pretrain", "--run", "large", "--data", "old", *folder, *shape.split()])
    flags = "--data storyworld:instructions:400 --batch-size 16 --steps 6 --quiz 8 --watch none --overflow skip"
    command = [*python, "sft", "--run", "x", "--from", "large", *folder, *flags.split()]
    answer = tmp_path / "estimate.json"
    estimates.watched([*command, *scope.split(), "--dry-run", "--json", str(answer)])
    _, measured = estimates.watched([*command, *scope.split()])
    ratio = json.loads(answer.read_bytes())["memory"]["peak_bytes"] / measured
    assert abs(ratio - 1) <= estimates.BOUND
