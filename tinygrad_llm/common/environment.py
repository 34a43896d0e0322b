"""环境变量：只在这里读。

流入：``ZERO_ONE_LLM_CACHE``、``ZERO_ONE_LLM_MIRROR``、``ZERO_ONE_LLM_OFFLINE``、``ZERO_ONE_LLM_API_KEY``，
与 ``torchrun`` 写下的几个；流出：缓存文件夹、镜像网址、是否断网、服务器的钥匙，与这是合训的第几个进程。
命令行上的同名参数优先。下一个文件：``corpora/cache.py``。
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "API_KEY",
    "CACHE",
    "MIRROR",
    "OFFLINE",
    "Launch",
    "api_keys",
    "cache_folder",
    "is_offline",
    "launched",
    "mirror",
]

CACHE = "ZERO_ONE_LLM_CACHE"
MIRROR = "ZERO_ONE_LLM_MIRROR"
OFFLINE = "ZERO_ONE_LLM_OFFLINE"
API_KEY = "ZERO_ONE_LLM_API_KEY"
_FOLDER = "zero-one-llm"
_FALSE = {"", "0", "false", "no", "off"}
_RENDEZVOUS = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launch:
    """这是一起启动的第几个进程。

    Attributes:
        rank: 第几个，从 0 起。
        world: 共几个；单独启动的为 1。
        local_rank: 本机上的第几个。
        local_world: 本机上共几个。
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1


def launched() -> Launch:
    """``torchrun``（或照它的约定）启动了几个进程、这是第几个；四个变量缺一个就当作单独启动。"""
    if not all(os.environ.get(name) for name in _RENDEZVOUS):
        return Launch()
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local = {
        name: int(os.environ.get(name) or default)
        for name, default in (("LOCAL_RANK", rank), ("LOCAL_WORLD_SIZE", world))
    }
    return Launch(rank, world, local["LOCAL_RANK"], local["LOCAL_WORLD_SIZE"])


def cache_folder() -> Path:
    """存放下载的文件夹；不保证已经存在。

    Returns:
        ``ZERO_ONE_LLM_CACHE``；没有设置时是操作系统惯用的缓存位置之下的 ``zero-one-llm``。
    """
    if chosen := os.environ.get(CACHE, "").strip():
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME", "") or str(Path.home() / ".cache")
    return Path(base) / _FOLDER


def api_keys() -> tuple[str, ...]:
    """服务器认得的钥匙：``ZERO_ONE_LLM_API_KEY`` 里的，逗号隔开；没有设置时为空。"""
    return tuple(key.strip() for key in os.environ.get(API_KEY, "").split(",") if key.strip())


def mirror() -> str:
    """代替原站的网址前缀，如 ``https://hf-mirror.com``；没有设置时为空串。"""
    return os.environ.get(MIRROR, "").strip()


def is_offline() -> bool:
    """是否禁止联网：``ZERO_ONE_LLM_OFFLINE`` 设为 ``0``、``false``、``no``、``off`` 与空串之外的值。"""
    return os.environ.get(OFFLINE, "").strip().lower() not in _FALSE
