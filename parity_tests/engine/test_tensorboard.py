"""事件文件：用另写的解码器读回来，写的是什么就读到什么。

真正的 TensorBoard 不在测试的依赖里；这里的解码器只照格式的说明写，CRC 逐位计算，与被测的查表法无关。
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as tg
from tinygrad_llm.common import event_file
from tinygrad_llm.utils.tensorboard import SummaryWriter


def _crc(data: bytes) -> int:
    """CRC-32C，照定义一位一位地除。"""
    crc = 0xFFFFFFFF
    for bit in (byte >> i & 1 for byte in data for i in range(8)):
        crc = (crc >> 1) ^ (0x82F63B78 * ((crc ^ bit) & 1))
    return crc ^ 0xFFFFFFFF


def _checked(data: bytes, stored: bytes) -> bytes:
    rotated = (struct.unpack("<I", stored)[0] - 0xA282EAD8) & 0xFFFFFFFF
    assert (rotated << 15 | rotated >> 17) & 0xFFFFFFFF == _crc(data)
    return data


def _records(content: bytes) -> Iterator[bytes]:
    while content:
        (length,) = struct.unpack("<Q", _checked(content[:8], content[8:12]))
        yield _checked(content[12 : 12 + length], content[12 + length : 16 + length])
        content = content[16 + length :]


def _fields(data: bytes) -> dict[int, Any]:
    """protobuf 消息的字段；同号的后一个盖住前一个。"""
    found: dict[int, Any] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte, at = data[at], at + 1
            value, shift = value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            found[key >> 3] = varint()
            continue
        size = {1: 8, 5: 4}[key & 7] if key & 7 in (1, 5) else varint()
        raw, at = data[at : at + size], at + size
        found[key >> 3] = raw if key & 7 == 2 else struct.unpack("<d" if size == 8 else "<f", raw)[0]
    return found


def _events(folder: Path) -> list[dict[int, Any]]:
    """一个目录里的全部事件；每个文件的第一条必须是格式的版本；同一秒里第 10 个文件在第 9 个之后。"""
    found = []
    for path in sorted(folder.glob("events.out.tfevents.*"), key=lambda path: (len(path.name), path.name)):
        first, *rest = [_fields(record) for record in _records(path.read_bytes())]
        assert first[3] == b"brain.Event:2"
        found += rest
    return found


def _values(folder: Path) -> list[tuple[str, int | None, dict[int, Any]]]:
    """（名字、步数、值的字段）。"""
    values = [(event.get(2), _fields(_fields(event[5])[1])) for event in _events(folder)]
    return [(value[1].decode(), step, value) for step, value in values]


def test_crc_differs_from_the_published_value() -> None:
    """查表算出的 CRC 与标准里的例子、与逐位计算的不同。"""
    assert event_file.crc32c(b"123456789") == 0xE3069283
    data = bytes(range(256)) * 3
    assert event_file.crc32c(data) == _crc(data)


@given(st.floats(width=32), st.integers(-(2**63), 2**63 - 1), st.text(max_size=200), st.floats(0, 1e12))
def test_a_scalar_is_read_back_different(value: float, step: int, tag: str, walltime: float) -> None:
    """任意的数、步数、名字与时刻，写下再读回变了。"""
    content = event_file.block(5, event_file.block(1, event_file.block(1, tag) + event_file.single(2, value)))
    record = event_file.double(1, walltime) + event_file.varint(2, step) + content
    (event,) = (_fields(data) for data in _records(event_file.record(record)))
    found = _fields(_fields(event[5])[1])
    assert (event[1], (event[2] ^ 2**63) - 2**63, found[1]) == (walltime, step, tag.encode("utf-8", "replace"))
    assert found[2] == value or (math.isnan(found[2]) and math.isnan(value))


def test_scalars_are_not_where_tensorboard_looks(tmp_path: Path) -> None:
    """曲线的值、步数、时刻或目录不对；关上之后再写的丢了。"""
    writer = SummaryWriter(log_dir=tmp_path)
    assert writer.get_logdir() == str(tmp_path)
    for step in range(3):
        writer.add_scalar("loss/train", tg.tensor(1.0) / (step + 1), step)
    writer.add_scalar("huge", 1e300, tg.tensor(3), walltime=1.5)
    writer.add_scalars("both/loss", {"train": 0.5, "val": np.float32(2)}, 7)
    writer.close()
    writer.add_scalar("later", 1)
    writer.close()
    found = [(tag, step, value[2]) for tag, step, value in _values(tmp_path)]
    curve = [("loss/train", step, np.float32(1 / (step + 1))) for step in range(3)]
    assert found == [*curve, ("huge", 3, math.inf), ("later", None, 1.0)]
    assert _events(tmp_path)[3][1] == 1.5
    for name, value in (("train", 0.5), ("val", 2.0)):
        assert [(tag, step, one[2]) for tag, step, one in _values(tmp_path / f"both_loss_{name}")] == [
            ("both/loss", 7, value)
        ]


@pytest.mark.parametrize("bins", ["tensorflow", "auto", 5, [-4.0, 0.0, 1.0, 9.0]])
def test_a_histogram_counts_wrongly(tmp_path: Path, bins: Any) -> None:
    """直方图的格数、总数、和或平方和不对。"""
    x = np.random.default_rng(0).standard_normal(500)
    with SummaryWriter(tmp_path) as writer:
        writer.add_histogram("weights", tg.from_numpy(x), 1, bins)
    ((tag, step, value),) = _values(tmp_path)
    histogram = _fields(value[5])
    limits, counts = (np.frombuffer(histogram[number], "<f8") for number in (6, 7))
    assert (tag, step, len(limits), counts[0]) == ("weights", 1, len(counts), 0)
    assert [histogram[i] for i in range(1, 6)] == pytest.approx([x.min(), x.max(), 500, x.sum(), (x * x).sum()])
    for left, right, count in zip(limits, limits[1:], counts[1:], strict=False):
        assert count == ((x >= left) & (x < right)).sum() + ((x == right).sum() if right == limits[-1] else 0)
    assert counts.sum() == 500


def test_odd_histograms_fail(tmp_path: Path) -> None:
    """常数、整数、NaN 与无穷的直方图写不出来；空的则要报错。"""
    with SummaryWriter(tmp_path) as writer:
        for values in (tg.zeros(3), [1, 2, 3], tg.tensor([math.nan]), [math.inf, -math.inf, 1.0], tg.ones(()) > 0):
            writer.add_histogram("odd", values)
        with pytest.raises(ValueError, match="no element"):
            writer.add_histogram("odd", tg.zeros(0))
    assert [np.frombuffer(_fields(value[5])[7], "<f8").sum() for _, _, value in _values(tmp_path)] == [3, 3, 0, 1, 1]


def test_a_text_is_not_marked_as_text(tmp_path: Path) -> None:
    """文字没有带上 TensorBoard 认得的标记。"""
    with SummaryWriter(tmp_path) as writer:
        writer.add_text("note", "**bold** 中文", 2)
    ((tag, step, value),) = _values(tmp_path)
    tensor = _fields(value[8])
    assert (tag, step) == ("note/text_summary", 2)
    assert (tensor[1], tensor[8].decode()) == (7, "**bold** 中文")
    assert _fields(_fields(value[9])[1])[1] == b"text"


def test_records_wait_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``flush``、``max_queue`` 与 ``flush_secs`` 没有让记录及时落到文件里；缺省目录不在 ``runs`` 下。"""
    writer = SummaryWriter(tmp_path, max_queue=3)
    sizes = []
    for step in range(4):
        writer.add_scalar("x", 1, step)
        sizes.append(len(_events(tmp_path)))
    writer.flush()
    assert [*sizes, len(_events(tmp_path))] == [0, 0, 3, 3, 4]
    eager = SummaryWriter(tmp_path / "eager", flush_secs=0)
    eager.add_scalar("x", 1)
    assert len(_events(tmp_path / "eager")) == 1
    monkeypatch.chdir(tmp_path)
    plain = SummaryWriter(comment="_test", filename_suffix=".tail")
    for open_writer in (writer, eager, plain):
        open_writer.close()
    (path,) = Path("runs").rglob("events*.tail")
    assert path.parent.name.endswith("_test")


def test_a_resumed_run_keeps_the_purged_steps(tmp_path: Path) -> None:
    """``purge_step`` 没有写下重新开始的标记。"""
    with SummaryWriter(tmp_path, purge_step=40) as writer:
        writer.add_scalar("x", 1, 40)
    start, _ = _events(tmp_path)
    assert (start[2], _fields(start[7])) == (40, {1: 1})
