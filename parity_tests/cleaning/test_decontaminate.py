"""去污染：埋下的考题全部找到，没有考题的一份不动。"""

import gzip
import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity_tests.cleaning.measure import leaks_found, sentence
from tinygrad_llm.common.cleaning.config import DecontaminateConfig
from tinygrad_llm.common.cleaning.decontaminate import find_leak, index_items, read_items
from tinygrad_llm.common.errors import DataError

CONFIG = DecontaminateConfig()


def test_a_planted_test_item_is_missed() -> None:
    """三百条中英文考题，改过大小写、空白、标点与全半角，埋在长文里：一条也不许漏；打印结果。"""
    found, wrong = leaks_found(300)
    print(f"planted test items found: {found:.2%}; clean documents removed: {wrong:.2%}")
    assert (found, wrong) == (1.0, 0.0)


def test_an_item_with_one_changed_word_is_missed() -> None:
    """改掉一个词，前后还有连续十三个词没动的，也找得到。"""
    rng = random.Random(6)
    for _ in range(50):
        words = sentence(rng, 30).split()
        leaks = index_items(iter([" ".join(words)]), CONFIG)
        words[rng.choice([*range(13), *range(17, 30)])] = "changed"
        assert find_leak(" ".join(words), leaks)


ALPHABET = st.lists(st.sampled_from("abc"), max_size=25)


@given(st.lists(ALPHABET, max_size=4), ALPHABET, st.integers(2, 6), st.integers(1, 4))
def test_overlap_differs_from_comparing_every_window(
    items: list[list[str]], text: list[str], n: int, least: int
) -> None:
    """与逐窗比较的一样：考题的任何 n 个词，或整条短考题。"""
    config = DecontaminateConfig(ngram=n, min_words=least)
    kept = [item for item in items if len(item) >= min(least, n)]
    wanted = {
        tuple(item[at : at + min(n, len(item))]) for item in kept for at in range(len(item) - min(n, len(item)) + 1)
    }
    expected = any(tuple(text[at : at + len(gram)]) == gram for gram in wanted for at in range(len(text)))
    leaks = index_items((" ".join(item) for item in items), config)
    assert bool(find_leak(" ".join(text), leaks)) == expected
    assert (leaks.items, leaks.too_short) == (len(kept), sum(0 < len(item) < min(least, n) for item in items))


def test_the_evidence_is_another_passage() -> None:
    """命中的那一段就是考题。"""
    leaks = index_items(iter(["one two three four five six seven"]), CONFIG)
    assert find_leak("zero. One two, three FOUR five; six seven! eight", leaks) == "One two, three FOUR five; six seven"


def test_test_sets_are_read_wrongly(tmp_path: Path) -> None:
    """jsonl 里每个字符串一条（嵌套的也算），文本每行一条，都可以是 gz。"""
    lines = [json.dumps({"question": "q", "choices": ["a", {"text": "b"}], "answer": 3}), "", json.dumps("c")]
    (tmp_path / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "t.txt.gz").write_bytes(gzip.compress("甲 \n乙\n".encode(), mtime=0))
    assert list(read_items(tmp_path / "t.jsonl")) == ["q", "a", "b", "c"]
    assert list(read_items(tmp_path / "t.txt.gz")) == ["甲", "乙"]


@pytest.mark.parametrize(
    ("name", "data", "where"),
    [
        ("t.jsonl", b'{"a": "b"}\n{oops\n', "t.jsonl:2"),
        ("t.txt.gz", gzip.compress(b"one\ntwo\n" * 99, mtime=0)[:-12], "t.txt.gz"),
        ("t.txt", b"fine\n\xff\xfe\n", "t.txt"),
        ("none.txt", None, "none.txt"),
    ],
)
def test_a_broken_test_set_is_accepted(tmp_path: Path, name: str, data: bytes | None, where: str) -> None:
    """坏的考题文件给出文件名，能指出行号的给行号。"""
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError) as caught:
        list(read_items(tmp_path / name))
    assert where in caught.value.where
