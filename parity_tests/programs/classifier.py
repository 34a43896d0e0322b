"""分类微调：换掉输出头，冻住大部分参数，只看最后一个词元的 logits，数准确率。"""
# mypy: ignore-errors
# ruff: noqa: B007

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split


def program():
    """训练一个垃圾短信分类器。"""

    class SpamDataset(Dataset):
        def __init__(self, texts, labels, max_length=None, pad_token_id=0):
            self.encoded_texts = texts
            self.labels = labels
            if max_length is None:
                self.max_length = self._longest_encoded_length()
            else:
                self.max_length = max_length
                self.encoded_texts = [encoded_text[: self.max_length] for encoded_text in self.encoded_texts]
            self.encoded_texts = [
                encoded_text + [pad_token_id] * (self.max_length - len(encoded_text))
                for encoded_text in self.encoded_texts
            ]

        def __getitem__(self, index):
            encoded = self.encoded_texts[index]
            label = self.labels[index]
            return (torch.tensor(encoded, dtype=torch.long), torch.tensor(label, dtype=torch.long))

        def __len__(self):
            return len(self.labels)

        def _longest_encoded_length(self):
            return max(len(encoded_text) for encoded_text in self.encoded_texts)

    class Backbone(nn.Module):
        def __init__(self, vocab=23, dim=12, context=10):
            super().__init__()
            self.tok_emb = nn.Embedding(vocab, dim, padding_idx=0)
            self.pos_emb = nn.Parameter(torch.randn(1, context, dim) * 0.1)
            self.trf_blocks = nn.ModuleList(
                nn.TransformerEncoderLayer(
                    dim, 3, dim_feedforward=20, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
                )
                for _ in range(3)
            )
            self.final_norm = nn.LayerNorm(dim)
            self.out_head = nn.Linear(dim, vocab, bias=False)

        def forward(self, idx):
            x = self.tok_emb(idx) + self.pos_emb[:, : idx.size(1)]
            mask = nn.Transformer.generate_square_subsequent_mask(idx.size(1))
            for block in self.trf_blocks:
                x = block(x, src_mask=mask, is_causal=True)
            return self.out_head(self.final_norm(x))

    def calc_accuracy_loader(data_loader, model, device, num_batches=None):
        model.eval()
        correct_predictions, num_examples = 0, 0
        num_batches = len(data_loader) if num_batches is None else min(num_batches, len(data_loader))
        for i, (input_batch, target_batch) in enumerate(data_loader):
            if i < num_batches:
                input_batch, target_batch = input_batch.to(device), target_batch.to(device)
                with torch.no_grad():
                    logits = model(input_batch)[:, -1, :]
                predicted_labels = torch.argmax(logits, dim=-1)
                num_examples += predicted_labels.shape[0]
                correct_predictions += (predicted_labels == target_batch).sum().item()
            else:
                break
        return correct_predictions / num_examples

    torch.manual_seed(123)
    device = torch.device("cpu")
    texts = [torch.randint(1, 23, (int(n),)).tolist() for n in torch.randint(3, 11, (40,))]
    labels = [int(sum(t) % 2) for t in texts]
    dataset = SpamDataset(texts, labels)
    train_set, val_set, test_set = random_split(dataset, [0.7, 0.2, 0.1], generator=torch.Generator().manual_seed(1))
    print(len(train_set), len(val_set), len(test_set), val_set.indices)
    train_loader = DataLoader(train_set, batch_size=8, shuffle=True, num_workers=0, drop_last=True)
    val_loader = DataLoader(val_set, batch_size=8, num_workers=0, drop_last=False)
    for input_batch, target_batch in train_loader:
        pass
    print("Input batch dimensions:", input_batch.shape)
    print("Label batch dimensions", target_batch.shape)

    model = Backbone()
    for param in model.parameters():
        param.requires_grad = False
    torch.manual_seed(123)
    num_classes = 2
    model.out_head = torch.nn.Linear(in_features=12, out_features=num_classes)
    for param in model.trf_blocks[-1].parameters():
        param.requires_grad = True
    for param in model.final_norm.parameters():
        param.requires_grad = True
    trainable = [n for n, p in model.named_parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(filter(lambda p: p.requires_grad, model.parameters()), lr=5e-3, weight_decay=0.1)
    print(model(input_batch)[:, -1, :].shape)
    losses, accuracies, grads = [], [calc_accuracy_loader(val_loader, model, device)], None
    for _epoch in range(3):
        model.train()
        for input_batch, target_batch in train_loader:
            optimizer.zero_grad()
            logits = model(input_batch)[:, -1, :]
            loss = torch.nn.functional.cross_entropy(logits, target_batch)
            loss.backward()
            if grads is None:
                grads = {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}
            optimizer.step()
            losses.append(loss.item())
        accuracies.append(calc_accuracy_loader(train_loader, model, device, num_batches=2))
        print(f"Training accuracy: {accuracies[-1] * 100:.2f}% | ", end="")
    text = torch.tensor(texts[0][:10], device=device).unsqueeze(0)
    with torch.inference_mode():
        label = "spam" if torch.argmax(model(text)[:, -1, :], dim=-1).item() == 1 else "not spam"
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([0.3, 0.7]), label_smoothing=0.1)(logits, target_batch)
    return {
        "losses": losses,
        "loss weighted": weighted,
        "accuracies": accuracies,
        "grads": grads,
        "trainable": trainable,
        "weights": {k: v.clone() for k, v in model.state_dict().items()},
        "label": label,
        "model": repr(model),
    }
