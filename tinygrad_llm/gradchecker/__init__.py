"""检查你自己的导数：``python -m tinygrad_llm gradcheck FILE.py:NAME``，与同样用法的 pytest fixture。

``NAME`` 可以是张量的函数、``nn.Module`` 的类或实例、``autograd.Function`` 的子类，用这里的引擎或用 torch 写的都行，
按它用到的名字认出是哪一个；也可以是用 ``@op`` 声明的、带着求导表的算子。
解析的导数由反传得到，期望的由 NumPy 算的中心差分得到，逐个元素对照。

输入怎样来，由先到后，用第一个有的：

1. ``--shapes "3,4 4,5"``：依次给各个张量参数的形状，``()`` 是 0 维；
2. 同一个文件里的 ``NAME_inputs()`` 或 ``inputs()``：返回一个或一串输入。数组可以是 NumPy 的，也可以是任一引擎的张量；
   浮点的都要检查，除非其中有张量写了 ``requires_grad=True``，那就只检查写了的；
3. 参数的默认值：张量与数组拿来用，别的（``eps=1e-5``）照旧；
4. 参数的注解：``x: Annotated[Tensor, (3, 4)]``；只写 ``Tensor`` 或什么也不写的，形状取 ``(2, 3)``。

有形状而没有数的，用 ``--seed`` 取标准正态数，``--range 0.5,2`` 则取这个区间里的均匀数（例如对数与平方根）。
检查总用 float64。构造函数要参数的类用 ``--init "8, 4, bias=False"``；模块的每个参数也一并检查。

``--torch pkg.mod:twin`` 让同样的输入再经过另一个引擎写的同一个函数，值与梯度都要相同；``--second`` 检查二阶导。

在 pytest 里：测试文件（或最上层的 ``conftest.py``）写 ``pytest_plugins = ["tinygrad_llm.gradchecker.plugin"]``，
测试便有了 fixture ``gradcheck``：

    def test_softplus(gradcheck):
        gradcheck(softplus, shapes="3,4")
        gradcheck(softplus, torch.randn(3, 4), twin=torch.nn.functional.softplus)

阅读次序：``inputs`` → ``subject`` → ``jacobians`` → ``report`` → ``command``。
"""
