"""用分片训练：``--data`` 与 ``--packing``，续训逐位相同，数据变了就拒绝。"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parity_tests.whole_runs.commands import ENGINES, Place, text_of
from tinygrad_llm.common.batches import Shuffled, open_store
from tinygrad_llm.common.batches.shard import write_shards
from tinygrad_llm.common.batches.sources import data_digest, open_sources
from tinygrad_llm.common.corpora import Document
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.session import prepare
from tinygrad_llm.common.tokenizers import Tokenizer, train_bpe
from tinygrad_llm.common.train_config import TrainConfig

CASES = {
    "windows": {"data": "a", "packing": "windows"},
    "packed": {"data": "a", "packing": "bos"},
    "mixture": {"data": "a=0.7,b=0.3", "packing": "split"},
}


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Place:
    """当前目录里有两个分片文件夹 ``a`` 与 ``b``。"""
    monkeypatch.chdir(tmp_path)
    tokenizer = train_bpe(text_of(200), 300)
    shard("a", tokenizer, seed=1)
    shard("b", tokenizer, seed=2)
    return Place(tmp_path, capsys)


def shard(name: str, tokenizer: Tokenizer, seed: int, val_fraction: float = 0.1) -> None:
    """把一些短文写成分片，一片很小；出处写作文件夹的名字。"""
    documents = (Document(line, f"{name}:{i}") for i, line in enumerate(text_of(120, seed).splitlines()))
    write_shards(documents, tokenizer, Path(name), source=name, val_fraction=val_fraction, shard_tokens=700)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("engine", ENGINES)
def test_resumed_run_on_shards_differs(place: Place, engine: str, case: str) -> None:
    """停下两次再续完，日志、权重与两个矩都与从未停过的逐位相同。"""
    changes = {"corpus": None, "dropout": 0.2, "save_every": 5, **CASES[case]}
    place.assert_resuming_changes_nothing(engine, (5, 7), **changes)
    assert place.curve("straight")[-1] < place.curve("straight")[0]


def test_engines_read_different_shards(place: Place) -> None:
    """两个引擎看到同样的批次：损失曲线相同到浮点误差。"""
    for engine in ENGINES:
        assert place.train(engine, engine, dtype="float64", **CASES["mixture"]).code == 0
    assert np.allclose(place.curve("numpy"), place.curve("torch"), rtol=1e-10)


def test_training_reads_other_batches_than_the_store(place: Place) -> None:
    """``--data`` 的批次就是 ``Shuffled``，验证集就是 ``val``，词表取自分片。"""
    session = prepare(TrainConfig(data="a", packing="bos", context=16, batch_size=4, seed=3, vocab_size=1000))
    store = open_store(Path("a"))
    expected = Shuffled(store.split("train").samples("bos", 16), batch_size=4, seed=3)
    for step in (0, 5):
        assert all(np.array_equal(*pair) for pair in zip(session.train.batch(step), expected.batch(step), strict=True))
    assert session.model.vocab_size == 300
    assert session.validation.size == store.split("val").tokens.size
    assert session.train_tokens == store.split("train").tokens.size


def test_epochs_at_the_start_are_miscounted(place: Place) -> None:
    """开训时说出每个来源占多少、走几轮，与逐步数出来的相同。"""
    ended = place.train("numpy", "run", data="a=3,b=1", steps=6)
    (line,) = [line for line in ended.err.splitlines() if line.startswith("data over 6 steps: ")]
    rows = {name: open_store(Path(name)).split("train").samples("windows", 16).size for name in "ab"}
    assert f"a: 75.0% of the samples, {18 / rows['a']:.2f} epochs" in line
    assert f"b: 25.0% of the samples, {6 / rows['b']:.2f} epochs" in line


def test_moved_shards_cannot_be_resumed(place: Place) -> None:
    """分片搬了家，内容没变：接着走。"""
    assert place.train("numpy", "run", data="a", stop_at=5).code == 0
    Path("a").rename("elsewhere")
    assert place.resume("numpy", "run", data="elsewhere").code == 0


def test_run_resumes_on_other_data(place: Place) -> None:
    """换了分片、改了权重、换了成行的方法：拒绝，退出码与消息说清是哪一样。"""
    assert place.train("numpy", "run", data="a=0.7,b=0.3", stop_at=5).code == 0
    for changes, code, said in (
        ({"data": "b=0.7,a=0.3"}, 4, "changed"),
        ({"data": "a=0.6,b=0.4"}, 4, "changed"),
        ({"data": "a"}, 4, "changed"),
        ({"packing": "bos"}, 2, "--packing"),
    ):
        ended = place.resume("numpy", "run", **changes)
        assert ended.code == code, changes
        assert said in "\n".join(ended.error)
        assert len(ended.error) <= 3
    assert place.resume("numpy", "run").code == 0


def test_wrong_data_starts_a_run(place: Place) -> None:
    """写错、缺失、没有验证集、分词器不同、太短、只给了 ``--packing``：三行以内，不建运行文件夹。"""
    shard("c", train_bpe(text_of(200, 9), 290), seed=1)
    shard("d", train_bpe(text_of(200), 300), seed=1, val_fraction=0)
    for changes, code, said in (
        ({"data": "none"}, 4, "no such folder"),
        ({"data": "a=x"}, 2, "cannot read"),
        ({"data": "a=0"}, 2, "cannot read"),
        ({"data": "a,,b"}, 2, "cannot read"),
        ({"data": "a,c"}, 2, "different tokenizers"),
        ({"data": "d"}, 4, "no val split"),
        ({"data": "a", "context": 60_000}, 2, "too few"),
        ({"packing": "bos"}, 2, "needs --data"),
        ({"data": "a", "packing": "tight"}, 2, "packing"),
    ):
        ended = place.train("numpy", "run", **changes)
        assert ended.code == code, changes
        assert said in "\n".join(ended.error)
        assert len(ended.error) <= 3
    assert not (place.runs / "run").exists()


def test_weights_do_not_change_the_digest(place: Place) -> None:
    """摘要认内容与权重，不认路径。"""
    shard("e", open_store(Path("a")).tokenizer, seed=1)
    assert open_store(Path("a")).index.source != open_store(Path("e")).index.source
    assert data_digest(open_sources("a")) == data_digest(open_sources("e=1"))
    assert data_digest(open_sources("a")) != data_digest(open_sources("a=2"))
    assert data_digest(open_sources("a,b")) != data_digest(open_sources("b,a"))
    with pytest.raises(UserError):
        open_sources("")
