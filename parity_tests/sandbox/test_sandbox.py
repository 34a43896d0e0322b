"""沙箱：五十段坏代码都被拦下，什么也没有留下；普通的计算照常得到答案。

流入：代码；流出：怎样结束，外面有没有变化。
"""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.sandbox import Limits, run_python

QUICK = Limits(seconds=8.0, memory_mb=256)

GOOD = {
    "print(sum(range(10)))": "45\n",
    "import math, statistics as s\nprint(round(math.pi, 3), s.mean([1, 2, 6]))": "3.142 3\n",
    "def f(n):\n    return 1 if n < 2 else n * f(n - 1)\nprint(f(20))": "2432902008176640000\n",
    "import json, re, itertools\nprint(json.dumps(re.findall(r'\\d+', 'a1b22')))": '["1", "22"]\n',
    "from fractions import Fraction\nprint(Fraction(1, 3) + Fraction(1, 6))": "1/2\n",
    "print('汉字', 'é')": "汉字 é\n",
    "from collections import namedtuple\nprint(namedtuple('P', 'x')(3).x)": "3\n",
    "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int = 1\nprint(A())": "A(x=1)\n",
    "import difflib\nprint(difflib.SequenceMatcher(None, 'ab', 'ab').ratio())": "1.0\n",
    "class A:\n    x = 1\nA.x = 2\nprint(A().x, [i for i in range(3)])": "2 [0, 1, 2]\n",
}

FILES = [
    "open('/etc/passwd').read()",
    "open({out!r}, 'w').write('x')",
    "open('x.txt', 'w').write('x')",
    "import os; os.mkdir({out!r})",
    "import os; os.listdir('/')",
    "import os; os.remove({kept!r})",
    "import os; os.rename({kept!r}, {out!r})",
    "import os; os.symlink('/etc/passwd', {out!r})",
    "import os; os.chmod({kept!r}, 0)",
    "import os; os.open({out!r}, os.O_CREAT | os.O_WRONLY)",
    "import pathlib; pathlib.Path({out!r}).write_text('x')",
    "import pathlib; print(pathlib.Path({kept!r}).read_text())",
    "import shutil; shutil.copy({kept!r}, {out!r})",
    "import shutil; shutil.rmtree({folder!r})",
    "import io; io.open({kept!r}).read()",
    "import io; io.FileIO({out!r}, 'w')",
    "import _io; _io.open({kept!r}).read()",
    "import codecs; codecs.open({kept!r}).read()",
    "import sqlite3; sqlite3.connect({out!r})",
    "import tempfile; tempfile.mkstemp()",
    "import glob; print(glob.glob('/*'))",
    "import linecache; print(linecache.getlines({kept!r}) or 1 / 0)",
    "import os; os.truncate({kept!r}, 0)",
    "import mmap; mmap.mmap(-1, 4096)",
    "open('/proc/self/environ').read()",
    "open('/dev/zero', 'rb').read(10)",
    "import os; os.chdir('/'); os.walk('.')",
]
NETWORK = [
    "import socket; socket.create_connection(('127.0.0.1', {port}))",
    "import socket; socket.socket()",
    "import socket; socket.getaddrinfo('localhost', 80)",
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}/')",
    "import http.client; http.client.HTTPConnection('127.0.0.1', {port}).request('GET', '/')",
    "import _socket; _socket.socket()",
]
PROCESSES = [
    "import os; os.fork()",
    "import os\nwhile True:\n    os.fork()",
    "import os; os.system('touch {out}')",
    "import os; os.popen('touch {out}').read()",
    "import os; os.execv('/bin/sh', ['sh', '-c', 'touch {out}'])",
    "import os; os.posix_spawn('/bin/sh', ['sh', '-c', 'touch {out}'], {{}})",
    "import subprocess; subprocess.run(['touch', {out!r}])",
    "import multiprocessing as m; m.Process(target=print).start()",
    "import os, signal; os.kill(os.getppid(), signal.SIGKILL)",
    "import os, signal; os.killpg(0, signal.SIGKILL)",
    "import pty; pty.spawn('/bin/sh')",
    "import ctypes; ctypes.CDLL(None).system(b'touch {out}')",
    "import sys; sys.modules['os'].system('touch {out}')",
    "import posixpath, os; posixpath.join = lambda *a: os.system('touch {out}'); os.system('touch {out}')",
    "import builtins, os; builtins.type = builtins.isinstance = lambda *a: True; os.system('touch {out}')",
    "import os\nclass S(str):\n    startswith = endswith = lambda *a: True\nopen(S({kept!r})).read()",
    "import os; os.setpriority(0, 0, -5)",
    "__import__('os').spawnv(0, '/bin/sh', ['sh', '-c', 'touch {out}'])",
]
HEAVY = [
    ("while True: pass", {"timeout"}),
    ("import time; time.sleep(60)", {"timeout"}),
    ("x = []\nwhile True: x.append(bytearray(10 ** 7))", {"memory"}),
    ("x = bytearray(10 ** 10)", {"memory"}),
    ("while True: print('x' * 1000)", {"output"}),
    ("import sys\nwhile True: sys.stderr.write('x' * 1000)", {"output"}),
    ("x = 'a'\nwhile True: x += x", {"memory"}),
    ("while True:\n    try:\n        while True: pass\n    except BaseException:\n        pass", {"timeout"}),
]


def test_there_are_fifty_hostile_snippets() -> None:
    """坏代码不到五十段。"""
    assert len(FILES) + len(NETWORK) + len(PROCESSES) + len(HEAVY) >= 50


@pytest.mark.parametrize("code", GOOD)
def test_plain_computation_works(code: str) -> None:
    """普通的计算没有得到答案。"""
    found = run_python(code, QUICK)
    assert (found.ending, found.stdout) == ("ok", GOOD[code]), found


@pytest.mark.parametrize("code", [*FILES, *PROCESSES])
def test_files_and_processes_are_out_of_reach(code: str, tmp_path: Path) -> None:
    """碰到了文件或别的进程。"""
    kept, out = tmp_path / "kept.txt", tmp_path / "out.txt"
    kept.write_text("a secret", encoding="utf-8")
    filled = code.format(out=str(out), kept=str(kept), folder=str(tmp_path))
    found = run_python(filled, QUICK)
    assert found.ending in ("denied", "error"), found
    assert "secret" not in found.stdout
    assert not out.exists()
    assert kept.read_text(encoding="utf-8") == "a secret"
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


@pytest.mark.parametrize("code", NETWORK)
def test_the_network_is_out_of_reach(code: str) -> None:
    """连上了本机的端口。"""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        found = run_python(code.format(port=server.getsockname()[1]), QUICK)
        assert found.ending in ("denied", "error"), found
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize(("code", "endings"), HEAVY)
def test_time_memory_and_output_are_bounded(code: str, endings: set[str]) -> None:
    """没有按时、按量停下。"""
    started_at = time.monotonic()
    found = run_python(code, Limits(seconds=2.0, memory_mb=256, output_bytes=10_000))
    assert found.ending in endings, found
    assert time.monotonic() - started_at < 20
    assert len(found.stdout) <= 10_000


def test_an_error_is_shown_with_its_line() -> None:
    """代码自己出错时，看不到是哪一行。"""
    found = run_python("x = 1\nx / 0\n", QUICK)
    assert found.ending == "error"
    assert "line 2" in found.stderr
    assert "ZeroDivisionError" in found.stderr
    assert run_python("def broken(:", QUICK).ending == "error"
    assert run_python("raise SystemExit(3)", QUICK).ending == "error"


def test_the_environment_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """密钥从环境变量漏了进去。"""
    monkeypatch.setenv("SECRET_KEY", "hunter2")
    found = run_python("import os; print(sorted(os.environ))", QUICK)
    assert "SECRET_KEY" not in found.stdout


def test_silly_limits_are_refused() -> None:
    """不合理的上限没有报错。"""
    with pytest.raises(UserError, match="limits"):
        Limits(seconds=0)
