"""从玩具到真模型：把训练好的 GPT 的一次录制画成几张图，与播放器放在同一页。

流入：运行文件夹（``runs/NAME``）；流出：``Trace``，带着 ``panels``。从 ``run.py`` 读起；每张图一个文件：
``flow.py``（各层的梯度）、``attention.py``（注意力）、``lens.py``（logit lens）、``overlay.py``（时间、内存与运算量）、
``chrome.py``（Chrome trace）。
"""
