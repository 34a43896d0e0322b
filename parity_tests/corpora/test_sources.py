"""语料名与路径：自带的、生成的与用户的，都从同一道门进来。"""

from __future__ import annotations

from pathlib import Path

import pytest

from parity_tests.corpora.reading import texts
from parity_tests.corpora.test_readers import LINES, RECORDS
from tinygrad_llm.common.corpora import documents, load_corpus, text_files
from tinygrad_llm.common.errors import UserError


def test_load_corpus_takes_every_format(tmp_path: Path) -> None:
    """小规模训练也能读记录文件；各份以空行相接，大文件不会被切片弄出多余的空行。"""
    (tmp_path / "a.jsonl").write_bytes(LINES)
    assert load_corpus(str(tmp_path / "a.jsonl")).text == "\n\n".join(str(record["text"]) for record in RECORDS)
    long = "".join(f"line {n}\n" for n in range(300_000))
    (tmp_path / "b.txt").write_text(long)
    assert len(long) > 2 * text_files.PIECE_BYTES
    assert load_corpus(str(tmp_path / "b.txt")).text == long
    assert "".join(texts(tmp_path / "b.txt")) == long
    assert len(texts(tmp_path / "b.txt")) > 1


def test_the_built_in_corpora_are_streams_too() -> None:
    """两份自带的语料：出处带序号，meta 里有主题或路径，内容与整段文本相同。"""
    docs = list(documents("python-docs"))
    assert "\n\n".join(document.text for document in docs) == load_corpus("python-docs").text
    assert docs[0].source == "python-docs#0"
    assert docs[0].meta == {"topic": "assert"}
    code = next(documents("python-source"))
    assert (code.source, code.meta) == ("python-source#0", {"path": "__future__.py"})


def test_storyworld_is_a_corpus_of_any_size() -> None:
    """长短与种子写在名字里；每次相同，换了种子就不同；出处说得出是哪一篇。"""
    english = load_corpus("storyworld-en:20K")
    assert 20_000 <= len(english.text) < 25_000
    assert english.text.isascii()
    assert english.text == load_corpus("storyworld-en:20000").text
    assert english.name == "storyworld-en:20K"
    assert english.text[:500] != load_corpus("storyworld-en:20K:7").text[:500]
    chinese = "".join(texts("storyworld-zh:5k"))
    assert sum("\u4e00" <= letter <= "\u9fff" for letter in chinese) > 0.7 * len(chinese)
    sources_of = [document.source for document in documents("storyworld:20K")]
    assert len(set(sources_of)) == len(sources_of) > 10


@pytest.mark.parametrize("name", ["storyworld:", "storyworld:x", "storyworld:0", "storyworld:1M:", "storyworld:1M:-1"])
def test_a_misspelt_size_is_a_usage_error(name: str) -> None:
    """说清写法，而不是去找一个叫这名字的文件。"""
    with pytest.raises(UserError, match="not a size or a seed") as caught:
        texts(name)
    assert "storyworld:20M" in caught.value.fix
