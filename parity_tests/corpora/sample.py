"""下载的测试共用的一份小语料：添进目录，从会出错的服务器取来，看缓存里留下了什么。

流入：``FaultyServer``；流出：缓存里的内容。
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from parity_tests.corpora.server import FaultyServer
from tinygrad_llm.common.corpora import cache, fetching
from tinygrad_llm.common.corpora.cache import CHECKSUMS
from tinygrad_llm.common.corpora.catalogue import CATALOGUE, Entry, RemoteFile
from tinygrad_llm.common.corpora.download import Patience
from tinygrad_llm.common.corpora.fetching import fetch

BODY = "\n".join(f"line {n}: the quick brown fox" for n in range(20_000)).encode()
DIGEST = hashlib.sha256(BODY).hexdigest()
QUICK = Patience(attempts=3, first_delay_s=0.01, longest_delay_s=0.02, timeout_s=5.0)
NAME = "sample.txt"


def listed(monkeypatch: pytest.MonkeyPatch, *, sha256: str = DIGEST, size: int = len(BODY), exact: bool = True) -> Path:
    """在目录里添一份 ``sample``，返回它的成品该在的路径；网址由 ``mirror`` 换成本地的。"""
    file = RemoteFile(f"https://example.invalid/data/{NAME}", size, sha256, is_exact=exact)
    entry = Entry("sample", "a sample", "none", "https://example.invalid", (file,))
    monkeypatch.setitem(CATALOGUE, "sample", entry)
    return cache.entry_folder(entry) / NAME


def fetched(server: FaultyServer) -> bytes:
    """从服务器取 ``sample``，返回缓存里的内容。"""
    (path,) = fetch("sample", mirror=server.url, patience=QUICK)
    return path.read_bytes()


def leftovers(path: Path) -> list[str]:
    """文件夹里成品、记录与锁之外的东西。"""
    return sorted(one.name for one in path.parent.iterdir() if one.name not in (NAME, CHECKSUMS, fetching.LOCK))
