"""缓存：用到之前都核对过，断网、镜像、并发与协议各有各的规矩。"""

from __future__ import annotations

import json
import threading
import urllib.request

import pytest

from parity_tests.corpora.sample import BODY, NAME, QUICK, fetched, leftovers, listed
from parity_tests.corpora.server import FaultyServer
from tinygrad_llm.common import environment
from tinygrad_llm.common.corpora import cache, documents, download
from tinygrad_llm.common.corpora.cache import CHECKSUMS, cached_files
from tinygrad_llm.common.corpora.catalogue import CATALOGUE
from tinygrad_llm.common.corpora.fetching import fetch
from tinygrad_llm.common.errors import DataError, UserError

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_file_already_here_is_verified_without_the_network(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """第二次 fetch 不发请求；断网时也成。"""
    listed(monkeypatch)
    assert fetched(server) == BODY
    assert len(server.paths) == 1
    assert fetched(server) == BODY
    assert fetch("sample", offline=True)[0].read_bytes() == BODY
    assert len(server.paths) == 1


def test_a_damaged_file_in_the_cache_is_fetched_again(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """缓存里翻了一个比特，fetch 认得出来并重新下载；断网时是一条报错，而不是照用。"""
    path = listed(monkeypatch)
    fetched(server)
    data = bytearray(BODY)
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="offline"):
        fetch("sample", offline=True)
    assert fetched(server) == BODY
    assert "fetching it again" in capsys.readouterr().err


def test_a_file_of_another_size_is_not_read_as_the_corpus(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """读取之前核对大小：被截短的成品不会悄悄当作语料。"""
    path = listed(monkeypatch)
    fetched(server)
    assert sum(len(document.text) for document in documents("sample")) == len(BODY)
    path.write_bytes(BODY[:-1])
    with pytest.raises(DataError, match="bytes"):
        cached_files(CATALOGUE["sample"])


def test_a_file_put_there_by_hand_is_read_if_its_size_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """断网的机器上手工拷来的文件：大小对就能读，fetch 核对后记下；大小不对就报错。"""
    path = listed(monkeypatch)
    path.parent.mkdir(parents=True)
    path.write_bytes(BODY[:-1])
    with pytest.raises(DataError, match="should have"):
        cached_files(CATALOGUE["sample"])
    path.write_bytes(BODY)
    assert cached_files(CATALOGUE["sample"]) == [path]
    assert not (path.parent / CHECKSUMS).exists()
    assert fetch("sample", offline=True) == [path]
    assert json.loads((path.parent / CHECKSUMS).read_text())[NAME]["pinned"] is True


# ---- 开关、并发与协议 ----


def test_offline_fails_with_an_instruction(monkeypatch: pytest.MonkeyPatch) -> None:
    """断网而缓存里没有：说清在有网的机器上运行什么、把什么拷过来；环境变量同样管用。"""
    path = listed(monkeypatch)
    with pytest.raises(DataError, match="offline") as caught:
        fetch("sample", offline=True)
    assert "data fetch sample" in caught.value.fix
    assert caught.value.where == str(path.parent)
    monkeypatch.setenv(environment.OFFLINE, "1")
    with pytest.raises(DataError, match="offline"):
        fetch("sample")


def test_reading_a_corpus_never_downloads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """没有下载过的名字：报错并给出命令，而不是在训练开始时联网。"""
    listed(monkeypatch)
    monkeypatch.setattr(urllib.request.OpenerDirector, "open", None)
    with pytest.raises(DataError, match="not in the cache") as caught:
        next(documents("sample"))
    assert caught.value.fix == "run: python -m torch_llm data fetch sample"


def test_the_mirror_replaces_the_host_and_keeps_the_path(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """镜像可以带路径前缀，也可以来自环境变量；记录里写的是原来的网址。"""
    path = listed(monkeypatch)
    monkeypatch.setenv(environment.MIRROR, f"{server.url}/proxy/")
    fetch("sample", patience=QUICK)
    assert server.paths == [f"/proxy/data/{NAME}"]
    assert json.loads((path.parent / CHECKSUMS).read_text())[NAME]["url"].startswith("https://example.invalid/")


@pytest.mark.parametrize("mirror", ["ftp://x.invalid", "hf-mirror.com", "file:///etc", "https://", "http://x/?q=1"])
def test_a_mirror_that_is_no_web_address_is_a_usage_error(mirror: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """退出码 2，并给一个写法。"""
    listed(monkeypatch)
    with pytest.raises(UserError, match="not a mirror") as caught:
        fetch("sample", mirror=mirror)
    assert caught.value.exit_code == 2


def test_plain_http_is_refused_unless_asked_for(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """目录里的网址只走 https；https 的页面转向 http 或 file 也不跟。"""
    for url in ("http://example.invalid/a", "ftp://example.invalid/a", "file:///etc/hostname"):
        with pytest.raises(DataError, match="insecure"):
            download.mirrored(url, "")
    assert download.mirrored("https://example.invalid/a?b=1", "") == "https://example.invalid/a?b=1"
    redirects = download._Redirects()
    secure = urllib.request.Request("https://example.invalid/a")
    for target in ("http://example.invalid/b", "file:///etc/hostname"):
        with pytest.raises(DataError, match="insecure"):
            redirects.redirect_request(secure, None, 302, "Found", {}, target)  # type: ignore[arg-type]
    listed(monkeypatch)
    server.script = ["redirect:file:///etc/hostname"]
    with pytest.raises(DataError, match="insecure"):
        fetched(server)


def test_many_at_once_download_once_and_agree(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """八个线程同时要同一份语料：只下载一次，人人拿到完整的文件。"""
    path = listed(monkeypatch)
    server.script = ["drop:100000"]
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(fetched(server))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [BODY] * 8
    assert len(server.paths) == 2
    assert leftovers(path) == []


def test_a_damaged_record_says_which_file_to_repair(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """checksums.json 写坏了：报错，而不是当作没有记录、悄悄重新信任。"""
    path = listed(monkeypatch)
    fetched(server)
    for damage in ("{", "[]", '{"sample.txt": 3}'):
        (path.parent / CHECKSUMS).write_text(damage)
        with pytest.raises(DataError, match="damaged") as caught:
            fetched(server)
        assert caught.value.where == str(path.parent / CHECKSUMS)


def test_asking_for_a_wrong_name_or_too_many_files_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """退出码 2，列出名字，说明共有几个文件。"""
    listed(monkeypatch)
    with pytest.raises(UserError, match="unknown corpus"):
        fetch("tinyshakspeare")
    for files in (2, -1):
        with pytest.raises(UserError, match="has 1 files"):
            fetch("sample", files=files)


def test_every_entry_of_the_catalogue_is_usable() -> None:
    """网址都是 https，文件名互不相同，摘要是 64 位十六进制，大小与份数为正。"""
    for entry in CATALOGUE.values():
        names = [file.name for file in entry.files]
        assert len(set(names)) == len(names) >= entry.default_files > 0
        assert entry.licence
        assert entry.homepage.startswith("https://")
        assert cache.CHECKSUMS not in names
        for file in entry.files:
            assert download.mirrored(file.url, "") == file.url
            assert file.size > 0
            assert not file.sha256 or (len(file.sha256) == 64 and int(file.sha256, 16))
            assert file.name
