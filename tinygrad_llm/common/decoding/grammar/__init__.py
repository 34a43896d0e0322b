"""语法约束：正则、JSON schema 与上下文无关语法，都变成一个逐字节的识别器，再变成每一步的 token 掩码。

流入：一段正则、一份 schema 或一份语法；流出：``TokenConstraint``。依次读 ``expressions.py``（共同的中间形式）、
``machine.py``（编译成下推自动机）、``recogniser.py``（逐字节往前走）、``trie.py``（一次算出整个词表的掩码）、
``constraint.py``；三种写法各在 ``regex.py``、``schema.py`` 与 ``ebnf.py``。
"""
