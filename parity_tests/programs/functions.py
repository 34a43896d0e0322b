"""自己写的求导：直通估计、SwiGLU、检查点重算、量化感知训练、BitNet、梯度反转、FSQ 与 Gumbel-softmax。"""
# mypy: ignore-errors

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint


class RoundSTE(torch.autograd.Function):
    """前向取整，反向原样。"""

    @staticmethod
    def forward(ctx, x):
        """取整。"""
        return torch.round(x)

    @staticmethod
    def backward(ctx, grad_output):
        """原样。"""
        return grad_output


class SwiGLU(torch.autograd.Function):
    """合并了两次投影的 SwiGLU。"""

    @staticmethod
    def forward(ctx, x, w1, w3):
        """留下两个中间量。"""
        a, b = x @ w1.t(), x @ w3.t()
        ctx.save_for_backward(x, w1, w3, a, b)
        return F.silu(a) * b

    @staticmethod
    def backward(ctx, grad):
        """三个输入的梯度。"""
        x, w1, w3, a, b = ctx.saved_tensors
        s = torch.sigmoid(a)
        da, db = grad * b * (s + a * s * (1 - s)), grad * a * s
        gx = da @ w1 + db @ w3 if ctx.needs_input_grad[0] else None
        return gx, da.flatten(0, -2).t() @ x.flatten(0, -2), db.flatten(0, -2).t() @ x.flatten(0, -2)


class GradientReversal(torch.autograd.Function):
    """反向时取负。"""

    @staticmethod
    def forward(ctx, x, alpha):
        """记下系数。"""
        ctx.alpha = alpha
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad_output):
        """系数没有梯度。"""
        return -ctx.alpha * grad_output, None


class ClampSTE(torch.autograd.Function):
    """截断，界外的梯度为 0，界内原样。"""

    @staticmethod
    def forward(ctx, input, low: float, high: float):
        """记下界内的掩码。"""
        ctx.save_for_backward((input >= low) & (input <= high))
        ctx.mark_non_differentiable()
        return input.clamp(low, high)

    @staticmethod
    def backward(ctx, *grads):
        """乘以掩码。"""
        (mask,) = ctx.saved_tensors
        return grads[0].mul(mask), None, None


def program():
    """每样东西训练几步。"""

    def weight_quant(w):
        scale = 1.0 / w.abs().mean().clamp_(min=1e-5)
        return (w * scale).round().clamp_(-1, 1) / scale

    def activation_quant(x):
        scale = 127.0 / x.abs().max(dim=-1, keepdim=True).values.clamp_(min=1e-5)
        return (x * scale).round().clamp_(-128, 127) / scale

    class BitLinear(nn.Linear):
        def forward(self, x):
            w = self.weight
            x_norm = F.layer_norm(x, [x.shape[-1]])
            x_quant = x_norm + (activation_quant(x_norm) - x_norm).detach()
            w_quant = w + (weight_quant(w) - w).detach()
            return F.linear(x_quant, w_quant, self.bias)

    class FakeQuantLinear(nn.Module):
        def __init__(self, linear, bits=4):
            super().__init__()
            self.inner, self.qmax = linear, 2 ** (bits - 1) - 1
            self.log_scale = nn.Parameter(
                torch.log(linear.weight.detach().abs().amax(1, keepdim=True) / (self.qmax - 0.3))
            )

        def forward(self, x):
            scale = self.log_scale.exp()
            q = RoundSTE.apply(ClampSTE.apply(self.inner.weight / scale, -self.qmax - 1, self.qmax))
            return F.linear(x, q * scale, self.inner.bias)

    class Block(nn.Module):
        def __init__(self, d, h):
            super().__init__()
            self.w1, self.w3 = nn.Parameter(torch.empty(h, d)), nn.Parameter(torch.empty(h, d))
            nn.init.xavier_uniform_(self.w1)
            nn.init.orthogonal_(self.w3)
            self.out = nn.Linear(h, d)

        def forward(self, x):
            return x + self.out(SwiGLU.apply(x, self.w1, self.w3))

    def absmax_int8(w):
        scale = w.abs().max(dim=1, keepdim=True)[0] / 127
        q = torch.clamp(torch.round(w / scale), -128, 127).to(torch.int8)
        return q, scale

    def pack_int4(w):
        q = torch.clamp((w / (w.abs().amax() / 7)).round(), -8, 7).to(torch.int32) + 8
        packed = (q[:, ::2] | (q[:, 1::2] << 4)).to(torch.uint8)
        low, high = (packed & 0xF).to(torch.int32) - 8, (packed >> 4).to(torch.int32) - 8
        return packed, torch.stack([low, high], dim=-1).flatten(1)

    torch.manual_seed(6)
    d, h = 8, 12
    model = nn.Sequential(nn.Embedding(15, d), Block(d, h), BitLinear(d, d), nn.GELU(), Block(d, h), nn.Linear(d, 15))
    model[5] = FakeQuantLinear(model[5])
    domain = nn.Linear(d, 2)
    optimizer = torch.optim.AdamW([*model.parameters(), *domain.parameters()], lr=1e-2)
    losses, grads = [], {}
    for step in range(4):
        x = torch.randint(0, 15, (4, 6))
        hidden = model[1](model[0](x))
        hidden = checkpoint(model[2], hidden, use_reentrant=False)
        hidden = model[3](hidden)
        hidden = checkpoint(lambda t: model[4](t), hidden, use_reentrant=True) if step % 2 else model[4](hidden)
        logits = model[5](hidden)
        adversarial = F.cross_entropy(domain(GradientReversal.apply(hidden, 0.5)).flatten(0, 1), (x % 2).flatten())
        loss = F.cross_entropy(logits[:, :-1].reshape(-1, 15), x[:, 1:].reshape(-1)) + 0.1 * adversarial
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if step == 0:
            grads = {n: p.grad.clone() for n, p in model.named_parameters()}
        optimizer.step()
        losses.append(loss.item())

    z = torch.randn(5, 4, requires_grad=True)
    levels = torch.tensor([7.0, 5.0, 5.0, 3.0]).to(z.dtype)
    half = (levels - 1) / 2
    bounded = torch.tanh(z) * half
    codes = bounded + (bounded.round() - bounded).detach()
    basis = torch.cumprod(torch.cat([torch.ones(1), torch.tensor([7.0, 5.0, 5.0])]), 0).to(z.dtype)
    indices = ((codes + half) * basis).sum(-1).long()
    gumbel = F.gumbel_softmax(z, tau=0.7, hard=True, dim=-1)
    codebook = torch.randn(6, 4, requires_grad=True)
    distance = torch.cdist(z, codebook)
    nearest = distance.argmin(dim=1)
    quantized = codebook[nearest]
    vq = F.mse_loss(quantized, z.detach()) + 0.25 * F.mse_loss(z, quantized.detach())
    straight = z + (quantized - z).detach()
    total = (codes**2).sum() + (gumbel * torch.arange(4)).sum() + vq + straight.cos().mean()
    total.backward()
    q, scale = absmax_int8(model[2].weight.data)
    packed, unpacked = pack_int4(model[2].weight.data)
    print(q.dtype, q[0], packed.dtype, packed[0], math.prod(levels.int().tolist()))
    return {
        "losses": losses, "grads": grads, "weights": model.state_dict(), "loss vq": vq.detach(), "grad z": z.grad,
        "grad codebook": codebook.grad, "indices": indices, "nearest": nearest, "int8": (q, scale),
        "packed": packed, "unpacked": unpacked, "error": (q * scale - model[2].weight.data).abs().max().item(),
        "gradcheck": torch.autograd.gradcheck(
            SwiGLU.apply,
            (
                torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True),
                torch.randn(5, 4, dtype=torch.double, requires_grad=True),
                torch.randn(5, 4, dtype=torch.double, requires_grad=True),
            ),
        ),
    }  # fmt: skip
