"""``make run``：在两个引擎上训练同一个 GPT，当场比对。阅读次序：``command`` → ``runs`` → ``report``。"""
