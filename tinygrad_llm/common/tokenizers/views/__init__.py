"""把切法给人看：着色的文本、各领域的压缩率、合并的动画、罕见与失灵的 token。

流入：分词器与文本；流出：终端上的文字，或自足的 HTML。
依次读 ``tokens.py``、``stages.py``、``compression.py``、``animation.py``、``player.py``、``glitches.py``。
"""
