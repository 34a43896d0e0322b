"""PyTorch 自己的样例（OpInfo）：一份不出自我们之手的考卷。"""
