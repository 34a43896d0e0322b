"""玩具模型：十一个能用手算完的计算，每个一个小文件，读者可以随意改。

流入：没有；流出：``TOYS`` 里的名字。每个文件里有一个与文件同名、不必给参数的函数：搭出计算，反传。
``python -m tinygrad_llm trace NAME`` 运行它们，``--list`` 列出名字；想改一改，就用 ``--save-as FILE.py`` 先存一份。

玩具都用 ``float64``，打印出来的每一位都与 torch 相同；把导入里的 ``tinygrad_llm`` 换成 ``torch``，文件照样能运行。
各文件的文档写着该看到哪些数，以及五种走错的反传（见 ``faults.py``）会给出哪些错的数。
"""

TOYS = {
    "neuron": "one logistic neuron: a single chain of derivatives",
    "diamond": "a value used twice: why gradients add up, and in which order nodes go",
    "mlp": "a 2-2-1 network on XOR: matrix products and a bias that is broadcast",
    "softmax": "softmax and cross-entropy of three logits: p - onehot",
    "layernorm": "layer norm of two rows: three paths from y back to x",
    "embedding": "rows of a table, one taken twice: scatter-add",
    "broadcast": "three kinds of broadcasting, undone by sums",
    "attention": "causal attention: 3 tokens x 2 dimensions",
    "gpt": "a GPT of one block: width 4, 2 heads, 5 words, tied head",
    "reinforce": "a policy gradient from four sampled actions, equal to the enumerated expectation",
    "adamw": "one step of AdamW, every intermediate, beside tg.optim.AdamW",
}
"""名字 → 一句英文说明，由易到难。"""
