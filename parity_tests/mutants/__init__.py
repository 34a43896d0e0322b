"""变异测试：往引擎里放进错误的导数与更新公式，看测试认不认得出来。

流入：``tinygrad_llm`` 的求导表、反传与优化器；流出：每个变异体是被哪条测试发现的，或没被发现。
从 ``mutations.py`` 读起；``python -m parity_tests mutants`` 由 ``command.py`` 执行。
"""
