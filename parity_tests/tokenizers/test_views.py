"""给人看的各种视图：每个数字与手算相符，每个 token 都画出来了，动画的每一步都是真的。"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from functools import cache
from html import unescape
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.environment import CACHE
from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.safetensors import write_safetensors
from tinygrad_llm.common.tokenizers import END_OF_TEXT, Tokenizer, train_bpe
from tinygrad_llm.common.tokenizers.formats import save_as
from tinygrad_llm.common.tokenizers.interface import TextTokenizer
from tinygrad_llm.common.tokenizers.merges import learn_merges
from tinygrad_llm.common.tokenizers.split import pretokenize
from tinygrad_llm.common.tokenizers.unigram import train_unigram
from tinygrad_llm.common.tokenizers.views.animation import encoding_frames, training_frames
from tinygrad_llm.common.tokenizers.views.command import (
    GlitchConfig,
    ReportConfig,
    StagesConfig,
    ViewConfig,
    WatchConfig,
    glitch,
    report,
    stages,
    view,
    watch,
)
from tinygrad_llm.common.tokenizers.views.compression import compression_of
from tinygrad_llm.common.tokenizers.views.domains import DOMAINS, domain_text, gather
from tinygrad_llm.common.tokenizers.views.glitches import inspect_tokens, read_embedding
from tinygrad_llm.common.tokenizers.views.loading import open_tokenizer, references
from tinygrad_llm.common.tokenizers.views.player import player_page, terminal_frames
from tinygrad_llm.common.tokenizers.views.stages import STAGES
from tinygrad_llm.common.tokenizers.views.tokens import chips, html_text, one_line, readable, readable_run
from tinygrad_llm.common.tokenizers.wordpiece import train_wordpiece
from tinygrad_llm.common.tokenizers.words import train_words

TEXT = "the cat sat on the mat; the other cat's hat is there. 猫坐在垫子上，另一只猫也坐在垫子上。\n"
EXTERNAL = re.compile(r"""(src|href)="(?!#)|@import|url\((?!#)|https?:""")


@cache
def _bpe() -> Tokenizer:
    return train_bpe(TEXT * 3, 256 + 40 + 1)


# ---- 着色 ----


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b" the", " the"),
        ("你好".encode(), "你好"),
        (b"\xe4\xbd", "⟨e4 bd⟩"),
        (b"\n\t\r\x00", "⏎\n⇥⟨U+000D⟩⟨U+0000⟩"),
        ("\u202e\ufeff".encode(), "⟨U+202E⟩⟨U+FEFF⟩"),
    ],
)
def test_every_token_is_written_visibly(data: bytes, shown: str) -> None:
    """看不见的字符、半个字或会倒转文字方向的控制符，没有写成看得见的样子。"""
    assert readable(data) == shown


def test_one_line_keeps_rules_on_one_line() -> None:
    """规则与表格里的 token 换了行，或空格看不见。"""
    assert one_line(b" a\n") == "␣a⏎"
    assert one_line(b"\xe4\xbd") == "⟨e4 bd⟩"


@given(st.text(max_size=20))
def test_characters_split_over_tokens_stay_readable(text: str) -> None:
    """一个字的字节散在几个 token 里时，画出来的字与原文不同，或少画了 token。"""
    tokens = [bytes([byte]) for byte in text.encode()]
    shown = readable_run(tokens)
    assert len(shown) == len(tokens)
    assert "".join(part for part in shown if part != "◦") == readable(text.encode()).replace("◦", "")


def test_broken_bytes_do_not_swallow_their_neighbours() -> None:
    """坏的字节把后面好的字也画成了十六进制。"""
    assert readable_run([b"a", b"\xff", b"b", b"\xe4", b"\xbd", b"\xa0"]) == ["a", "⟨ff⟩", "b", "你", "◦", "◦"]


def test_the_coloured_html_holds_every_token_with_its_origin() -> None:
    """网页里的 token 不全，没有转义，或来历写错了。"""
    text = '<b class="x">the cat & the 垫'
    html = html_text(chips(_bpe(), text))
    shown = re.findall(r'<span tabindex="0" class="chip chip-\d" data-tip="([^"]*)">([^<]*)</span>', html)
    assert "".join(unescape(part) for _, part in shown).replace("◦", "") == text
    assert [int(tip.split()[1]) for tip, _ in shown] == _bpe().encode(text)
    quoted = html_text(chips(Tokenizer([(34, 60)]), '"<'))
    assert 'merge 0: &quot; + &lt;">&quot;&lt;</span>' in quoted
    id = _bpe().encode(" the")[0]
    left, right = (_bpe().token_bytes(half).decode().replace(" ", "␣") for half in _bpe().merges[id - 256])
    assert any(f"id {id}\n20 74 68 65\nmerge {id - 256}: {left} + {right}" == unescape(tip) for tip, _ in shown)


# ---- 压缩率 ----


def test_compression_figures_equal_those_counted_by_hand() -> None:
    """字节、词、碎片的数法变了：手算的数对不上。"""
    plain = Tokenizer([])
    one = compression_of(plain, "ab, 你好 x1")
    assert (one.characters, one.bytes, one.words, one.tokens, one.fallback) == (9, 13, 4, 13, 6)
    assert (one.bytes_per_token, one.fertility) == (1, 13 / 4)
    assert one.tokens_per_character == 13 / 9
    assert one.fallback_share == 6 / 13
    assert compression_of(plain, "!!").fertility is None


@pytest.mark.parametrize("tokenizer", [train_words("a b"), train_wordpiece("a b", 4)], ids=["words", "wordpiece"])
def test_unknown_words_count_as_fallback(tokenizer: TextTokenizer) -> None:
    """不认识的词没有计入回退：按词的分词器看上去一个不错。"""
    assert compression_of(tokenizer, "a b c d").fallback == 2


def test_every_domain_has_text_of_its_kind() -> None:
    """某个领域的样本空了、不再是那种文字，或每次不同。"""
    texts = gather(())
    assert set(texts) == set(DOMAINS)
    assert all(len(text) > 300 for text in texts.values())
    han = {name: len(re.findall(r"[\u4e00-\u9fff]", text)) / len(text) for name, text in texts.items()}
    assert min(han["chinese"], han["docs-zh"]) > 0.3 > 0.05 > max(han["english"], han["code"], han["numbers"])
    assert texts["numbers"] == domain_text("numbers")
    assert re.search(r"\d+ \+ \d+ = \d+", texts["numbers"])
    assert "def " in texts["code"]


def test_every_kind_of_file_opens_and_known_vocabularies_are_found_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """某种分词器文件打不开，本机已有的知名词表没有找到，或没有时也硬说有。"""
    trained: dict[str, TextTokenizer] = {
        "words": train_words(TEXT),
        "unigram": train_unigram(TEXT * 3, 256 + 40 + 1),
        "bpe": _bpe(),
    }
    for name, tokenizer in trained.items():
        tokenizer.save(tmp_path / f"{name}.json")
        assert open_tokenizer(str(tmp_path / f"{name}.json")).encode(TEXT) == tokenizer.encode(TEXT)
    monkeypatch.setenv(CACHE, str(tmp_path))
    assert references() == {}
    folder = tmp_path / "vocabularies" / "gpt2"
    folder.mkdir(parents=True)
    save_as(_bpe(), folder / "tokenizer.json", "hf")
    assert {name: known.encode(TEXT) for name, known in references().items()} == {"gpt2": _bpe().encode(TEXT)}


# ---- 动画 ----


@given(st.text("the cat 猫垫子s;\n", min_size=1, max_size=40))
def test_encoding_frames_are_the_steps_of_encoding(text: str) -> None:
    """动画的首帧不是字节，末帧不是编码的结果，或中间某帧不等于「只用前 k 次合并」的编码。"""
    frames = encoding_frames(_bpe(), text)
    assert frames[0].numbers == list(text.encode())
    assert frames[-1].numbers == _bpe().encode(text)
    for frame in frames:
        assert frame.numbers == Tokenizer(_bpe().merges[: frame.merge + 1]).encode_readable(text)
    assert [frame.merge for frame in frames] == sorted({frame.merge for frame in frames})


def test_training_frames_choose_the_most_frequent_pair() -> None:
    """动画里选中的对不是次数最多的，次数数错了，或不是我们的训练程序学出的那些合并。"""
    sample = "the cat's mat 垫"
    frames = training_frames(TEXT * 3, 25, sample)
    merges = learn_merges(TEXT * 3, 25)
    assert [frame.merge for frame in frames] == list(range(-1, 25))
    for before, frame in pairwise(frames):
        k = frame.merge
        known = Tokenizer(merges[:k])
        ids = [known.encode_readable(chunk) for chunk in pretokenize(TEXT * 3)]
        counts = Counter(pair for word in ids for pair in pairwise(word))
        assert frame.candidates[0].count == counts[merges[k]] == max(counts.values())
        assert [one.count for one in frame.candidates] == sorted(counts.values(), reverse=True)[: len(frame.candidates)]
        assert before.corpus_tokens == sum(map(len, ids))
        assert frame.numbers == Tokenizer(merges[: k + 1]).encode_readable(sample)


def test_the_player_page_carries_its_frames_and_one_script_known_by_digest() -> None:
    """播放器的数据不全、能被文本里的标签打断，或页面放行了别的脚本与外部地址。"""
    sample = "the </script><b>cat"
    frames = training_frames(TEXT, 5, sample)
    html = player_page(frames, encoding_frames(_bpe(), sample), subtitle="x")
    recorded = re.findall(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    assert [one["t"] for one in json.loads(recorded[0])] == [frame.tokens for frame in frames]
    assert len(recorded) == 2
    assert "<" not in recorded[0] + recorded[1]
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert not EXTERNAL.search(html.replace("\\u003c", ""))
    assert len(list(terminal_frames(frames))) == 6


def test_what_cannot_be_watched_is_refused() -> None:
    """没有合并可看时，没有说清为什么。"""
    with pytest.raises(UserError, match="does not merge pairs"):
        encoding_frames(train_unigram(TEXT * 3, 256 + 40 + 1), "the")
    with pytest.raises(UserError, match="no tokens to watch"):
        encoding_frames(_bpe(), "")
    with pytest.raises(UserError, match="no pair to merge"):
        training_frames("a", 5, "a")


# ---- 失灵的 token ----


def test_each_kind_of_glitch_is_found_where_it_was_planted() -> None:
    """埋下的毛病没有找到，或好的 token 也被指为有毛病。"""
    merges = [
        (0xE4, 0xBD),  # 256：「你」的前两个字节
        *((32, 32), (257, 257), (258, 258)),  # 257、258、259：两、四、八个空格
        *((97, 97), (97, 98)),  # 260 是 aa，261 是 ab
        (97, 32),  # 262 是「a 」：切块时空格归后一个词，永远到不了它
    ]
    tokenizer = Tokenizer(merges)
    found = inspect_tokens(tokenizer, ["ab ab ab aa", "你"]).found
    assert found["unreachable"] == [262]
    assert found["fragment"] == [256, *range(0x80, 0x100)]
    assert found["long-space"] == [259]
    assert found["rare"] == [256, 260, 0xA0]
    assert [id for id in found["unused"] if id >= 256] == [257, 258, 259, 262]
    assert found["unassigned"] == []
    assert tokenizer.special(END_OF_TEXT) not in {id for ids in found.values() for id in ids}


def test_norms_are_those_of_the_embedding_rows(tmp_path: Path) -> None:
    """范数取错了行，多出的填充行没有略去，或没有词嵌入的文件没有说清。"""
    size = _bpe().vocab_size
    rows = np.ones((size + 3, 4), np.float32)
    rows[7] = 0.125
    write_safetensors(tmp_path / "model.safetensors", {"transformer.wte.weight": rows})
    inspection = inspect_tokens(_bpe(), [TEXT], read_embedding(tmp_path / "model.safetensors"))
    assert inspection.norms is not None
    assert inspection.norms.shape == (size,)
    assert inspection.norms[7] == 0.25
    assert set(np.delete(inspection.norms, 7)) == {2.0}
    with pytest.raises(DataError, match="vocabulary has"):
        inspect_tokens(_bpe(), [TEXT], rows[:5])
    write_safetensors(tmp_path / "other.safetensors", {"lm_head.weight": rows})
    with pytest.raises(DataError, match="no token embedding"):
        read_embedding(tmp_path / "other.safetensors")


def test_tokens_that_resemble_the_unseen_rows_come_first() -> None:
    """用到过却没怎么训练的 token 没有排在最前，余弦算错了，或没用到的行与自己相比。"""
    rng = np.random.default_rng(0)
    tokenizer = Tokenizer([])
    seen = list(b"abcdefgh")
    rows = rng.normal(size=(257, 32))
    drift = rng.normal(size=32)
    rows[[id for id in range(257) if id not in seen]] += 5 * drift
    rows[ord("c")] += 5 * drift
    inspection = inspect_tokens(tokenizer, ["abcdefgh"], rows)
    assert inspection.least_trained(1) == [ord("c")]
    assert set(inspection.least_trained(99)) == set(seen)
    assert inspection.likeness is not None
    centred = rows - rows.mean(axis=0)
    unused = [id for id in range(256) if id not in seen]
    for id in (ord("a"), ord("c"), 0):
        mean = centred[[other for other in unused if other != id]].mean(axis=0)
        cosine = mean @ centred[id] / np.linalg.norm(mean) / np.linalg.norm(centred[id])
        assert inspection.likeness[id] == pytest.approx(cosine, abs=1e-12)
    assert inspect_tokens(tokenizer, [], None).least_trained() == []


# ---- 命令 ----


def test_the_verbs_print_and_write_self_contained_pages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """某个动词出错、终端上没有它的结果，或网页引用了外部的东西。"""
    bpe, words = tmp_path / "bpe.json", tmp_path / "words.json"
    _bpe().save(bpe)
    train_words(TEXT).save(words)
    pages = [tmp_path / f"{name}.html" for name in ("report", "view", "watch", "glitch")]
    report(ReportConfig((str(bpe), str(words)), texts=("english", "chinese"), html=pages[0]))
    out = capsys.readouterr().out
    assert all(name in out for name in ("english", "chinese", "bpe", "words", "bytes/tok"))
    view(ViewConfig(str(bpe), ("the", "cat"), html=pages[1]))
    tokens = len(_bpe().encode("the cat"))
    assert f"{tokens} tokens, 7 characters, 7 bytes" in capsys.readouterr().out
    view(ViewConfig(str(words), ("the  cat",)))
    assert "decoding does not restore" in capsys.readouterr().out
    watch(WatchConfig(("the", "cat"), merges=10, html=pages[2]))
    assert "merge 9: " in capsys.readouterr().out
    glitch(GlitchConfig(str(bpe), texts=("english",), html=pages[3]))
    assert "unreachable" in capsys.readouterr().out
    for path in pages:
        html = path.read_text(encoding="utf-8")
        assert html.startswith("<!DOCTYPE html>")
        assert "default-src 'none'" in html
        assert not EXTERNAL.search(html), path


def test_stages_train_all_five_and_say_what_each_loses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """少了一种分词器、说错了谁还原得了原文，或存下的文件打不开。"""
    (tmp_path / "text.txt").write_text(domain_text("docs", 20_000), encoding="utf-8")
    stages(StagesConfig(("the  xylophone", "猫"), texts=(str(tmp_path / "text.txt"),), vocab_size=450, out=tmp_path))
    out = capsys.readouterr().out
    assert [line.split(":")[0] for line in out.splitlines() if re.match("[a-z]+: ", line)] == list(STAGES)
    verdicts = re.findall(r"; (decodes|does NOT decode)", out)
    assert verdicts == ["does NOT decode", "does NOT decode", "decodes", "does NOT decode", "decodes"]
    for name in STAGES:
        assert open_tokenizer(str(tmp_path / f"{name}.json")).encode("the")
    with pytest.raises(UserError, match="bpe: vocab_size 200 has no room"):
        stages(StagesConfig(("the",), texts=("chinese",), vocab_size=200))
    with pytest.raises(DataError, match="no such folder"):
        stages(StagesConfig(("the",), out=tmp_path / "none"))


def test_the_verbs_name_what_is_missing(tmp_path: Path) -> None:
    """没有给分词器或文本时，没有说该给什么。"""
    _bpe().save(tmp_path / "t.json")
    with pytest.raises(UserError, match="no tokenizer given"):
        report(ReportConfig(()))
    with pytest.raises(UserError, match="no text to view"):
        view(ViewConfig(str(tmp_path / "t.json"), ()))
    with pytest.raises(UserError, match="no text to watch"):
        watch(WatchConfig(()))
    with pytest.raises(DataError):
        view(ViewConfig(str(tmp_path / "missing.json"), ("a",)))
