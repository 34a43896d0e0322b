"""机器自述的测试：内存峰值的单位是字节，什么都问不到时也不抛出。"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygrad_llm.common import system
from tinygrad_llm.common.system import git_commit, hardware, peak_memory_bytes


@pytest.mark.skipif(sys.platform == "win32", reason="not available on Windows")
def test_peak_memory_has_the_wrong_unit() -> None:
    """占用 200 MB 之后，峰值至少是 200 MB，但不到它的一百倍；释放之后不降。

    Linux 的 ``VmHWM`` 由各线程的计数汇总而来，有几十页的出入，所以留 1 MiB 的余地。
    """
    block = np.ones(200_000_000, np.uint8)
    peak = peak_memory_bytes()
    assert block.nbytes < peak < 100 * block.nbytes
    del block
    assert peak_memory_bytes() >= peak - (1 << 20)


_IDLE = """
import numpy as np
from tinygrad_llm.common.system import release_idle_memory, resident_bytes
blocks = [np.ones(100_000, np.uint8) for _ in range(1000)]  # 每块不到 128 KiB，由分配器从堆里切
last = blocks[-1]  # 堆顶占着，其余的还不掉
del blocks
before = resident_bytes()
release_idle_memory()
print(before - resident_bytes())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can give it back")
def test_idle_memory_stays_resident() -> None:
    """释放了一百兆的小块，分配器还留着。"""
    found = subprocess.run([sys.executable, "-c", _IDLE], check=True, capture_output=True, text=True)
    assert int(found.stdout) > 80_000_000


def test_hardware_lacks_a_field() -> None:
    """至少有平台、版本与核数，全是单行的短句。"""
    described = hardware()
    assert {"platform", "python", "numpy", "cpus"} <= described.keys()
    assert described["numpy"] == np.__version__
    assert int(described["cpus"]) >= 1
    assert all(text and "\n" not in text for text in described.values())


def git(folder: Path, *arguments: str) -> str:
    """在临时仓库里运行 git。"""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def module_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """让 system 以为自己住在一个临时文件夹里。"""
    home = tmp_path / "package"
    home.mkdir()
    (home / "system.py").write_text("code\n")
    monkeypatch.setattr(system, "__file__", str(home / "system.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return home


def test_commit_is_wrong_or_hides_changes(module_in: Path) -> None:
    """提交号与 git 的一致；有改动时注明；未登记的文件不属于这个仓库。"""
    git(module_in, "init", "-q")
    (module_in / "other").write_text("x")
    git(module_in, "add", "other")
    git(module_in, "commit", "-q", "-m", "first")
    assert git_commit() is None
    git(module_in, "add", "system.py")
    git(module_in, "commit", "-q", "-m", "second")
    commit = git(module_in, "rev-parse", "HEAD")[:12]
    assert git_commit() == commit
    (module_in / "system.py").write_text("changed\n")
    assert git_commit() == f"{commit}-dirty"


def test_missing_repository_raises(module_in: Path) -> None:
    """不在仓库里时为 None。"""
    assert git_commit() is None


def test_missing_git_raises(module_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """没有装 git 时为 None。"""
    monkeypatch.setenv("PATH", str(module_in))
    assert git_commit() is None


def test_own_commit_is_malformed() -> None:
    """在本仓库里运行时，提交号是 12 位十六进制；从别处运行时为 None。"""
    commit = git_commit()
    assert commit is None or re.fullmatch(r"[0-9a-f]{12}(-dirty)?", commit)
