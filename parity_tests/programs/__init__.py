"""整个程序的对照：同一份普通 PyTorch 程序，一次用 torch 跑，一次把 torch 换成 tinygrad_llm 跑。"""
