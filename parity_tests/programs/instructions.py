"""指令微调：自定义 collate 补齐并忽略填充，partial 绑定设备，掩去指令，打包与损失掩码。"""
# mypy: ignore-errors

import json
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

ENTRIES = json.loads(
    """[{"instruction": "add", "input": "1 2", "output": "3"}, {"instruction": "name", "input": "", "output": "ann"},
    {"instruction": "reverse", "input": "abc", "output": "cba"}, {"instruction": "hi", "input": "", "output": "yo"},
    {"instruction": "upper", "input": "xy", "output": "XY"}, {"instruction": "twice", "input": "7", "output": "14"}]"""
)


def program():
    """整理批次，训练几步，再取出答案。"""

    def format_input(entry):
        instruction_text = f"### {entry['instruction']}"
        input_text = f"\n# {entry['input']}" if entry["input"] else ""
        return instruction_text + input_text

    class InstructionDataset(Dataset):
        def __init__(self, data):
            self.data = data
            self.encoded_texts = []
            self.instruction_lengths = []
            for entry in data:
                prompt = format_input(entry)
                full_text = prompt + f"\n>{entry['output']}"
                self.encoded_texts.append([ord(c) for c in full_text])
                self.instruction_lengths.append(len(prompt))

        def __getitem__(self, index):
            return self.instruction_lengths[index], self.encoded_texts[index]

        def __len__(self):
            return len(self.data)

    def custom_collate_fn(
        batch, pad_token_id=127, ignore_index=-100, allowed_max_length=None, device="cpu", mask_instruction=True
    ):
        batch_max_length = max(len(item) + 1 for _, item in batch)
        inputs_lst, targets_lst = [], []
        for length, item in batch:
            new_item = item.copy()
            new_item += [pad_token_id]
            padded = new_item + [pad_token_id] * (batch_max_length - len(new_item))
            inputs = torch.tensor(padded[:-1])
            targets = torch.tensor(padded[1:])
            mask = targets == pad_token_id
            indices = torch.nonzero(mask).squeeze()
            if indices.numel() > 1:
                targets[indices[1:]] = ignore_index
            if mask_instruction:
                targets[: length - 1] = ignore_index
            if allowed_max_length is not None:
                inputs = inputs[:allowed_max_length]
                targets = targets[:allowed_max_length]
            inputs_lst.append(inputs)
            targets_lst.append(targets)
        inputs_tensor = torch.stack(inputs_lst).to(device)
        targets_tensor = torch.stack(targets_lst).to(device)
        return inputs_tensor, targets_tensor

    class Tiny(nn.Module):
        def __init__(self, d=16):
            super().__init__()
            self.emb = nn.Embedding(128, d)
            self.rnn = nn.GRU(d, d, num_layers=2, batch_first=True)
            self.norm = nn.RMSNorm(d)
            self.head = nn.Linear(d, 128)
            self.head.weight = self.emb.weight

        def forward(self, x):
            h, _ = self.rnn(self.emb(x))
            return self.head(self.norm(h))

    torch.manual_seed(123)
    customized = partial(custom_collate_fn, device="cpu", allowed_max_length=20)
    loader = DataLoader(InstructionDataset(ENTRIES), batch_size=2, collate_fn=customized, shuffle=True)
    print("Train loader:")
    for inputs, targets in loader:
        print(inputs.shape, targets.shape, (targets == -100).sum(), (targets != -100).float().mean())
    print(targets)
    model = Tiny()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, eps=1e-6)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=6, eta_min=1e-4)
    losses, grads, lrs = [], None, []
    for _ in range(2):
        for inputs, targets in loader:
            optimizer.zero_grad()
            logits = model(inputs)
            loss = F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=-100)
            loss.backward()
            if grads is None:
                grads = {n: p.grad.clone() for n, p in model.named_parameters()}
            optimizer.step()
            scheduler.step()
            lrs.append(scheduler.get_last_lr()[0])
            losses.append(loss.item())
    per_token = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
    shift_mask = (targets != -100).float()
    masked = (per_token * shift_mask).sum(dim=1) / shift_mask.sum(dim=1).clamp(min=1)
    sequences = [torch.tensor([ord(c) for c in format_input(entry)]) for entry in ENTRIES]
    padded = pad_sequence(sequences, batch_first=True, padding_value=127)
    attention_mask = padded.ne(127).long()
    last = attention_mask.sum(dim=1) - 1
    with torch.no_grad():
        logits = model(padded)
        answers = logits[torch.arange(padded.size(0)), last].argmax(dim=-1)
        gathered = logits.gather(1, last.view(-1, 1, 1).expand(-1, 1, logits.size(-1))).squeeze(1)
    assert torch.equal(gathered.argmax(-1), answers)
    return {
        "losses": losses,
        "loss masked": masked,
        "learning rates": lrs,
        "grads": grads,
        "weights": model.state_dict(),
        "answers": answers,
        "padded": padded,
        "mask": attention_mask,
    }
