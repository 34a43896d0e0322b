"""``python -m torch_llm VERB``：PyTorch 引擎的命令行。"""

import sys

from tinygrad_llm.common.cli import Verb, main

VERBS = {
    "doctor": Verb("torch_llm.doctor:main", "what this machine has, and whether every layer computes right on it"),
    "data": Verb("torch_llm.data:VERBS", "text to tokens to batches: shards, packing, checks"),
    "pretrain": Verb("torch_llm.pretrain:main", "train a GPT on torch"),
    "midtrain": Verb("torch_llm.midtrain:main", "go on from a trained run with other data, and measure forgetting"),
    "sft": Verb("torch_llm.tune:sft", "instruction tuning: learn the answers of conversations, from a trained run"),
    "sft-compare": Verb("torch_llm.tune:compare_ways", "full tuning, last layers, LoRA: the same data, side by side"),
    "dpo": Verb("torch_llm.preferences:dpo", "tune a run by preferences: DPO, IPO, KTO or ORPO"),
    "reward": Verb("torch_llm.preferences:reward", "train a reward model on preferences (Bradley-Terry)"),
    "distill": Verb("torch_llm.distill:distill", "a large run teaches a small one: its distributions, or its text"),
    "distill-seeds": Verb("torch_llm.distill:seeds", "students with and without a teacher, over several seeds"),
    "classify": Verb("torch_llm.tune:classify", "a classifier on top of a trained run, beside a bag of words"),
    "classify-grid": Verb(
        "torch_llm.tune:classify_grid", "the ablations of classify: a table over seeds, with intervals"
    ),
    "classify-apply": Verb("torch_llm.tune:classify_apply", "label texts with a trained classifier"),
    "adapter": Verb(
        "tinygrad_llm.common.tuning.adapter_command:VERBS", "LoRA adapters: fold into the base, to peft and back"
    ),
    "consolidate": Verb("torch_llm.consolidate:main", "make a sharded checkpoint an ordinary one"),
    "rl": Verb("torch_llm.rl:main", "reinforcement learning on checkable problems: reinforce, ppo, grpo, ..."),
    "rl-seeds": Verb("torch_llm.rl:seeds", "the same over several seeds, with pass@k before and after"),
    "reward-hacking": Verb("torch_llm.rl:hacking", "a reward that the policy exploits, and two remedies"),
    "convert": Verb("torch_llm.convert:main", "a pretrained model to a run: smollm2, HF, GGUF, GPT-2, nanoGPT"),
    "export": Verb("tinygrad_llm.common.weights.export_command:export", "a run to an HF folder or a GGUF file"),
    "plan": Verb("tinygrad_llm.common.plan:main", "plan a run on 1 to 512 GPUs on paper: memory, bytes moved, time"),
    "report": Verb("tinygrad_llm.common.compare:main", "the report of a run, or two runs side by side"),
    "study": Verb("torch_llm.study:VERBS", "learning-rate range test, sweep, scaling law, with plots"),
    "recipe": Verb("torch_llm.recipe:main", "one command from a corpus to readable text: recipe storyworld"),
    "redteam": Verb("torch_llm.safety:REDTEAM", "attack a run: mutations, token search, leaks; refusal data"),
    "canary": Verb("torch_llm.safety:CANARY", "plant random numbers in a text; has a run memorised them?"),
    "journey": Verb("tinygrad_llm.common.journey.command:main", "from text to a measured chat model, in one command"),
    "quantize": Verb("torch_llm.quantization.command:VERBS", "a smaller copy of a run: int8 or int4 weights"),
    "evaluate": Verb("torch_llm.evaluate:main", "perplexity, questions, answers, a judge: scores with intervals"),
    "generate": Verb("torch_llm.generate:main", "generate text from a trained run, on torch"),
    "chat": Verb("torch_llm.chat:main", "talk to a trained run, on torch"),
    "serve": Verb("torch_llm.serve:main", "an OpenAI-compatible server with a chat page, on torch"),
}

if __name__ == "__main__":
    sys.exit(main("python -m torch_llm", "The same GPT in PyTorch.", VERBS))
