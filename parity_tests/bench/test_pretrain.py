"""与 nanoGPT 比的测速：比值照定义算，别家的输出认得出，整个程序跑得起来。

流入：编的数与一个假的 ``train.py``；流出：缺的、不对的数。快慢不在这里判断。
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import estimates, pretrain
from benchmarks.__main__ import VERBS
from tinygrad_llm.common.cli import main

FAKE = """
import os, sys
given = dict(one[2:].split("=") for one in sys.argv[1:])
tokens = os.path.getsize("data/ours/train.bin") // 2
assert tokens > int(given["block_size"]) and os.path.exists("data/ours/meta.pkl")
for i in range(int(given["max_iters"]) + 1):
    print(f"iter {i}: loss 4.2, time {100 if i > 5 else 9999}.00ms, mfu -100.00%")
"""


def test_a_ratio_differs_from_its_definition() -> None:
    """快慢之比是对方的时间除以我们的，内存之比反过来，循环的份额减去一。"""
    turn = {
        "nanoGPT float32": {"step_s": 3.0, "peak_bytes": 200.0},
        "torch_llm float32": {"step_s": 2.0, "peak_bytes": 100.0},
        "torch_llm float32, bare step": {"step_s": 1.6, "peak_bytes": 100.0},
        "torch_llm bfloat16": {"step_s": 1.0, "peak_bytes": 100.0},
    }
    found = pretrain.ratios([turn])
    assert found == pytest.approx({"float32": 1.5, "bfloat16": 3.0, "memory": 0.5, "loop": 0.25})
    assert pretrain.ratios([{name: one for name, one in turn.items() if "nano" not in name}]).keys() == {"loop"}


def test_a_time_in_the_peers_log_is_overlooked() -> None:
    """对方每步的一行，损失是 nan 也认得。"""
    lines = b"step 0: train loss 1\niter 0: loss 4.1, time 12.50ms, mfu -1\niter 1: loss nan, time 7.00ms, mfu 2%\n"
    assert [float(ms) for ms in pretrain.ITERATION.findall(lines)] == [12.5, 7.0]


@pytest.mark.full
def test_the_whole_comparison_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """最小的模型，一个假的对手：各家都量到，对方的时间正是它说的。"""
    peer, corpus, target = tmp_path / "peer", tmp_path / "corpus.txt", tmp_path / "found.json"
    peer.mkdir()
    for name, text in {"train.py": FAKE, "model.py": "", "configurator.py": ""}.items():
        (peer / name).write_text(text)
    corpus.write_text(estimates.sample_text(6000), encoding="utf-8")
    flags = ["--peer", peer, "--corpus", corpus, "--turns", 1, "--steps", 12, "--n-layer", 1, "--n-head", 2, "--n-embd",
             16, "--context", 32, "--batch-size", 2, "--vocab-size", 300, "--json", target]  # fmt: skip
    assert main("python -m benchmarks", "", VERBS, ["pretrain", *map(str, flags)]) == 0
    found = json.loads(target.read_text(encoding="utf-8"))["results"]
    assert found["systems"]["nanoGPT float32"]["step_s"] == pytest.approx(0.1)
    assert set(found["ratios"]) == {"loop", "float32", "bfloat16", "memory"}
    assert all(one["step_s"] > 0 and one["peak_bytes"] > 1 << 20 for one in found["systems"].values())
    assert "times nanoGPT's" in capsys.readouterr().out
