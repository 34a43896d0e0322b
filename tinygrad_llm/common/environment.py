"""环境变量：只在这里读。

流入：``ZERO_ONE_LLM_CACHE``、``ZERO_ONE_LLM_MIRROR``、``ZERO_ONE_LLM_OFFLINE``；流出：缓存文件夹、镜像网址与是否断网。
命令行上的同名参数优先。下一个文件：``corpora/cache.py``。
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["CACHE", "MIRROR", "OFFLINE", "cache_folder", "is_offline", "mirror"]

CACHE = "ZERO_ONE_LLM_CACHE"
MIRROR = "ZERO_ONE_LLM_MIRROR"
OFFLINE = "ZERO_ONE_LLM_OFFLINE"
_FOLDER = "zero-one-llm"
_FALSE = {"", "0", "false", "no", "off"}


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


def mirror() -> str:
    """代替原站的网址前缀，如 ``https://hf-mirror.com``；没有设置时为空串。"""
    return os.environ.get(MIRROR, "").strip()


def is_offline() -> bool:
    """是否禁止联网：``ZERO_ONE_LLM_OFFLINE`` 设为 ``0``、``false``、``no``、``off`` 与空串之外的值。"""
    return os.environ.get(OFFLINE, "").strip().lower() not in _FALSE
