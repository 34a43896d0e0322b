"""不变性的证明：一个 GPT 应当守住的约定，两个引擎逐条核对，每条旁边都有一个故意弄坏的孪生实现。

阅读次序：``cases.py``（随机的例子）→ ``gaps.py``（误差与界）→ ``implementation.py``（被核对的实现）→
``forward.py``、``training.py``、``decoding.py``、``pieces.py``（各条性质）→ ``runner.py``（怎样核对）→ ``command.py``。
"""
