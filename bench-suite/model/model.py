"""A LLaMA whose FFN is ReGLU: RMSNorm, RoPE, grouped-query attention, relu(gate) * up. Embeddings are tied."""

from dataclasses import asdict, dataclass

import torch
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """The proportions of LLaMA-70B: 8 query heads to each KV head, FFN 3.5 x hidden."""

    vocabulary: int = 1024
    hidden: int = 256
    layers: int = 6
    heads: int = 8
    kv_heads: int = 1
    intermediate: int = 896
    context: int = 512
    rope_base: float = 10000.0
    norm_epsilon: float = 1e-5

    @property
    def head(self):
        return self.hidden // self.heads


def rotation(shape, positions):
    """Unit complex numbers, [..., head / 2], that turn (2i, 2i + 1) as in llama.cpp's LLaMA."""
    inverse = shape.rope_base ** (-torch.arange(0, shape.head, 2, dtype=torch.float32) / shape.head)
    angles = positions.float()[..., None] * inverse
    return torch.polar(torch.ones_like(angles), angles)


def rotate(x, turn):
    """As complex numbers: a turn is one product."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turn).flatten(-2).to(x.dtype)


class Norm(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.weight, self.epsilon = nn.Parameter(torch.ones(shape.hidden)), shape.norm_epsilon

    def forward(self, x):
        return F.rms_norm(x.float(), x.shape[-1:], self.weight, self.epsilon)


class Layer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        linear = lambda columns, rows: nn.Linear(columns, rows, bias=False)
        self.attn_norm, self.ffn_norm = Norm(shape), Norm(shape)
        self.attn_q = linear(shape.hidden, shape.hidden)
        self.attn_k = linear(shape.hidden, shape.kv_heads * shape.head)
        self.attn_v = linear(shape.hidden, shape.kv_heads * shape.head)
        self.attn_output = linear(shape.hidden, shape.hidden)
        self.ffn_gate = linear(shape.hidden, shape.intermediate)
        self.ffn_up = linear(shape.hidden, shape.intermediate)
        self.ffn_down = linear(shape.intermediate, shape.hidden)

    def forward(self, x, turn, attend):
        """`attend(q, k, v)` mixes heads: over the batch itself in training, over a cache in decoding."""
        split = lambda y: y.unflatten(-1, (-1, self.shape.head)).transpose(1, 2)
        normed = self.attn_norm(x)
        q, k, v = split(self.attn_q(normed)), split(self.attn_k(normed)), split(self.attn_v(normed))
        mixed = attend(rotate(q, turn), rotate(k, turn), v)
        x = x + self.attn_output(mixed.transpose(1, 2).flatten(-2))
        normed = self.ffn_norm(x)
        gate = F.relu(self.ffn_gate(normed))
        return x + self.ffn_down(gate * self.ffn_up(normed)), gate


class Model(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.hidden)
        self.blk = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.output_norm = Norm(shape)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                scale = 0.02 if "embd" in name else parameter.shape[1] ** -0.5
                if "output" in name or "down" in name:
                    scale *= (2 * shape.layers) ** -0.5
                nn.init.normal_(parameter, std=scale)

    def forward(self, tokens, positions, attends, gates=None):
        """Hidden states before the output matrix; the gates of each layer are appended to `gates`."""
        # The queries of one KV head stand beside its keys: [batch, head, token, dimension].
        turn = rotation(self.shape, positions)[:, None]
        x = self.token_embd(tokens)
        for layer, attend in zip(self.blk, attends):
            x, gate = layer(x, turn, attend)
            if gates is not None:
                gates.append(gate)
        return self.output_norm(x)

    def logits(self, hidden):
        return F.linear(hidden, self.token_embd.weight)


def attention(q, k, v, hidden_from):
    """Attention of q [batch, head, token, dimension] to one KV head; `hidden_from` is true where a token is not seen.

    All queries of the group go through one product, which is faster on a CPU than attention kernels made for long
    contexts.
    """
    batch, heads, tokens, head = q.shape
    assert k.shape[1] == 1, "one KV head"
    k, v = k[:, 0], v[:, 0]
    scores = (q.reshape(batch, heads * tokens, head) @ k.mT) * head**-0.5
    scores = scores.unflatten(1, (heads, tokens)).masked_fill(hidden_from, -torch.inf)
    weights = scores.softmax(-1, dtype=torch.float32).to(v.dtype)
    return (weights.flatten(1, 2) @ v).unflatten(1, (heads, tokens))


def causal(q, k, v):
    """Every token sees itself and those before it."""
    tokens = q.shape[2]
    return attention(q, k, v, torch.ones(tokens, tokens, dtype=torch.bool).triu(1))


def save(path, **state):
    """Written beside and renamed: an interrupted save leaves the old one."""
    beside = path.with_suffix(".part")
    torch.save(state, beside)
    beside.replace(path)


def load(path):
    """The model of a checkpoint, and all of it."""
    state = torch.load(path, weights_only=True)
    model = Model(Shape(**state["shape"]))
    model.load_state_dict(state["model"])
    return model, state


def shape_of(model):
    return asdict(model.shape)
