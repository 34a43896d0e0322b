"""下载的测试用的两个 fixture：自己的缓存与会出错的服务器。"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from parity_tests.corpora.sample import BODY
from parity_tests.corpora.server import FaultyServer
from tinygrad_llm.common import environment


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """自己的缓存，不受本机环境变量的影响。"""
    monkeypatch.setenv(environment.CACHE, str(tmp_path / "cache"))
    monkeypatch.delenv(environment.MIRROR, raising=False)
    monkeypatch.delenv(environment.OFFLINE, raising=False)


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    """内容为 ``BODY`` 的服务器，剧本由各条测试写。"""
    with FaultyServer(BODY) as running:
        yield running
