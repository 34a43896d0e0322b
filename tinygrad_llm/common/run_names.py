"""运行名对应的文件夹：先在 ``--runs-dir`` 里找，没有再当作路径。

流入：``--runs-dir`` 与使用者写的名字；流出：文件夹。各命令的设置都用它。
"""

from __future__ import annotations

from pathlib import Path

from tinygrad_llm.common.errors import UserError

__all__ = ["existing_run", "run_folder"]


def run_folder(runs_dir: str, run: str) -> Path:
    """名字对应的文件夹；两处都没有时是 ``--runs-dir`` 里的那个，报错时便说得出该在哪里。"""
    named = Path(runs_dir) / run
    return named if named.exists() or not Path(run).exists() else Path(run)


def existing_run(runs_dir: str, run: str) -> Path:
    """同上，但须已经在那里。

    Raises:
        UserError: 没有这个运行。
    """
    folder = run_folder(runs_dir, run)
    if not folder.is_dir():
        raise UserError("no such run", where=str(folder), fix="check the name and --runs-dir")
    return folder
