"""用全部 CPU 核分词：文本一批一批分给几个进程，结果按原来的次序收回。

流入：文本的流；流出：同样次序的 id 数组。几个进程都一样：次序与内容与进程数无关，在途的批数有上限。
各进程从文件载入分词器，所以 spawn 也行（Windows、macOS）；父进程被杀，它们随之退出。下一个文件：``shard.py``。
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from pathlib import Path

import numpy as np

from tinygrad_llm.common.batches.tokens import Ids
from tinygrad_llm.common.tokenizers import Tokenizer, load_tokenizer

__all__ = ["BATCH_CHARACTERS", "encoded"]

BATCH_CHARACTERS = 1 << 19
_SMALL = 8  # 不到这么多批就不值得开进程
_tokenizer: Tokenizer | None = None


def encoded(texts: Iterable[str], tokenizer: Path, workers: int) -> Iterator[Ids]:
    """逐篇分词。

    Args:
        texts: 文本的流。
        tokenizer: 分词器的文件。
        workers: 至多几个进程；为 1 或文本很少时就在本进程里做。

    Yields:
        每篇的 id，uint32，次序与 ``texts`` 相同。

    Raises:
        DataError: 分词器文件坏了。
    """
    batches = _batches(texts)
    head = list(islice(batches, _SMALL if workers > 1 else 0))
    batches = chain(head, batches)
    if workers == 1 or len(head) < _SMALL:
        ours = load_tokenizer(tokenizer)
        for batch in batches:
            yield from _encode(ours, batch)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(tokenizer,))
    waiting: deque[Future[list[Ids]]] = deque()
    try:
        for batch in batches:
            waiting.append(pool.submit(_work, batch))
            if len(waiting) > 2 * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """凑成大约 ``BATCH_CHARACTERS`` 个字符一批：太小则往返的开销大，太大则占内存。"""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _encode(tokenizer: Tokenizer, batch: list[str]) -> list[Ids]:
    return [np.array(tokenizer.encode(text), np.uint32) for text in batch]


def _start(tokenizer: Path) -> None:
    """工作进程开工：载入分词器；Ctrl-C 归父进程处理；父进程一死就退出。"""
    global _tokenizer
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_with, args=(parent.sentinel,), daemon=True).start()
    _tokenizer = load_tokenizer(tokenizer)


def _leave_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _work(batch: list[str]) -> list[Ids]:
    assert _tokenizer is not None
    return _encode(_tokenizer, batch)
