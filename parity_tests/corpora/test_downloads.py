"""下载：服务器怎样出错，缓存里都只会有核对过的完整文件。"""

from __future__ import annotations

import errno
import json
import random
import shutil
import socket
from pathlib import Path

import pytest

from parity_tests.corpora.sample import BODY, DIGEST, NAME, QUICK, fetched, leftovers, listed
from parity_tests.corpora.server import FaultyServer
from tinygrad_llm.common import environment
from tinygrad_llm.common.corpora import download, fetching
from tinygrad_llm.common.corpora.cache import CHECKSUMS
from tinygrad_llm.common.corpora.download import Patience
from tinygrad_llm.common.corpora.fetching import fetch
from tinygrad_llm.common.errors import DataError, OutOfDiskError

pytestmark = pytest.mark.usefixtures("own_cache")


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
    monkeypatch.setattr(fetching, "file_digest", None)
    with pytest.raises(TypeError):
        fetched(server)
    assert not path.exists()
    monkeypatch.undo()
    monkeypatch.setenv(environment.CACHE, str(path.parents[2]))
    listed(monkeypatch)
    assert fetched(server) == BODY
    assert len(server.paths) == 1


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
