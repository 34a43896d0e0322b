"""测速的程序真的跑得起来：最小的模型，一两步，每一种都写出说好的 JSON。

流入：命令行；流出：结果里缺的、不对的数。快慢不在这里判断。
"""

from __future__ import annotations

import functools
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ablation, attention, decode, engines, everything, patches, processes, quiet, rounds, step
from benchmarks.__main__ import VERBS
from benchmarks.processes import System, WorkerStoppedError
from tinygrad_llm.common.cli import main
from tinygrad_llm.common.config import GPTConfig

TINY = GPTConfig(vocab_size=32, context=8, n_layer=2, n_head=2, n_embd=16, tie_head=False)
SHORT = ("--steps", "1", "--warmup", "1", "--patience-s", "0", "--cores", "1")
STATISTICS = {"median_s", "quartiles_s", "ratio", "kept", "dropped", "noisy", "peak_memory_bytes", "turns_s"}


@pytest.fixture(autouse=True)
def _short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """这里不比快慢，每一回不必量满四分之一秒。"""
    monkeypatch.setattr(rounds, "TURN_S", 0.01)


def _run(verb: str, *flags: str) -> int:
    return main("python -m benchmarks", "", VERBS, [verb, *flags])


def _losses(system: System, count: int = 3) -> list[float]:
    with processes.started(system) as worker:
        return [worker.ask()["loss"] for _ in range(count)]


def _tiny(engine: str, **given: Any) -> System:
    return step.system(engine, TINY, 4, step.StepOptions(cores=1), **given)


def test_step_writes_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """一步训练的测速少了一个引擎、少了下界，比值不是由各轮得来，或 JSON 与图没有写出来。"""
    target, plot = tmp_path / "step.json", tmp_path / "step.png"
    flags = ("--sizes", "toy", "--engines", "numpy", "torch", "--batch-size", "1", "--context", "8")
    assert _run("step", *SHORT, *flags, "--json", str(target), "--plot", str(plot)) == 0
    found = json.loads(target.read_text(encoding="utf-8"))
    assert {"benchmark", "at", "commit", "hardware", "settings", "results"} <= set(found)
    (one,) = found["results"]
    assert set(one["systems"]) == set(one["gemm"]["systems"]) == {"numpy", "torch"}
    for name, system in one["systems"].items():
        assert set(system) >= {*STATISTICS, "tokens_per_s"}, name
        assert system["tokens_per_s"] * system["median_s"] == pytest.approx(8)
        assert system["peak_memory_bytes"] > 10 << 20
    assert one["systems"]["torch"]["ratio"] == 1
    assert plot.read_bytes().startswith(b"\x89PNG")
    out = capsys.readouterr().out
    assert "x its GEMM" in out
    assert "matrix products alone: numpy" in out


@pytest.mark.parametrize(
    ("verb", "flags", "fields"),
    [
        pytest.param("attention", ("--lengths", "16"), {"length", "systems", "unavailable"}, marks=pytest.mark.full),
        pytest.param("decode", ("--size", "T", "--tokens", "2"), {"bound", "systems", "size"}, marks=pytest.mark.full),
        (
            "serving_decode",
            (
                "--size",
                "T",
                "--tokens",
                "2",
                "--prompt",
                "8",
                "--batches",
                "2",
                "--engines",
                "torch-int4",
                "numpy",
            ),
            {"bound", "prefill", "decode"},
        ),
        pytest.param("gemm", ("--sizes", "T"), {"dense_flops", "attention_flops", "systems"}, marks=pytest.mark.full),
        pytest.param(
            "scaling", ("--size", "T", "--quick", "--axes", "cores"), {"axes", "size"}, marks=pytest.mark.full
        ),
        pytest.param(
            "ablation", ("--sizes", "T", "--only", "cache blocks"), {"techniques", "size"}, marks=pytest.mark.full
        ),
        ("overhead", ("--rounds", "1"), {"h @ W, h (1, 32)", "scalars 2-16-16-1"}),
        (
            "quantization",
            ("--size", "toy-llama", "--formats", "float32", "int8", "--decode-tokens", "2", "--rounds", "1"),
            {"rows", "read_bytes_per_s", "tokens"},
        ),
    ],
)
def test_every_other_verb_writes_its_fields(
    verb: str, flags: tuple[str, ...], fields: set[str], tmp_path: Path
) -> None:
    """某一种测速跑不起来，有系统量不了，或 JSON 里缺了说好的项。"""
    target = tmp_path / "found.json"
    shared = () if verb in ("overhead", "quantization") else SHORT
    assert _run(verb, *shared, *flags, "--json", str(target), "--plot", str(tmp_path / "found.png")) == 0
    found = json.loads(target.read_text(encoding="utf-8"))
    results = found["results"][0] if isinstance(found["results"], list) else found["results"]
    assert found["benchmark"] == verb
    assert fields <= set(results)
    assert '"unavailable": {"' not in target.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("verb", "flags"),
    [("step", ("--sizes", "nope")), ("step", ("--engines", "caffe")), ("scaling", ("--axes", "width")),
     ("ablation", ("--only", "magic")), ("attention", ("--variants", "x")), ("decode", ("--size", "XL")),
     ("serving_decode", ("--engines", "vllm")), ("quantization", ("--formats", "int3"))],
)  # fmt: skip
def test_unknown_names_are_refused_before_anything_runs(
    verb: str, flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """不认识的规模、引擎、方向或技术，没有在开跑之前用三行以内说清楚。"""
    assert _run(verb, *flags) == 2
    assert len(capsys.readouterr().err.splitlines()) <= 3


@pytest.mark.parametrize("peer", engines.PEERS)
def test_a_peer_trains_the_same_model(peer: str) -> None:
    """别家的 GPT、裁剪或 AdamW 与 torch 不同：头三步的损失差得多。"""
    if importlib.util.find_spec(peer) is None:
        pytest.skip(f"{peer} is not installed")
    assert _losses(_tiny(peer)) == pytest.approx(_losses(_tiny("torch")), abs=step.LOSS_TOLERANCE)


def test_a_peer_that_is_not_installed_says_so(tmp_path: Path) -> None:
    """没有装的引擎让整个测速停下，而不是说明没有装。"""
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{_WITHOUT_JAX}" "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    with (
        pytest.raises(WorkerStoppedError, match="jax is not installed"),
        processes.started(_tiny("jax", python=script)),
    ):
        pass


_WITHOUT_JAX = "import sys, benchmarks.worker as w; sys.modules['jax'] = None; sys.exit(w.main(sys.argv[3:]))"


def test_different_losses_are_refused() -> None:
    """损失不同（或不是数）的引擎照样计了时。"""
    answers = [{"loss": 4.0}, {"loss": 3.0}]
    assert step.same_losses(answers, [{"loss": 4.0}, {"loss": 3.00001}]) is None
    assert "differ from torch's by 0.5" in (step.same_losses(answers, [{"loss": 4.0}, {"loss": 3.5}]) or "")
    assert step.same_losses([{"loss": float("nan")}], [{"loss": 1.0}]) is not None


def test_different_tokens_and_gradients_are_refused() -> None:
    """生成的 token 或注意力的梯度不同，照样计了时。"""
    assert decode.same_tokens([{"tokens": [1, 2]}], [{"tokens": [1, 2]}]) is None
    assert decode.same_tokens([{"tokens": [1, 2]}], [{"tokens": [1, 3]}]) is not None
    assert attention.same_gradients([{"sums": [1.0]}], [{"sums": [1.0]}]) is None
    assert attention.same_gradients([{"sums": [1.0]}], [{"sums": [1.1]}]) is not None


@functools.cache
def _two_steps(patch: str = "") -> list[float]:
    """打了补丁的引擎走两步的损失。"""
    return _losses(step.system("numpy", TINY, 4, step.StepOptions(cores=2), patch=patch), 2)


@pytest.mark.parametrize("name", patches.PATCHES)
def test_switching_a_technique_off_keeps_the_losses(name: str) -> None:
    """关掉一项技术之后算的不是同一件事，或要替换的名字已经不在了。"""
    assert _two_steps(name) == pytest.approx(_two_steps(), abs=1e-5)


@pytest.mark.skipif(not quiet.is_supported(), reason="only Linux tells the command of a process")
def test_the_engines_own_workers_are_patched_too() -> None:
    """补丁只打在主进程里：引擎自己的工作进程照旧用着那项技术，测出的差别只有一半。"""
    off = step.system("numpy", TINY, 4, step.StepOptions(cores=2), patch="fused linear")
    with processes.started(off) as worker:
        worker.ask()
        _, *children = quiet.family(worker.pids)
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in children]
    if step.StepOptions(cores=2).core_count > 1:
        assert [command[1:4] for command in commands] == [[b"-m", b"benchmarks.patches", b"fused linear"]]


def test_composed_patches_leave_no_fused_op_in_the_graph() -> None:
    """补丁没有起作用：图里仍有融合算子的节点。"""
    program = (
        "import sys, numpy as np\nfrom benchmarks import patches\n"
        "if sys.argv[1] == 'off':\n    [patches.apply(f'fused {name}') for name in patches.FUSED]\n"
        "import tinygrad_llm as tg\nfrom tinygrad_llm.common.config import GPTConfig\n"
        "from tinygrad_llm.gpt import GPT\n"
        "model = GPT(GPTConfig(vocab_size=32, context=8, n_layer=1, n_head=2, n_embd=16))\n"
        "ids = tg.from_numpy(np.zeros((1, 8), np.int64))\n"
        "todo, seen = [model.loss(ids, ids).node], {}\n"
        "while todo:\n    node = todo.pop()\n    seen[node.op.name] = 1\n"
        "    todo += [edge for edge in node.edges if edge is not None and edge.is_node]\n"
        "print(*sorted(set(seen) & set(patches.FUSED)))\n"
    )

    def fused(mode: str) -> list[str]:
        command = [sys.executable, "-c", program, mode]
        return subprocess.run(command, cwd=processes.ROOT, capture_output=True, text=True, check=True).stdout.split()

    assert fused("on") == sorted(patches.FUSED)
    assert fused("off") == []


def test_all_runs_every_measurement_and_keeps_what_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """``all`` 漏了一种测速，没有把设置传下去，或中途停下时做完的结果没有留下。"""
    target = tmp_path / "all.json"
    given: list[Any] = []

    def measure(options: Any) -> dict[str, bool]:
        given.append(options)
        return {"done": True}

    names = ("overhead", "step", "attention", "decode", "scaling", "ablation")
    for name in names:
        module = getattr(everything, name)
        monkeypatch.setattr(module, "measure", measure)
        monkeypatch.setattr(module, "text", lambda results: "a table")
    monkeypatch.setattr(ablation, "measure", lambda options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        _run("all", "--quick", "--steps", "2", "--json", str(target))
    found = json.loads(target.read_text(encoding="utf-8"))
    assert found["results"] == {name: {"done": True} for name in names[:-1]}
    assert all(options.quick for options in given)
    assert [options.steps for options in given[1:]] == [2] * 4
    assert capsys.readouterr().out.count("a table") == 5
