"""照格式说明写出的 TensorFlow 检查点：测试里的写法与读法各写各的。

流入：名字到数组；流出：``.index``（有序表，块可以压缩）与 ``.data`` 两个文件。
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tinygrad_llm.ops.op import Array

DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19}


def crc32c_bit_by_bit(data: bytes) -> int:
    """按定义一位一位地算的 CRC-32C。"""
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    """存进文件的样子。"""
    crc = crc32c_bit_by_bit(data)
    return ((crc >> 15 | (crc << 17) & 0xFFFFFFFF) + 0xA282EAD8) % (1 << 32)


def varint(number: int) -> bytes:
    """变长整数。"""
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def message(fields: Sequence[tuple[int, int | bytes]], fixed32: int = -1) -> bytes:
    """一条 protobuf；``fixed32`` 号字段存成定长的 4 个字节。"""
    parts = []
    for number, value in fields:
        if isinstance(value, bytes):
            parts.append(varint(number << 3 | 2) + varint(len(value)) + value)
        elif number == fixed32:
            parts.append(varint(number << 3 | 5) + struct.pack("<I", value))
        else:
            parts.append(varint(number << 3) + varint(value))
    return b"".join(parts)


def snappy(data: bytes) -> bytes:
    """用到四种元素的压缩：原样的字节，与往回 1、2、4 字节距离的重复。"""
    found, at, turn = [varint(len(data))], 0, 0
    while at < len(data):
        match = data.rfind(data[at : at + 4], max(at - 2000, 0), at + 3) if at + 4 <= len(data) else -1
        if match < 0 or match >= at:
            piece = data[at : at + 61]
            found.append(bytes([len(piece) - 1 << 2]) if len(piece) <= 60 else bytes([60 << 2, len(piece) - 1]))
            found.append(piece)
            at += len(piece)
            continue
        count = 4
        while count < 11 and at + count < len(data) and data[at + count] == data[match + count]:
            count += 1
        back, turn = at - match, turn + 1
        if turn % 3 == 0:
            found.append(bytes([count - 1 << 2 | 3]) + struct.pack("<I", back))
        elif turn % 3 == 1 or back > 2047:
            found.append(bytes([count - 1 << 2 | 2]) + struct.pack("<H", back))
        else:
            found.append(bytes([back >> 8 << 5 | count - 4 << 2 | 1, back & 0xFF]))
        at += count
    return b"".join(found)


def block(rows: Sequence[tuple[bytes, bytes]], every: int = 3) -> bytes:
    """有序表的一个块：每隔几个键从头存一次。"""
    found, restarts, last = bytearray(), [], b""
    for i, (key, value) in enumerate(rows):
        shared = 0
        if i % every == 0:
            restarts.append(len(found))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        found += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    restarts = restarts or [0]
    return bytes(found) + struct.pack(f"<{len(restarts)}I", *restarts) + struct.pack("<I", len(restarts))


def table(rows: Sequence[tuple[bytes, bytes]], *, is_packed: bool, per_block: int = 4) -> bytes:
    """整张有序表。"""
    found, index = bytearray(), []

    def add(content: bytes) -> bytes:
        stored = (snappy(content) if is_packed else content) + bytes([is_packed])
        handle = varint(len(found)) + varint(len(stored) - 1)
        found.extend(stored + struct.pack("<I", masked(stored)))
        return handle

    for start in range(0, len(rows), per_block):
        part = rows[start : start + per_block]
        index.append((part[-1][0], add(block(part))))
    footer = add(block([])) + add(block(index))
    return bytes(found) + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def write_bundle(prefix: Path, tensors: Mapping[str, Array], *, is_packed: bool) -> None:
    """写出两个文件。"""
    data = bytearray()
    rows = [(b"", message([(1, 1), (3, message([(1, 1)]))]))]
    for name in sorted(tensors):
        array = np.asarray(tensors[name], order="C")
        stored = array.tobytes()
        shape = b"".join(message([(2, message([(1, size)]))]) for size in array.shape)
        fields: list[tuple[int, int | bytes]] = [
            (1, DTYPES[array.dtype.name]),
            (2, shape),
            (4, len(data)),
            (5, len(stored)),
            (6, masked(stored)),
        ]
        rows.append((name.encode(), message(fields, fixed32=6)))
        data += stored
    prefix.with_name(prefix.name + ".index").write_bytes(table(rows, is_packed=is_packed))
    prefix.with_name(prefix.name + ".data-00000-of-00001").write_bytes(bytes(data))


def write_gpt2(folder: Path, weights: Mapping[str, Array], *, is_packed: bool = False, heads: int = 2) -> None:
    """OpenAI 的文件夹：我们的权重换成那边的名字与形状，外加一个不是权重的步数。"""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Array] = {"global_step": np.array(7, np.int64)}
    for name, value in weights.items():
        parts = name.split(".")
        if parts[0] == "h":
            parts[:2] = ["h" + parts[1]]
        kind = parts.pop()
        where = "model/" + "/".join(parts)
        if parts[-1].startswith("ln_"):
            found[f"{where}/{'g' if kind == 'weight' else 'b'}"] = value
        elif parts[-1].startswith("c_"):
            found[f"{where}/{kind[0]}"] = value.T[None] if kind == "weight" else value
        else:
            found[where] = value
    write_bundle(folder / "model.ckpt", found, is_packed=is_packed)
    (folder / "checkpoint").write_text(
        'model_checkpoint_path: "model.ckpt"\nall_model_checkpoint_paths: "model.ckpt"\n'
    )
    vocab, width = weights["wte.weight"].shape
    layers = len({name.split(".")[1] for name in weights if name.startswith("h.")})
    shape = {"n_vocab": vocab, "n_ctx": len(weights["wpe.weight"]), "n_embd": width, "n_head": heads, "n_layer": layers}
    (folder / "hparams.json").write_text(json.dumps(shape))
