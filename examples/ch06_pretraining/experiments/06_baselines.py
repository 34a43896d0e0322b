"""尺子：均匀分布、n-gram 与 GPT，在同一份验证文本上各要多少比特每字节。

流入：``python-docs`` 语料，可选一次训练的运行文件夹；流出：一张表，从什么都不知道到训练好的模型。
运行：``python examples/ch06_pretraining/experiments/06_baselines.py [RUN_FOLDER]``（几秒）。
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "main"))  # 与正文的程序共用工作台

from pretraining_lab import new_session

from tinygrad_llm.common.ngram import fit_byte_ngram
from tinygrad_llm.common.runlog import read_metrics
from tinygrad_llm.common.session import Session, bits_per_byte

ORDERS = (1, 2, 3, 4, 5)


def token_unigram_nats(session: Session) -> float:
    """只认词频的模型在验证集上的平均损失；每个 token 先加一次，没见过的也有概率。"""
    counts = np.bincount(session.train.ids, minlength=session.model.vocab_size) + 1.0
    predicted = session.validation[1:]
    return float(-np.log(counts[predicted] / counts.sum()).mean())


def main() -> None:
    """打印表。"""
    parser = argparse.ArgumentParser(description="bits per byte of the baselines, beside those of a trained run")
    parser.add_argument("run", nargs="?", type=Path, help="a run folder, such as runs/quickstart/numpy")
    run = parser.parse_args().run
    session = new_session()
    validation = session.validation_text.encode()
    tokens = session.validation.size - 1  # 第一个 token 前面没有上文，不预测
    n_bytes = int(session.tokenizer.byte_lengths[session.validation[1:]].sum())
    print(f"validation text: {len(validation):,} bytes, {tokens:,} predicted tokens, {n_bytes / tokens:.3f} bytes each")
    print(f"{'model':30} nats/token  perplexity  bits/byte")
    print(f"{'uniform over 256 bytes':30} {'':10}  {'':10}  {8:9.3f}")

    def row(name: str, nats: float) -> None:
        print(f"{name:30} {nats:10.4f}  {math.exp(nats):10.1f}  {bits_per_byte(nats * tokens, n_bytes):9.3f}")

    row("uniform over tokens (ln V)", math.log(session.model.vocab_size))
    row("token frequencies", token_unigram_nats(session))
    for order in ORDERS:
        bits = fit_byte_ngram(session.train_text.encode(), order).bits_per_byte(validation)
        print(f"{f'byte {order}-gram':30} {'':10}  {'':10}  {bits:9.3f}")
    if run is not None:
        for record in read_metrics(run):
            if "val_loss" in record:
                row(f"GPT after {record['step'] + 1} steps", record["val_loss"])


if __name__ == "__main__":
    main()
