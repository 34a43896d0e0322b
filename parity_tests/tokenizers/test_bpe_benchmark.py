"""分词器的测速：量得出，学到的 token 与 HF 相同，编码的 id 与 tiktoken 相同，写得出 JSON 与图。"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import VERBS
from tinygrad_llm.common.cli import main


@pytest.mark.full
def test_the_tokenizer_benchmark_writes_what_it_measured(tmp_path: Path) -> None:
    """少了一个系统（没有安装的除外），学得不同却没有说，或 JSON 与图没有写出来。"""
    target, plot = tmp_path / "found.json", tmp_path / "found.png"
    flags = [
        "--corpus",
        "python-docs",
        "--max-chars",
        "3000",
        "--vocab-sizes",
        "400",
        "--steps",
        "1",
        "--patience-s",
        "0",
    ]
    flags += ["--budget-s", "1", "--json", str(target), "--plot", str(plot)]
    assert main("benchmarks", "", VERBS, ["tokenizers", *flags]) == 0
    found = json.loads(target.read_text(encoding="utf-8"))["results"]
    assert [one["vocab_size"] for one in found["training"]] == [400, 512]
    for one in found["training"]:
        assert {"ours", "tokenizers"} <= set(one["systems"])
        assert one["systems"]["tokenizers"]["is_identical"]
        assert set(one["unavailable"]) <= {"rustbpe"}
    assert "naive" in found["training"][1]["systems"]  # 它的并列随遇到的先后，学到的不尽相同
    assert {"tiktoken", "ours", "ours, readable", "tokenizers"} == set(found["encoding"]["systems"])
    assert plot.read_bytes().startswith(b"\x89PNG")
