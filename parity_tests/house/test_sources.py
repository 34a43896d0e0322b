"""源码的规矩：公开名字有中文文档、不执行文件里的代码、文件与函数不过长、不含某台机器的路径。

流入：仓库里的文本文件；流出：违反规矩的「文件:行号: 名字」。规矩的说明在 ``CODING_STANDARDS.md``。
"""

from __future__ import annotations

import ast
import re

from parity_tests.house.checks import definitions, undocumented, unsafe
from parity_tests.house.repo import PACKAGES, ROOT, files, modules, relative, tree_of

# 三个数都是「该停下来找第二个想法」的提示线之上的硬线；提示线写在 CODING_STANDARDS.md。
_MODULE_LINES = 450
_FUNCTION_LINES = 60
_NESTING = 4
_BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match)
_SANDBOX = "tinygrad_llm/common/sandbox/guard.py"
_TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".json", ".html", ".svg", ".txt", ""}
_MACHINE_PATH = re.compile(r"(?<![\w./*:~-])/(?:work|tmp|root|home|opt|mnt|Users)(?:/|(?=[\s`'\"),]|$))")


def test_every_public_name_has_a_chinese_docstring() -> None:
    """有公开的模块、类、函数或方法没有中文文档；测试与章节代码也在内。"""
    paths = modules(*PACKAGES, "parity_tests", "examples", "benchmarks")
    found = [f"{relative(path)}:{line}: {name}" for path in paths for line, name in undocumented(tree_of(path))]
    assert not found, "\n".join(found)


def test_shipped_code_never_executes_what_it_reads() -> None:
    """发行的代码里出现了 pickle、eval、exec、yaml.load 或 shell=True；只有沙箱里的那一头例外，执行代码是它的本分。"""
    paths = [path for path in modules(*PACKAGES, "examples", "benchmarks") if relative(path) != _SANDBOX]
    found = [f"{relative(path)}:{line}: {call}" for path in paths for line, call in unsafe(tree_of(path))]
    assert not found, "\n".join(found)


def test_no_file_names_a_path_of_one_machine() -> None:
    """文件里写着某台机器上的绝对路径，别人照做会失败。"""
    texts = [path for path in files(ROOT) if path.suffix in _TEXT]
    lines = [
        f"{relative(path)}:{number}: {line.strip()[:100]}"
        for path in texts
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if _MACHINE_PATH.search(line)
    ]
    assert not lines, "\n".join(lines)


def test_files_hold_one_idea() -> None:
    """包里有文件长到装下了第二个想法。"""
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules(*PACKAGES)}
    found = [f"{relative(path)}: {lines} lines" for path, lines in lengths.items() if lines > _MODULE_LINES]
    assert not found, "\n".join(found)


def test_functions_stay_short_and_flat() -> None:
    """包里有函数过长，或嵌套过深。"""
    found = []
    for path in modules(*PACKAGES):
        for name, node in definitions(tree_of(path)):
            if isinstance(node, ast.ClassDef):
                continue
            lines, depth = _code_lines(node), _nesting(node)
            if lines > _FUNCTION_LINES or depth > _NESTING:
                found.append(f"{relative(path)}:{node.lineno}: {name}: {lines} lines, nesting {depth}")
    assert not found, "\n".join(found)


def _code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """函数体的行数，文档字符串不计。"""
    first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
    return (node.end_lineno or node.lineno) - first.lineno + 1


def _nesting(node: ast.AST, depth: int = 0) -> int:
    """语句块最深嵌套几层；``elif`` 与它的 ``if`` 算同一层。"""
    deepest = depth
    for child in ast.iter_child_nodes(node):
        is_elif = isinstance(node, ast.If) and node.orelse == [child] and isinstance(child, ast.If)
        inner = depth + (isinstance(child, _BLOCKS) and not is_elif)
        deepest = max(deepest, _nesting(child, inner))
    return deepest


def test_the_check_knows_unsafe_code_when_it_sees_it() -> None:
    """检查器自身：每一种危险写法都认得出来，而 ``model.eval()`` 不是。"""
    source = """
import pickle
eval("1"); exec("1"); yaml.load(f); torch.load(f); np.load(f, allow_pickle=True); run("ls", shell=True)
model.eval(); torch.load(f, weights_only=True); np.load(f); re.compile("x")
"""
    assert len(unsafe(ast.parse(source))) == 7


def test_the_check_asks_for_chinese_and_for_public_names_only() -> None:
    """检查器自身：英文文档不算数，私有名字、重载声明与 setter 不要求。"""
    source = '''"""模块。"""
def english():
    """Say it."""
class Public:
    """类。"""
    def bare(self): ...
    def _hidden(self): ...
    @typing.overload
    def declared(self): ...
    @size.setter
    def size(self, value): ...
def _private(): ...
def formula():
    """``y = x``。"""
'''
    assert undocumented(ast.parse(source)) == [(2, "english"), (6, "Public.bare")]


def test_the_check_measures_nesting_of_blocks() -> None:
    """检查器自身：``elif`` 不加深，循环里的判断加深一层。"""
    flat = ast.parse("def f():\n if a:\n  x\n elif b:\n  x\n elif c:\n  x")
    deep = ast.parse("def f():\n for a in b:\n  if a:\n   while c:\n    x")
    assert (_nesting(flat), _nesting(deep)) == (1, 3)
