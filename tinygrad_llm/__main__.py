"""``python -m tinygrad_llm VERB``：NumPy 引擎的命令行。"""

import sys

from tinygrad_llm.common.cli import Verb, main

VERBS = {
    "quickstart": Verb(
        "tinygrad_llm.quickstart.command:main", "train the same GPT on NumPy and on torch, and compare them"
    ),
    "train": Verb("tinygrad_llm.commands:train", "train a GPT on NumPy"),
    "midtrain": Verb(
        "tinygrad_llm.commands:midtrain", "go on from a trained run with other data, and measure forgetting"
    ),
    "sft": Verb(
        "tinygrad_llm.commands:sft", "instruction tuning: learn the answers of conversations, from a trained run"
    ),
    "sft-compare": Verb(
        "tinygrad_llm.commands:compare_ways", "full tuning, last layers, LoRA: the same data, side by side"
    ),
    "dpo": Verb("tinygrad_llm.preferences:dpo", "tune a run by preferences: DPO, IPO, KTO or ORPO"),
    "reward": Verb("tinygrad_llm.preferences:reward", "train a reward model on preferences (Bradley-Terry)"),
    "distill": Verb("tinygrad_llm.distill:distill", "a large run teaches a small one: its distributions, or its text"),
    "distill-seeds": Verb("tinygrad_llm.distill:seeds", "students with and without a teacher, over several seeds"),
    "classify": Verb("tinygrad_llm.commands:classify", "a classifier on top of a trained run, beside a bag of words"),
    "classify-grid": Verb(
        "tinygrad_llm.commands:classify_grid", "the ablations of classify: a table over seeds, with intervals"
    ),
    "classify-apply": Verb("tinygrad_llm.commands:classify_apply", "label texts with a trained classifier"),
    "adapter": Verb(
        "tinygrad_llm.common.tuning.adapter_command:VERBS", "LoRA adapters: fold into the base, to peft and back"
    ),
    "rl": Verb("tinygrad_llm.rl:main", "reinforcement learning on checkable problems: reinforce, ppo, grpo, ..."),
    "rl-seeds": Verb("tinygrad_llm.rl:seeds", "the same over several seeds, with pass@k before and after"),
    "reward-hacking": Verb("tinygrad_llm.rl:hacking", "a reward that the policy exploits, and two remedies"),
    "gradcheck": Verb(
        "tinygrad_llm.gradchecker.command:main", "check the derivatives of your own function, module or Function"
    ),
    "trace": Verb("tinygrad_llm.tracing.command:main", "see every step of backprop: terminal, player, worksheets"),
    "tokenizer": Verb(
        "tinygrad_llm.common.tokenizers.command:VERBS", "train, convert and look into tokenizers; text to ids and back"
    ),
    "convert": Verb(
        "tinygrad_llm.common.weights.command:convert", "a pretrained model to a run: smollm2, HF, GGUF, GPT-2"
    ),
    "export": Verb("tinygrad_llm.common.weights.export_command:export", "a run to an HF folder or a GGUF file"),
    "report": Verb("tinygrad_llm.common.compare:main", "the report of a run, or two runs side by side"),
    "study": Verb("tinygrad_llm.study:VERBS", "learning-rate range test, sweep, scaling law, with plots"),
    "redteam": Verb("tinygrad_llm.safety:REDTEAM", "attack a run: mutations, token search, leaks; refusal data"),
    "canary": Verb("tinygrad_llm.safety:CANARY", "plant random numbers in a text; has a run memorised them?"),
    "journey": Verb(
        "tinygrad_llm.common.journey.command:main_numpy", "from text to a measured chat model, in one command"
    ),
    "quantize": Verb("tinygrad_llm.common.quantization.command:main", "a smaller copy of a run: int8 or int4 weights"),
    "evaluate": Verb("tinygrad_llm.evaluate:main", "perplexity, questions, answers, a judge: scores with intervals"),
    "generate": Verb("tinygrad_llm.generate:main", "generate text from a trained run, on NumPy"),
    "chat": Verb("tinygrad_llm.chat:main", "talk to a trained run, on NumPy"),
    "serve": Verb("tinygrad_llm.serve:main", "an OpenAI-compatible server with a chat page, on NumPy"),
}

if __name__ == "__main__":
    sys.exit(main("python -m tinygrad_llm", "A hand-written autograd in NumPy that trains and runs a GPT.", VERBS))
