"""内存：只与一片、一行或一个 row group 有关，与文件大小无关。"""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest

from tinygrad_llm.common.corpora import documents, text_files


def peak_bytes(path: Path) -> int:
    """读完一个文件，Python 分配的内存峰值，字节。"""
    tracemalloc.start()
    try:
        count = sum(1 for _ in documents(str(path)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count > 1
    return peak


def big_file(folder: Path, suffix: str, size: int) -> Path:
    """一个合成的大文件，约 ``size`` 字节（压缩之前）。"""
    path = folder / f"big{suffix}"
    line = "the quick brown fox jumps over the lazy dog " * 20
    block = (
        "".join(f'{{"text": "{line}", "id": {n}}}\n' for n in range(1000)) if "json" in suffix else f"{line}\n" * 1000
    )
    data = block.encode()
    with gzip.open(path, "wb", compresslevel=1) if suffix.endswith(".gz") else path.open("wb") as file:
        for _ in range(-(-size // len(data))):
            file.write(data)
    return path


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".jsonl.gz"])
def test_memory_does_not_grow_with_the_file(suffix: str, tmp_path: Path) -> None:
    """三倍大的文件，内存峰值不变：只与一片或一行有关。"""
    small = peak_bytes(big_file(tmp_path, suffix, 3 << 20))
    large = peak_bytes(big_file(tmp_path, suffix, 9 << 20))
    assert large < 1.2 * small
    assert large < 10 * text_files.PIECE_BYTES


@pytest.mark.full
@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".jsonl.gz"])
def test_two_hundred_megabytes_stay_within_the_bound(suffix: str, tmp_path: Path) -> None:
    """200 MB 的文件，内存不超过 10 片（10 MiB）。"""
    assert peak_bytes(big_file(tmp_path, suffix, 200_000_000)) < 10 * text_files.PIECE_BYTES


@pytest.mark.full
def test_two_hundred_megabytes_of_parquet_stay_within_the_bound(tmp_path: Path) -> None:
    """parquet 按 row group 读：pyarrow 自己的内存池也不随文件增大。"""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    line = "the quick brown fox jumps over the lazy dog " * 20
    path = tmp_path / "big.parquet"
    table = pyarrow.table({"text": [f"{n} {line}" for n in range(4000)]})
    with parquet.ParquetWriter(path, table.schema, compression="none", use_dictionary=False) as writer:
        for _ in range(60):
            writer.write_table(table, row_group_size=1000)
    assert path.stat().st_size > 200_000_000
    before = pyarrow.total_allocated_bytes()
    peak = 0
    for count, _ in enumerate(documents(str(path))):
        if count % 1000 == 0:
            peak = max(peak, pyarrow.total_allocated_bytes() - before)
    assert peak < 16 << 20
