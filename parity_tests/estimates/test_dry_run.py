"""``--dry-run``：两个引擎都只估计、不训练，什么也不留下，而且估得准。"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import estimates
from parity_tests.whole_runs.commands import ENGINES, PROGRAMS, TINY, TRAIN, Place
from tinygrad_llm.common.checkpoint import list_checkpoints
from tinygrad_llm.common.config import parameter_count, preset
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.estimate import (
    Memory,
    disk_of,
    events,
    kv_cache_bytes,
    parameters_by_part,
    standing_bytes,
)
from tinygrad_llm.common.runlog import read_metrics, read_samples
from tinygrad_llm.common.train_config import TrainConfig


@pytest.mark.parametrize("engine", ENGINES)
def test_dry_run_trains_or_leaves_files(engine: str, place: Place) -> None:
    """估计留下了文件，没有写出 JSON，或账单里的数对不上。"""
    answer = place.corpus.parent / "estimate.json"
    ended = place.train(engine, "a", dry_run=True, json=answer, workers=1)
    assert (ended.code, ended.err) == (0, "")
    assert not place.runs.exists()
    found = json.loads(answer.read_bytes())
    model = TrainConfig(**{name: value for name, value in TINY.items() if name != "steps"}).model(300)
    assert found["parameters"]["total"] == parameter_count(model)
    assert found["state"]["weights"] == 4 * parameter_count(model)
    assert found["state"]["optimizer state"] == 8 * parameter_count(model)
    assert found["tokens"]["per_run"] == 12 * 4 * 16
    assert found["memory"]["peak_bytes"] == sum(found["memory"]["parts"].values())
    assert found["memory"]["peak_bytes"] == max(found["memory"]["phases"].values())
    assert found["time"]["total_s"] == pytest.approx(sum(found["time"]["parts"].values()))
    assert found["time"]["step"] > 0
    assert found["settings"]["steps"] == 12
    for word in ("parameters", "flops per token", "memory at the peak", "disk", "12 steps", "total"):
        assert word in ended.out


@pytest.mark.parametrize("engine", ENGINES)
def test_dry_run_misses_wrong_settings(engine: str, place: Place) -> None:
    """估计没有查出训练会拒绝的设置，或一次只说一处。"""
    ended = place.train(engine, "a", dry_run=True, accumulate=3, lr=-1, keep=0)
    assert ended.code == 2
    assert "--lr" in ended.err
    assert "--keep" in ended.err
    assert place.train(engine, "a", json=Path("x.json")).code == 2
    assert not place.runs.exists()


def test_dry_run_of_a_resumed_run_counts_from_the_start(place: Place) -> None:
    """续训的估计从头算起，或改动了那次运行。"""
    assert place.train("torch", "a", stop_at=8).code == 0
    before = place.contents()
    answer = place.corpus.parent / "estimate.json"
    assert place.resume("torch", "a", stop_at=12, dry_run=True, json=answer).code == 0
    assert json.loads(answer.read_bytes())["tokens"]["per_run"] == 4 * 4 * 16
    assert place.contents() == before


def test_estimate_of_an_absent_device_is_refused_or_called_measured(place: Place) -> None:
    """点名的设备这里没有，估计就不做了，或把算出来的时间说成实测的。"""
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    answer = place.corpus.parent / "estimate.json"
    ended = place.train("torch", "a", dry_run=True, device="cuda", json=answer)
    found = json.loads(answer.read_bytes())
    assert (ended.code, found["memory"]["where"]) == (0, "cuda")
    assert "not measured here" in found["time"]["source"]
    assert found["memory"]["measured"] == 0
    assert found["memory"]["parts"]["weights"] == found["state"]["weights"]


def test_memory_overrun_starts_anyway(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """预计放不下，NumPy 引擎还是开始训练，或没有说怎样才放得下。"""
    from tinygrad_llm import dry_run

    monkeypatch.setattr(dry_run, "available_memory_bytes", lambda: 40 << 20)
    ended = place.train("numpy", "a", dry_run=True, workers=1)
    assert ended.code == 2
    assert "needed" in ended.err


def test_suggested_micro_batch_does_not_fit() -> None:
    """建议的微批还是放不下，或切得比必要的更碎。"""
    from tinygrad_llm.dry_run import ACTIVATIONS, refuse_overrun

    memory = Memory({"weights": 100, ACTIVATIONS: 800}, {"step": 900}, available=350)
    with pytest.raises(UserError) as caught:
        refuse_overrun(memory, TrainConfig(batch_size=16))
    assert caught.value.fix == "use --accumulate 4"
    refuse_overrun(Memory({"weights": 100}, {"step": 100}, available=350), TrainConfig())


@pytest.mark.parametrize("name", ["toy", "toy-llama", "gpt2", "smollm2-135m"])
def test_parts_do_not_add_up_to_the_parameters(name: str) -> None:
    """各部分的参数加起来不是总数，或 KV 缓存算错。"""
    config = preset(name)
    parts = parameters_by_part(config)
    assert parts.pop("total") == sum(parts.values()) == parameter_count(config)
    assert parts["token embedding"] == config.vocab_size * config.n_embd
    assert kv_cache_bytes(config, 10, 4) == 2 * config.n_layer * config.kv_heads * config.head_size * 10 * 4


def test_optimizer_state_ignores_the_rule() -> None:
    """Muon 与 SGD 的状态按 AdamW 算了。"""
    config = preset("toy")
    weights = 4 * parameter_count(config)
    state = {rule: standing_bytes(config, TrainConfig(optimizer=rule))["optimizer state"] for rule in ("adamw", "sgd")}
    assert state == {"adamw": 2 * weights, "sgd": weights}
    assert weights < standing_bytes(config, TrainConfig(optimizer="muon"))["optimizer state"] < 2 * weights


def test_events_differ_from_the_loop_s(place: Place) -> None:
    """评估、采样、存档的次数与循环真的做的不同，或磁盘估得比用的少。"""
    assert place.train("torch", "a", eval_every=5, sample_every=4, save_every=3, keep=3).code == 0
    settings = TrainConfig(**TINY, eval_every=5, sample_every=4, save_every=3, keep=3)
    run = place.runs / "a"
    counts = events(settings, 0)
    assert counts["evaluations"] == sum("val_loss" in record for record in read_metrics(run))
    assert counts["samples"] == len(read_samples(run))
    assert counts["saves"] == 4
    steps = list_checkpoints(run)
    used = sum(path.stat().st_size for path in (run / "checkpoints").rglob("*") if path.is_file())
    disk = disk_of(settings.model(300), settings, 0)
    assert disk["kept"] >= len(steps)
    assert used <= disk["total_bytes"]


@pytest.mark.full
@pytest.mark.parametrize(("engine", "name", "flags"), estimates.scenes(estimates.EstimatesOptions(steps=12)))
def test_estimated_memory_is_off(engine: str, name: str, flags: list[str], tmp_path: Path) -> None:
    """内存的估计与新进程里的实测差了一成半以上。时间由 ``benchmarks estimates`` 在安静的机器上核对。"""
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(estimates.sample_text(60_000), encoding="utf-8")
    folder = tmp_path / "runs"
    folder.mkdir()
    found = estimates.one(engine, flags, folder, corpus)
    assert abs(found["memory_ratio"] - 1) <= estimates.BOUND


def test_help_lost_the_flags() -> None:
    """``--help`` 里没有 ``--dry-run``。"""
    for engine in ENGINES:
        command = [sys.executable, "-m", PROGRAMS[engine], TRAIN[engine], "--help"]
        assert "--dry-run" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_auto_batch_starts_where_it_cannot_fit(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--auto-batch`` 没有从估计开始，或没有说选了什么；切碎之后结果变了。"""
    from torch_llm import dry_run

    plain = place.train("torch", "plain", batch_size=8, context=64)
    assert plain.code == 0
    tried = []

    def memory(session: object, settings: Any, *rest: object) -> Memory:
        tried.append(settings.accumulate)
        return Memory({"all": 800 // settings.accumulate}, {}, available=250)

    monkeypatch.setattr(dry_run, "_memory", memory)
    ended = place.train("torch", "auto", batch_size=8, context=64, auto_batch=True)
    assert ended.code == 0
    assert "--accumulate 4" in ended.out
    assert set(tried) <= {1, 2, 4, 8}
    assert abs(place.curve("auto") - place.curve("plain")).max() < 1e-5


def test_memory_error_ends_in_a_traceback(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy 引擎内存用尽，没有报成用户能改的错。"""
    from tinygrad_llm.train import NumpyEngine

    def exhausted(*args: object) -> None:
        raise MemoryError("Unable to allocate 1.00 TiB")

    monkeypatch.setattr(NumpyEngine, "train_step", exhausted)
    ended = place.train("numpy", "a", workers=1)
    assert ended.code == 2
    assert "--accumulate 2" in ended.err


def test_run_that_cannot_fit_starts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """不是估计而是真的训练，预计放不下也照样开始了。"""
    from tinygrad_llm import dry_run

    monkeypatch.setattr(dry_run, "available_memory_bytes", lambda: 1 << 20)
    ended = place.train("numpy", "a", workers=1)
    assert (ended.code, place.runs.exists()) == (2, False)
    assert "needed" in ended.err
