"""玩具模型：十个能用手算完的计算，每个一个小文件，读者可以随意改。

流入：没有；流出：``TOYS`` 里的名字。每个文件里有一个与文件同名、不必给参数的函数：搭出计算，反传。
``python -m tinygrad_llm trace NAME`` 运行它们，``--list`` 列出名字；想改一改，就用 ``--save-as FILE.py`` 先存一份。

玩具都用 ``float64``，打印出来的每一位都与 torch 相同；把导入里的 ``tinygrad_llm`` 换成 ``torch``，文件照样能运行。
各文件的文档写着该看到哪些数，以及五种走错的反传（见 ``faults.py``）会给出哪些错的数。
"""

TOYS = ("neuron", "diamond", "mlp", "softmax", "layernorm", "embedding", "broadcast", "attention", "gpt", "adamw")
"""玩具的名字，由易到难。"""
