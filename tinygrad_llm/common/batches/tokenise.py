"""用全部 CPU 核分词：文本一批一批分给几个线程，结果按原来的次序收回。

流入：文本的流；流出：同样次序的 id 数组，内容与线程数无关；在途的批数有上限，所以内存与语料的大小无关。
tiktoken 编码时不占解释器的锁，线程因此真的同时算，也不必像进程那样各载入一份分词器、来回传递文本。
下一个文件：``shard.py``。
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from tinygrad_llm.common.batches.tokens import Ids

__all__ = ["BATCH_CHARACTERS", "encoded"]

BATCH_CHARACTERS = 1 << 19
"""一批大约多少字符：太小则往返的开销大，太大则占内存。"""


def encoded(texts: Iterable[str], encode_one: Callable[[str], Ids], workers: int) -> Iterator[Ids]:
    """逐篇分词。

    Args:
        texts: 文本的流；出错时，它的异常原样抛出。
        encode_one: 一篇文本到它的 id。
        workers: 几个线程。

    Yields:
        每篇的 id，次序与 ``texts`` 相同。
    """

    def encode(batch: list[str]) -> list[Ids]:
        return [encode_one(text) for text in batch]

    waiting: deque[Future[list[Ids]]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for batch in _batches(texts):
            waiting.append(pool.submit(encode, batch))
            if len(waiting) > 2 * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """凑成大约 ``BATCH_CHARACTERS`` 个字符一批。"""
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
