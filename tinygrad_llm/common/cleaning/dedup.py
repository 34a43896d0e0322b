"""查重：内容相同的与近似的文档，每一组只留最先出现的一份。

流入：每份文档 16 字节的摘要、``bands`` 个键与 shingle 的个数；流出：每份文档由谁代表。下一个文件：``pipeline.py``。

内存与文档的份数成正比，与文字的多少无关：精确查重每份 16 字节（排序时另加 8），近似查重一次只看一段的键，
每份 8 字节（排序时另加 8），再加并查集的 8 字节；键本身留在盘上。
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from tinygrad_llm.common.cleaning.minhash import jaccard
from tinygrad_llm.common.cleaning.words import Hashes

__all__ = ["MAX_COMPARED", "exact_keepers", "near_keepers"]

Indices = npt.NDArray[np.int64]

MAX_COMPARED = 64
"""同一个键的文档很多而又互不相似时，每份至多与前面几份相比。"""
_MAX_REMEMBERED = 1 << 20


def exact_keepers(digests: Hashes) -> Indices:
    """内容相同的各份，由最先的一份代表。

    Args:
        digests: (N, 2)，每份文档的 128 位摘要。

    Returns:
        (N,)，代表的序号；独一无二的由自己代表。
    """
    order = np.lexsort((digests[:, 1], digests[:, 0]))  # 稳定：相同的按出现的次序
    in_order = digests[order]
    is_first = np.ones(order.size, np.bool_)
    is_first[1:] = (in_order[1:] != in_order[:-1]).any(1)
    first = order[is_first]
    keepers = np.empty(order.size, np.int64)
    keepers[order] = first[np.cumsum(is_first) - 1]
    return keepers


def near_keepers(
    bands: Iterator[Hashes],
    sizes: npt.NDArray[np.int64],
    candidates: Indices,
    shingles_of: Callable[[int], Hashes],
    threshold: float,
) -> Indices:
    """近似的各份连成一组，由最先的一份代表。

    有一段的键相同的两份，算出真正的 Jaccard 相似度，达到阈值才连起来；连起来的关系可以传递。

    Args:
        bands: 一段一段的键，每段 (N,)。
        sizes: (N,)，每份有几个 shingle；0 表示没有，不参与。
        candidates: 参与的文档，升序；其余由自己代表。
        shingles_of: 由序号取 shingle 集合。
        threshold: 相似度至少多少。

    Returns:
        (N,)，代表的序号。
    """
    parents = np.arange(sizes.size)
    candidates = candidates[sizes[candidates] > 0]
    rejected: set[tuple[int, int]] = set()
    for keys in bands:
        for group in _groups(keys, candidates):
            _join(group, parents, sizes, shingles_of, threshold, rejected)
        if len(rejected) > _MAX_REMEMBERED:
            rejected.clear()
    while not np.array_equal(parents, parents[parents]):  # 每一遍路程减半，几遍就都指到根
        parents = parents[parents]
    return parents


def _groups(keys: Hashes, candidates: Indices) -> Iterator[list[int]]:
    """键相同的各组，组内按出现的次序；只有一份的不算。"""
    own = keys[candidates]
    order = np.argsort(own, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], own[order][1:] != own[order][:-1]]))
    ends = np.append(starts[1:], order.size)
    for start, end in zip(starts[ends - starts > 1], ends[ends - starts > 1], strict=True):
        yield candidates[order[start:end]].tolist()


def _join(
    group: list[int],
    parents: Indices,
    sizes: npt.NDArray[np.int64],
    shingles_of: Callable[[int], Hashes],
    threshold: float,
    rejected: set[tuple[int, int]],
) -> None:
    for place, later in enumerate(group):
        for earlier in group[:place][:MAX_COMPARED]:
            roots = sorted((_root(parents, earlier), _root(parents, later)))
            if roots[0] == roots[1]:
                break
            small, large = sorted((int(sizes[earlier]), int(sizes[later])))
            if small < threshold * large or (earlier, later) in rejected:
                continue  # 大小差得太多，相似度到不了阈值
            if jaccard(shingles_of(earlier), shingles_of(later)) >= threshold:
                parents[roots[1]] = roots[0]
            else:
                rejected.add((earlier, later))


def _root(parents: Indices, index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = int(parents[index])
    return index
