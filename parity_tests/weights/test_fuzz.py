"""坏的与敌意的模型文件：各种格式随机改坏，不是读得成，就是一个至多三行的错；不执行什么，内存有界。

数据区里翻转的比特，safetensors 与 GGUF 自己没有校验和，读出的是另一个有限的数；TensorFlow 与 ``ckpt.pt`` 都发现得了。
"""

from __future__ import annotations

import json
import struct
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from parity_tests.tokenizers.samples import small
from parity_tests.weights.test_nanogpt import checkpoint
from parity_tests.weights.tf_files import write_gpt2
from tinygrad_llm.common.checkpoint import Checkpoint, save_checkpoint
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.weights.export_command import ExportConfig, export
from tinygrad_llm.common.weights.gguf_models import read_gguf_model
from tinygrad_llm.common.weights.hf_folder import read_hf_folder
from tinygrad_llm.common.weights.model_files import write_run
from tinygrad_llm.common.weights.tf_gpt2 import read_tf_gpt2
from torch_llm.nanogpt import read_nanogpt

HUGE = (2**63 - 1, 2**32, 2**31 - 1, 10**9, 2**64 - 1)
MOST_BYTES = 64 << 20
SEEDS = [0, pytest.param(1, marks=[pytest.mark.full, pytest.mark.soak])]
COUNTS = {0: 200, 1: 5000}
LLAMA = GPTConfig(
    vocab_size=362, context=8, n_layer=1, n_head=2, n_kv_head=1, n_embd=32, norm="rmsnorm", position="rope",
    mlp="swiglu", bias=False, hidden=32,
)  # fmt: skip
GPT2 = GPTConfig(vocab_size=19, context=6, n_layer=1, n_head=2, n_embd=4, mlp="gelu_tanh")


class Format(NamedTuple):
    """一种格式。

    Attributes:
        make: 在文件夹里造一个好的模型，交出来源的路径。
        files: 改坏的是哪个文件，相对于来源；空串是来源自己。
        read: 读法。
        is_checked: 数据里的每个比特都有校验和。
    """

    make: Callable[[Path], Path]
    files: tuple[str, ...]
    read: Callable[[Path], Any]
    is_checked: bool = False


def exported(folder: Path, format: Any, dtype: Any) -> Path:
    """我们自己写出的一个带分词器的小模型。"""
    tokenizer = small()
    config = GPTConfig(**{**LLAMA.to_dict(), "vocab_size": tokenizer.vocab_size})
    state = {"model": config.to_dict(), "tokenizer": tokenizer.digest}
    save_checkpoint(folder / "run", Checkpoint(0, initial_weights(config, 0, "float32"), {}, state))
    tokenizer.save(folder / "run" / "tokenizer.json")
    export(ExportConfig(run=str(folder / "run"), out=folder / "x", format=format, dtype=dtype))
    return folder / "x" if format == "hf" else next((folder / "x").iterdir())


def tensorflow(folder: Path) -> Path:
    """OpenAI 的文件夹。"""
    write_gpt2(folder, initial_weights(GPT2, 0, "float32"), is_packed=True)
    return folder


def nanogpt(folder: Path) -> Path:
    """nanoGPT 的文件。"""
    torch.save(checkpoint(GPTConfig(**{**GPT2.to_dict(), "mlp": "gelu"})), folder / "ckpt.pt")
    return folder / "ckpt.pt"


FORMATS = {
    "safetensors": Format(lambda f: exported(f, "hf", "float32"), ("model.safetensors",), read_hf_folder),
    "config.json": Format(lambda f: exported(f, "hf", "float16"), ("config.json",), read_hf_folder),
    "tokenizer.json": Format(lambda f: exported(f, "hf", "float16"), ("tokenizer.json",), read_hf_folder),
    "gguf": Format(lambda f: exported(f, "gguf", "q8_0"), ("",), read_gguf_model),
    "tensorflow index": Format(tensorflow, ("model.ckpt.index",), read_tf_gpt2, True),
    "tensorflow data": Format(tensorflow, ("model.ckpt.data-00000-of-00001",), read_tf_gpt2, True),
    "hparams.json": Format(tensorflow, ("hparams.json", "checkpoint"), read_tf_gpt2),
    "ckpt.pt": Format(nanogpt, ("",), read_nanogpt),
}

_watching: list[str] | None = None
_FORBIDDEN = ("exec", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "os.remove", "os.mkdir", "socket.")


def _audit(event: str, details: Any) -> None:
    if _watching is None or not event.startswith(_FORBIDDEN):
        return
    # 装着的库用到才导入的模块、命名元组的定义，不是文件里的代码
    where = getattr(details[0], "co_filename", "") if event == "exec" else ""
    if not where.startswith(
        ("<frozen", "namedtuple_", *sys.path[1:], sys.prefix, sys.base_prefix)
    ):  # 装着的库用到才导入
        _watching.append(f"{event} {where}")


@contextmanager
def watched() -> Iterator[list[str]]:
    """``with`` 之内执行的代码、起的进程、碰的文件系统。"""
    global _watching
    if not getattr(sys, "_weights_audit", False):
        sys.addaudithook(_audit)
        sys._weights_audit = True  # type: ignore[attr-defined]
    _watching = []
    try:
        yield _watching
    finally:
        _watching = None


def damaged(good: bytes, rng: np.random.Generator) -> bytes:
    """一种随机的改坏：截断、翻转比特、抹成一片、填上很大的数、插进或挪走一段、抄到别处。"""
    data = bytearray(good)
    kind, at = int(rng.integers(8)), int(rng.integers(len(data)))
    span = int(rng.integers(1, 17))
    if kind == 0:
        return bytes(data[:at])
    if kind <= 2:  # 开头多半是结构，多翻几次
        where = at if kind == 1 else int(rng.integers(min(len(data), 400)))
        data[where] ^= 1 << int(rng.integers(8))
    elif kind == 3:
        data[at : at + span] = bytes([int(rng.choice([0, 255, 34, 48, 57]))]) * span
    elif kind == 4:
        huge = struct.pack("<Q", HUGE[int(rng.integers(len(HUGE)))])
        where = int(rng.integers(min(len(data), 600)))
        data[where : where + 8] = huge
    elif kind == 5:
        data[at:at] = rng.integers(0, 256, span, dtype=np.uint8).tobytes()
    elif kind == 6:
        del data[at : at + span]
    else:
        source = int(rng.integers(len(data)))
        data[at : at + span] = data[source : source + span]
    return bytes(data)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.timeout(1800)
def test_a_damaged_file_is_another_error(tmp_path: Path, name: str, seed: int) -> None:
    """改坏的文件引出了别的异常、超过三行的消息、执行的代码，或大量的内存；有校验和的，读出了别的数。"""
    format, rng = FORMATS[name], np.random.default_rng(seed)
    source = format.make(tmp_path)
    expected = {key: one.read().copy() for key, one in format.read(source).tensors.items()}
    refused = 0
    for turn in range(COUNTS[seed]):
        path = source / format.files[turn % len(format.files)] if format.files[0] else source
        good = path.read_bytes()
        path.write_bytes(damaged(good, rng))
        with watched() as events:
            refused += not _reads(format, source, expected, measures=turn % 4 == 0)
        path.write_bytes(good)
        assert not events, (name, turn, events)
    assert refused > COUNTS[seed] // 20, "the damage does no harm: is the file read at all?"


def _reads(format: Format, source: Path, expected: dict[str, Any], *, measures: bool = True) -> bool:
    """读到底；坏得报了错时为假。"""
    if measures:
        tracemalloc.start()
    try:
        found = {key: one.read() for key, one in format.read(source).tensors.items()}
        if format.is_checked:
            assert all(np.array_equal(found[key], value) for key, value in expected.items())
        return True
    except UserError as error:
        lines = str(error).splitlines()
        if len(lines) > 3 or not lines[0].startswith("error: "):
            raise AssertionError(lines) from error
        return False
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()  # 没有量时两者都是 0 与空
        assert most < MOST_BYTES, most


HOSTILE_HEADERS: dict[str, dict[str, Any]] = {
    "terabytes": {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}},
    "empty and huge": {"a": {"dtype": "F32", "shape": [0, 1 << 62], "data_offsets": [0, 0]}},
    "negative": {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}},
}


@pytest.mark.parametrize("kind", HOSTILE_HEADERS)
def test_a_declared_size_is_believed(tmp_path: Path, kind: str) -> None:
    """头里声明的大小没有与文件核对，就据它分配内存。"""
    source = exported(tmp_path, "hf", "float32")
    header = json.dumps(HOSTILE_HEADERS[kind]).encode()
    (source / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert not _reads(FORMATS["safetensors"], source, {})


def test_an_index_leads_out_of_the_folder(tmp_path: Path) -> None:
    """索引里的分片可以是别处的文件。"""
    source = exported(tmp_path, "hf", "float32")
    (source / "model.safetensors").rename(tmp_path / "outside.safetensors")
    index = {"weight_map": {"model.norm.weight": "../outside.safetensors"}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="index of the shards"):
        read_hf_folder(source)


def test_a_refused_model_leaves_something_behind(tmp_path: Path) -> None:
    """读到一半才发现坏了，留下了半个运行。"""
    source = tensorflow(tmp_path / "m")
    data = source / "model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-8] + bytes(8))
    with pytest.raises(UserError, match="checksum"):
        write_run(read_tf_gpt2(source), tmp_path / "runs" / "a")
    assert not (tmp_path / "runs" / "a").exists()


def test_code_beside_the_weights_is_touched(tmp_path: Path) -> None:
    """文件夹里的 Python 文件、``auto_map`` 与 pickle 有一个被打开了。"""
    source = exported(tmp_path, "hf", "float32")
    for name in ("modeling_evil.py", "pytorch_model.bin", "tokenizer.py"):
        (source / name).write_text("raise SystemExit('executed')")
        (source / name).chmod(0)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "modeling_evil.Evil"}}))
    with watched() as events:
        assert _reads(FORMATS["safetensors"], source, {})
    assert not events
