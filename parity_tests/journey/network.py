"""断网：全程与它起的每个进程都只碰得到本机的回环地址。

流入：要运行的命令；流出：断了网的同一条命令。内核许可时换到只有回环的网络名字空间，由操作系统来断；否则在每个进程里
装上审计钩子，连接或发送到回环以外的地址、解析别处的名字都报错。用了哪一种由测试说出来。
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

NAMESPACE, GUARD = "network namespace", "socket guard"

_RAISE_LOOPBACK = (
    "import fcntl, os, socket, struct, sys\n"
    "with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:\n"
    "    fcntl.ioctl(any_socket, 0x8914, struct.pack('16sh14x', b'lo', 1))\n"  # SIOCSIFFLAGS、IFF_UP
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
)
_SITE = """
import sys


def _is_local(host):
    return host in ("", "localhost", "::1", "0.0.0.0", "::") or str(host).startswith("127.")


def _hook(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        if isinstance(args[1], tuple) and not _is_local(args[1][0]):
            raise OSError(101, f"network blocked: {args[1][0]}")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname") and args[0] is not None and not _is_local(args[0]):
        raise OSError(101, f"network blocked: {args[0]}")


sys.addaudithook(_hook)
"""


def has_namespaces() -> bool:
    """内核许不许普通用户换网络名字空间。"""
    command = ["unshare", "--map-root-user", "--net", sys.executable, "-c", _RAISE_LOOPBACK, "-c", "pass"]
    return shutil.which("unshare") is not None and not subprocess.run(command, capture_output=True).returncode


def run_blocked(words: Sequence[str], folder: Path, how: str) -> subprocess.CompletedProcess[str]:
    """断了网运行一条 Python 命令；它的子进程也断了网。

    Args:
        words: ``python`` 之后的字。
        folder: 放钩子的文件夹。
        how: ``NAMESPACE`` 或 ``GUARD``。
    """
    environment = {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    command = [sys.executable, *words]
    if how == NAMESPACE:
        command = ["unshare", "--map-root-user", "--net", sys.executable, "-c", _RAISE_LOOPBACK, *words]
    else:
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(_SITE, encoding="utf-8")
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), environment["PYTHONPATH"]]))
    return subprocess.run(command, env=environment, capture_output=True, text=True)
