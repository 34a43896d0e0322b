"""下载：服务器怎样出错，缓存里都只会有核对过的完整文件。"""

from __future__ import annotations

import errno
import hashlib
import json
import random
import shutil
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from parity_tests.corpora.server import FaultyServer
from tinygrad_llm.common import environment
from tinygrad_llm.common.corpora import cache, documents, download, fetching
from tinygrad_llm.common.corpora.cache import CHECKSUMS, cached_files
from tinygrad_llm.common.corpora.catalogue import CATALOGUE, Entry, RemoteFile
from tinygrad_llm.common.corpora.download import Patience
from tinygrad_llm.common.corpora.fetching import fetch
from tinygrad_llm.common.errors import DataError, OutOfDiskError, UserError

BODY = "\n".join(f"line {n}: the quick brown fox" for n in range(20_000)).encode()
DIGEST = hashlib.sha256(BODY).hexdigest()
QUICK = Patience(attempts=3, first_delay_s=0.01, longest_delay_s=0.02, timeout_s=5.0)
NAME = "sample.txt"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """每条测试有自己的缓存，也不受本机环境变量的影响。"""
    monkeypatch.setenv(environment.CACHE, str(tmp_path / "cache"))
    monkeypatch.delenv(environment.MIRROR, raising=False)
    monkeypatch.delenv(environment.OFFLINE, raising=False)


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    """内容为 ``BODY`` 的服务器，剧本由各条测试写。"""
    with FaultyServer(BODY) as running:
        yield running


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


@pytest.mark.parametrize(
    "script",
    [
        [],
        ["code:500"],
        ["code:503", "code:429"],
        ["drop:100000"],
        ["drop:1", "drop:1", "drop:1", "drop:1", "drop:1"],
        ["drop:100000", "code:502", "drop:200000"],
        ["norange:100000", "norange"],
        ["drop:100000", "norange"],
        ["drop:100000", "otherrange"],
        ["weak:100000"],
        ["unsized"],
        ["unsized:100000"],
        ["redirect:/elsewhere"],
    ],
    ids=lambda script: " ".join(script) or "ok",
)
def test_whatever_the_server_does_the_file_arrives_whole(
    script: list[str], server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """断线、忙、不会续传、给错段、不说长度、转向：最后的内容一个字节不差，不留半成品。"""
    path = listed(monkeypatch)
    server.script = script
    assert fetched(server) == BODY
    assert leftovers(path) == []
    assert json.loads((path.parent / CHECKSUMS).read_text())[NAME]["sha256"] == DIGEST


def test_a_dropped_download_goes_on_from_where_it_broke(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """第二次请求只要余下的部分，而不是从头再来。"""
    listed(monkeypatch)
    server.script = ["drop:100000"]
    assert fetched(server) == BODY
    assert server.ranges == ["", "bytes=100000-"]


@pytest.mark.parametrize(
    ("script", "ranges"),
    [
        (["weak:100000"], ["", ""]),
        (["drop:100000", "otherrange"], ["", "bytes=100000-", ""]),
        (["norange:100000", "norange:200000"], ["", "bytes=100000-", "bytes=200000-"]),
    ],
    ids=["weak tag", "other range", "no ranges"],
)
def test_what_cannot_be_resumed_starts_over_at_once(
    script: list[str], ranges: list[str], server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """弱 ETag 不拿来续传；给错的一段当场丢掉，而不是等摘要不对才发现。"""
    listed(monkeypatch)
    server.script = script
    assert fetched(server) == BODY
    assert server.ranges == ranges


def test_a_part_from_one_server_is_not_continued_from_another(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """换了镜像就从头来：两家的版本记号即使碰巧相同，也不作数。"""
    listed(monkeypatch)
    server.script = ["drop:100000", "code:404"]
    with pytest.raises(DataError, match="404"):
        fetched(server)
    with FaultyServer(BODY) as other:
        assert fetched(other) == BODY
        assert other.ranges == [""]


def test_a_later_run_resumes_and_a_changed_source_starts_over(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """上次留下的半成品接着用；源头换了内容，ETag 不符，就从头来过，不会拼出四不像。"""
    path = listed(monkeypatch, sha256="", exact=False)
    old = bytes(random.Random(0).randbytes(len(BODY)))
    server.body, server.script = old, ["drop:50000", "code:404"]
    with pytest.raises(DataError, match="404"):
        fetched(server)
    assert not path.exists()
    assert (path.parent / f"{NAME}.part").stat().st_size == 50_000
    server.body = BODY
    assert fetched(server) == BODY
    assert server.ranges[-1] == "bytes=50000-"


def test_a_damaged_part_costs_a_second_download_and_no_more(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """半成品在盘上坏了，续完才发现摘要不对：自动从头再来一次，用户不必动手。"""
    path = listed(monkeypatch)
    server.script = ["drop:50000", "code:404"]
    with pytest.raises(DataError, match="404"):
        fetched(server)
    (path.parent / f"{NAME}.part").write_bytes(b"x" * 50_000)
    assert fetched(server) == BODY
    assert server.ranges[-2:] == ["bytes=50000-", ""]
    assert "starting over" in capsys.readouterr().err


def test_a_part_that_was_complete_is_verified_and_published(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """上次刚下完就被杀掉：不再下载，核对后直接到位。"""
    path = listed(monkeypatch)
    monkeypatch.setattr(fetching, "_sha256", None)
    with pytest.raises(TypeError):
        fetched(server)
    assert not path.exists()
    monkeypatch.undo()
    monkeypatch.setenv(environment.CACHE, str(path.parents[2]))
    listed(monkeypatch)
    assert fetched(server) == BODY
    assert len(server.paths) == 1


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


# ---- 没救的错误 ----


@pytest.mark.parametrize(
    ("script", "message", "requests"),
    [
        (["code:404"], "404", 1),
        (["code:403"], "403", 1),
        (["code:500"] * 9, "3 times in a row: the server answered 500", 3),
        (["norange:10"] * 9, "10 of", 3),
        (["longer:5"] * 9, "bytes, and", 1),
        (["compressed"], "compressed", 1),
        (["redirect"] * 20, "redirects in a loop", None),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, list) else "",
)
def test_a_hopeless_server_ends_in_one_message_and_no_file(
    script: list[str], message: str, requests: int | None, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """没有成品，至多三行消息，指名网址与办法；没救的错误不反复重试。"""
    path = listed(monkeypatch)
    server.script = list(script)
    with pytest.raises(DataError, match=message) as caught:
        fetched(server)
    assert not path.exists()
    assert str(caught.value).count("\n") <= 2
    assert caught.value.where.startswith("http")
    assert caught.value.fix
    if requests is not None:
        assert len(server.paths) == requests


def test_a_length_promised_and_not_kept_is_an_error_when_the_size_is_unknown(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """不知道大小时，仍然核对服务器自己说的长度。"""
    path = listed(monkeypatch, sha256="", exact=False)
    server.script = ["longer:5"] * 9
    with pytest.raises(DataError, match="connection broke after"):
        fetched(server)
    assert not path.exists()


def test_a_wrong_checksum_is_refused_and_the_part_discarded(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """长度对而内容错：不发布，不留下会让下一次出错的半成品。"""
    path = listed(monkeypatch)
    server.body = BODY[:-1] + b"?"
    with pytest.raises(DataError, match="wrong checksum"):
        fetched(server)
    assert not path.exists()
    assert leftovers(path) == []
    server.body = BODY
    assert fetched(server) == BODY


def test_the_first_download_is_recorded_and_a_change_refused_ever_after(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """目录里没有摘要的文件：首次记下，以后源头换了内容就报错，而不是换了也不知道。"""
    path = listed(monkeypatch, sha256="", exact=False)
    assert fetched(server) == BODY
    assert json.loads((path.parent / CHECKSUMS).read_text())[NAME]["pinned"] is False
    path.unlink()
    server.body = BODY[::-1]
    with pytest.raises(DataError, match="wrong checksum") as caught:
        fetched(server)
    assert str(path.parent) in caught.value.fix
    server.body = BODY
    assert fetched(server) == BODY


def test_a_silent_server_times_out(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """服务器给了一半就不再说话：按时放弃，再试一次接着下。"""
    listed(monkeypatch)
    server.script = ["stall"]
    (path,) = fetch("sample", mirror=server.url, patience=Patience(3, 0.01, 0.02, timeout_s=0.2))
    assert path.read_bytes() == BODY
    assert server.ranges == ["", f"bytes={len(BODY) // 2}-"]


def test_an_unknown_host_and_a_closed_port_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS 失败与拒绝连接：指名主机，告诉用户可以换镜像。"""
    listed(monkeypatch)

    def no_such_host(*args: object, **options: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(DataError, match="cannot reach the server"):
            fetch("sample", mirror=f"http://127.0.0.1:{port}", patience=QUICK)
    monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
    with pytest.raises(DataError, match=r"cannot find the host hub\.example\.invalid") as caught:
        fetch("sample", mirror="https://hub.example.invalid", patience=QUICK)
    assert "--mirror" in caught.value.fix


def test_the_disk_is_checked_before_a_byte_is_written(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """盘上放不下：下载之前就说要多少、有多少。"""
    path = listed(monkeypatch)
    usage = shutil.disk_usage(Path.cwd())
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    with pytest.raises(OutOfDiskError, match="to download, and only") as caught:
        fetched(server)
    assert caught.value.exit_code == 4
    assert leftovers(path) == []


def test_a_disk_that_fills_up_keeps_what_came_and_goes_on_later(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """写到一半盘满：清楚的报错，没有成品；腾出空间后接着下。"""
    path = listed(monkeypatch)
    real, written = download._append, []

    class FullDisk:
        """写过一块之后报告盘满的文件。"""

        def __init__(self, file: object) -> None:
            self.file, self.name = file, "sample.txt.part"

        def write(self, block: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    def append(file: object, block: bytes) -> None:
        written.append(len(block))
        real(FullDisk(file) if len(written) > 1 else file, block)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(download, "_append", append)
        with pytest.raises(OutOfDiskError, match="disk is full"):
            fetched(server)
    assert not path.exists()
    assert fetched(server) == BODY
    assert server.ranges == ["", f"bytes={written[0]}-"]


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
