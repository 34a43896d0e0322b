"""沙箱的里面：子进程先执行这个文件，限好资源，装好审计钩子，再执行代码。

流入：标准输入里的代码，命令行上的上限；流出：标准输出与退出码。它在 ``python -I -S`` 里以文件的身份运行，只用标准库，
不导入本项目。

审计钩子装上就取不下来（PEP 578）。钩子里只用事先取好的内建函数与字符串自己的方法：代码改写得了 ``os.path`` 与
``builtins``，改写不了它们。
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any

DENIED = 77
"""被钩子拦下时的退出码。"""

# 装钩子之前先导入：它们有的是动态库，此后再导入就只是查表
_USEFUL = (
    "math", "cmath", "decimal", "fractions", "statistics", "random", "itertools", "functools", "operator",
    "collections", "string", "re", "json", "datetime", "time", "heapq", "bisect", "copy", "textwrap", "typing",
    "dataclasses", "enum", "abc", "unicodedata", "zlib", "base64", "hashlib", "traceback", "linecache",
    "tokenize", "keyword", "contextlib", "struct", "array",
)  # fmt: skip

_REFUSED = (
    "ctypes.", "fcntl.", "ftplib.", "glob.", "http.", "imaplib.", "mmap.", "msvcrt.", "nntplib.", "os.", "pathlib.",
    "pickle.", "poplib.", "pty.", "resource.", "shutil.", "signal.", "smtplib.", "socket.", "sqlite3.", "subprocess.",
    "syslog.", "telnetlib.", "tempfile.", "urllib.", "webbrowser.", "winreg.", "_winapi.", "_thread.", "cpython.",
    "sys._current_", "sys.set", "sys.add", "sys.unraisablehook", "gc.", "code.__new__", "function.__new__",
    "builtins.breakpoint", "setopencodehook",
)  # fmt: skip
"""名字以这些开头的事一律拒绝。"""
_LIBRARIES = (".so", ".pyd", ".dll", ".dylib")


def restrict(seconds: int, memory_mb: int) -> None:
    """上限由操作系统来守：CPU 时间、内存、文件大小、进程数；Linux 上再换到没有网卡的网络名字空间。"""
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).unshare(0x40000000 | 0x10000000)  # CLONE_NEWNET | CLONE_NEWUSER；系统不许就算了，还有钩子
    if os.name != "posix":
        return
    import resource

    wanted = {"CPU": seconds, "AS": memory_mb << 20, "FSIZE": 0, "NPROC": 0, "CORE": 0, "NOFILE": 32}
    for name, most in wanted.items():
        kind = getattr(resource, f"RLIMIT_{name}", None)
        if kind is not None:
            hard = resource.getrlimit(kind)[1]
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (most, most))


def install() -> None:
    """装上审计钩子；此后读标准库以外的文件、写任何文件、联网、起进程都会结束这个进程。"""
    places = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, *sys.path]
    roots = tuple({path.rstrip(os.sep) + os.sep for path in places if path.startswith(os.sep) or path[1:3] == ":\\"})
    libraries, refused, text, number, kind = _LIBRARIES, _REFUSED, str, int, type
    stop, report, denied = os._exit, os.write, DENIED
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
    dots, readings = f"{os.sep}..", (None, "r", "rb")

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = args[0], args[1], args[2]
            is_plain = kind(path) is text and mode in readings and (kind(flags) is not number or not flags & writing)
            if is_plain and path.startswith(roots) and dots not in path and path.endswith((".py", ".pyc")):
                return
        elif event == "import":
            if kind(args[1]) is not text or not args[1].endswith(libraries):
                return
        elif event in ("os.listdir", "os.scandir"):  # 导入模块时要看目录
            if kind(args[0]) is text and (args[0] + "/").startswith(roots) and dots not in args[0]:
                return
        elif not event.startswith(refused):
            return
        report(2, b"sandbox: " + event.encode() + b" is not allowed\n")
        stop(denied)

    sys.addaudithook(hook)


def main(seconds: int, memory_mb: int) -> None:
    """读完代码，限好资源，装上钩子，执行。"""
    code = sys.stdin.buffer.read().decode("utf-8", "replace")
    for name in _USEFUL:
        __import__(name)
    import builtins
    import linecache
    import traceback

    sys.stdin = io.StringIO("")
    linecache.cache["<sandbox>"] = (len(code), None, code.splitlines(keepends=True), "<sandbox>")  # 报错时引用得到
    restrict(seconds, memory_mb)
    status: Any = 0
    try:
        program = compile(code, "<sandbox>", "exec", dont_inherit=True)  # 有语法错误时它会去找 <sandbox> 这个文件
        install()
        exec(program, {"__name__": "__main__", "__builtins__": builtins})  # noqa: S102  它的工作就是这个
    except SystemExit as error:
        status = error.code
    except BaseException as error:
        where = error.__traceback__ and error.__traceback__.tb_next  # 第一层是这里
        traceback.print_exception(type(error), error, where, limit=-3)
        status = 1
    sys.stdout.flush()
    os._exit(status if isinstance(status, int) else 0 if status is None else 1)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
