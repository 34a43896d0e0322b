"""``data inspect`` 与 ``data pack-report``：印出的数字与数出来的相同，文字不会作怪，打错的设置三行以内。"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tinygrad_llm.common import cli
from tinygrad_llm.common.batches import Shuffled, open_store
from tinygrad_llm.common.batches.inspect import histogram
from tinygrad_llm.common.batches.pack_report import report_rows
from tinygrad_llm.common.batches.shard import write_shards
from tinygrad_llm.common.corpora import Document
from tinygrad_llm.common.tokenizers import train_bpe
from torch_llm.data import VERBS

TEXTS = [f"cat {i} sat on the mat\n" * (1 + i * i % 7) + "\x1b[31m猫\x07" for i in range(30)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """三十篇短文，含换行、中文与终端的控制符；一片 64 个 token。"""
    out = tmp_path_factory.mktemp("made") / "shards"
    documents = (Document(text, f"t:{i}") for i, text in enumerate(TEXTS))
    tokenizer = train_bpe("cat sat on the mat " * 20, 265)
    write_shards(documents, tokenizer, out, source="cats", val_fraction=0.1, shard_tokens=64)
    return out


def run(*words: object) -> int:
    """走一遍 ``python -m torch_llm data …``。"""
    return cli.main("data", "data", VERBS, [str(word) for word in words])


def test_inspect_prints_other_figures(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """各集合的篇数与 token 数，长度分布的总数，都与分片里的相同。"""
    assert run("inspect", made, "--context", "32") == 0
    out = capsys.readouterr().out
    store = open_store(made)
    for name, split in store.splits.items():
        (line,) = [line for line in out.splitlines() if line.startswith(name)]
        assert line.split()[1:3] == [str(split.starts.size), f"{split.tokens.size:,}"]
    bars = [int(line.split()[-1].replace(",", "")) for line in out.splitlines() if "█" in line]
    assert sum(bars) == store.split("train").starts.size


@pytest.mark.parametrize("packing", ["windows", "bos", "split"])
def test_inspect_shows_another_batch(made: Path, capsys: pytest.CaptureFixture[str], packing: str) -> None:
    """印出的文字就是 ``batch`` 的内容；换行与控制符写成看得见的样子，不会送到终端。"""
    assert run("inspect", made, "--context", 24, "--rows", 3, "--step", 2, "--seed", 5, "--packing", packing) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    store = open_store(made)
    stream = Shuffled(store.split("train").samples(packing, 24), batch_size=3, seed=5)
    shown = re.split(r"row \d+  .*\n", out)[1:]
    for row, segments, text in zip(stream.batch(2)[0], stream.segments(2), shown, strict=True):
        wanted = ""
        for k in range(segments.max() + 1):
            wanted += store.tokenizer.decode(row[segments == k].tolist())
        wanted = wanted.replace("\n", "↵").replace("\x1b", "\\x1b").replace("\x07", "\\x07")
        assert "".join(text.split()).rstrip("·") == "".join(wanted.split())
        assert text.count("·") == (segments < 0).sum()


def test_histogram_miscounts() -> None:
    """每档含下限、不含下一档的下限；空档也占一行。"""
    lines = histogram(np.array([1, 2, 3, 4, 7, 8, 40]))
    assert [line.split("█")[0].split()[0] for line in lines] == ["1-1", "2-3", "4-7", "8-15", "16-31", "32-63"]
    assert [int(line.split()[-1]) for line in lines] == [1, 2, 2, 1, 0, 1]


def test_pack_report_prints_other_figures(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """表里的行数、利用率与丢失的比例，与逐行取出来数的相同。"""
    context = 16
    split = open_store(made).split("train")
    rows = {row[0]: row for row in report_rows(split, context)}
    for method, packing in (("windows", "windows"), ("pad + crop", "bos"), ("pad + split", "split")):
        samples = split.samples(packing, context)
        everything = np.arange(samples.size)
        x, real = samples.take(everything)[0], samples.segments(everything) >= 0
        total = split.tokens.size - 1
        aligned = (x[:, 0] == split.eot).mean()
        assert rows[method][1] == f"{samples.size:,}"
        assert rows[method][2] == f"{real.mean():.2%}"
        assert rows[method][3] == f"{1 - real.sum() / total:.2%}"
        assert rows[method][4] == f"{aligned:.1%}"
    assert run("pack-report", made, "--context", context) == 0
    out = capsys.readouterr().out
    assert all(cell in out for row in rows.values() for cell in row[:6])
    assert max(map(len, out.splitlines())) <= 80


def test_wrong_flags_are_a_traceback(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """行长、行数、步号与集合写错，退出码 2 或 4，三行以内。"""
    for words, code in (
        (("inspect", made, "--context", 0), 2),
        (("inspect", made, "--rows", 0), 2),
        (("inspect", made, "--step", -1), 2),
        (("inspect", made, "--split", "test"), 2),
        (("inspect", made, "--context", 10**9), 2),
        (("inspect", made.parent), 4),
        (("pack-report", made, "--context", 0), 2),
        (("pack-report", made.parent / "none"), 4),
    ):
        assert run(*words) == code, words
        assert len(capsys.readouterr().err.strip().splitlines()) <= 3
