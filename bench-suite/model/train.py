"""Trains the embedded model. Seeds are fixed; a run that is stopped goes on from its checkpoint exactly.

    thresher tasks --train 400000 --seed 1 --out tasks.jsonl
    python train.py tasks.jsonl run --steps 3000
"""

import argparse
import copy
import math
import pathlib
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch.nn import functional as F

import corpus
from model import Model, Shape, causal, load, save, shape_of
from muon import Muon
from tokenizer import Tokenizer

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("tasks", type=pathlib.Path, help="what `thresher tasks --train` wrote")
parser.add_argument("out", type=pathlib.Path, help="folder for tokenizer and checkpoints")
parser.add_argument("--steps", type=int, default=3000, help="the learning rate falls to zero over the last fifth")
parser.add_argument("--warmup", type=int, default=100)
parser.add_argument("--batch-tokens", type=int, default=4096)
parser.add_argument("--library-share", type=float, default=0.08, help="of batches")
parser.add_argument("--rate", type=float, default=0.004, help="of Muon, for matrices; AdamW has half of it")
parser.add_argument("--prompt-weight", type=float, default=0.1, help="of a prompt's token in the loss")
parser.add_argument("--sparsity-weight", type=float, default=0.05, help="of the gates' mean over root mean square in the loss")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--save-seconds", type=float, default=240)
for field, default in Shape.__dataclass_fields__.items():
    if field in ("hidden", "layers", "vocabulary"):
        parser.add_argument(f"--{field}", type=int, default=default.default)


def data(arguments):
    """Tokenizer and encoded texts, kept beside the checkpoints."""
    tasks, library = list(corpus.tasks(arguments.tasks)), list(corpus.library())
    path = arguments.out / "merges.json"
    if path.exists():
        tokenizer = Tokenizer.load(path)
    else:
        texts = [text for pair in tasks[:20_000] + library for text in pair]
        tokenizer = Tokenizer.train(texts, arguments.vocabulary)
        tokenizer.save(path)
    return corpus.Encoded(tasks, tokenizer), corpus.Encoded(library, tokenizer)


def rate(step, arguments):
    """1 after the warm-up, then down to 0 over the last fifth."""
    fall = arguments.steps / 5
    return min(1.0, (step + 1) / arguments.warmup, max(0.0, (arguments.steps - step) / fall))


def optimizers(model, arguments):
    """Muon for matrices within layers, AdamW for embedding and norms."""
    inner = [p for name, p in model.named_parameters() if p.dim() == 2 and "embd" not in name]
    outer = [p for name, p in model.named_parameters() if p.dim() != 2 or "embd" in name]
    return [
        Muon(inner, lr=arguments.rate),
        torch.optim.AdamW(outer, lr=arguments.rate / 2, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def spread(gate):
    """Mean over root mean square (Hoyer 2004), mean over tokens: of a gate that is open for a share of the neurons,
    about the root of that share. Unlike the mean alone, it does not fall when gates shrink and ups grow."""
    mean = gate.mean(-1, dtype=torch.float32)
    square = gate.square().mean(-1, dtype=torch.float32)
    return (mean * (square + 1e-6).rsqrt()).mean()


def loss_of(model, tokens, kind, arguments):
    """Mean cross-entropy of the next token, with the gates' share; of solutions alone; share of gates that are zero."""
    tokens, kind = torch.from_numpy(tokens), torch.from_numpy(kind)
    positions = torch.arange(tokens.shape[1])[None].expand(tokens.shape)
    gates = []
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model(tokens, positions, [causal] * model.shape.layers, gates)
        used = kind > 0
        logits = model.logits(hidden[used])
    each = F.cross_entropy(logits.float(), tokens.roll(-1, 1)[used], reduction="none")
    solution = kind[used] == 2
    weight = torch.where(solution, 1.0, arguments.prompt_weight)
    loss = (each * weight).sum() / weight.sum()
    if arguments.sparsity_weight > 0:
        loss = loss + arguments.sparsity_weight * torch.stack([spread(gate) for gate in gates]).mean()
    return loss, each[solution].mean(), gates


def gradient(model, tokens, kind, arguments):
    """Adds to the model's gradients; the losses, and each layer's share of gates that are zero."""
    loss, solution, gates = loss_of(model, tokens, kind, arguments)
    loss.backward()
    used = torch.from_numpy(kind > 0)
    return loss.item(), solution.item(), [(gate[used][::7] == 0).float().mean().item() for gate in gates]


def main():
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    tasks, library = data(arguments)
    print(f"{len(tasks)} tasks, {len(tasks.ids)} tokens; {len(library)} functions, {len(library.ids)} tokens", flush=True)

    torch.manual_seed(arguments.seed)
    checkpoint = arguments.out / "checkpoint.pt"
    if checkpoint.exists():
        model, state = load(checkpoint)
    else:
        shape = Shape(
            vocabulary=arguments.vocabulary,
            hidden=arguments.hidden,
            layers=arguments.layers,
            intermediate=arguments.hidden * 7 // 2,
        )
        model, state = Model(shape), {"step": 0, "seen": 0}
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    both = optimizers(model, arguments)
    # Replicas that share weights and have gradients of their own: threads of one large step each wait for nobody, where
    # threads within each operation wait for the slowest every time.
    replicas = [model, *(copy.deepcopy(model) for _ in range(arguments.threads - 1))]
    for replica in replicas[1:]:
        for own, shared in zip(replica.parameters(), model.parameters()):
            own.data = shared.data
    pool = ThreadPoolExecutor(arguments.threads, initializer=torch.set_num_threads, initargs=(1,))
    for optimizer, known in zip(both, state.get("optimizers", [])):
        optimizer.load_state_dict(known)

    step, seen = state["step"], state["seen"]
    # The order of all data is a function of the seed: what was seen before the checkpoint is passed over.
    choose = np.random.default_rng(arguments.seed)
    sources = [corpus.batches(tasks, arguments.batch_tokens, arguments.seed)]
    sources.append(corpus.batches(library, arguments.batch_tokens, arguments.seed + 1))
    following = lambda: (lambda which: (which, next(sources[which])))(int(choose.random() < arguments.library_share))
    for _ in range(step):
        following()

    # Interrupted, it finishes its step and saves.
    stop = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: stop.append(number))
    saved = started = time.monotonic()
    seen_before = seen
    while step < arguments.steps and not stop:
        which, batch = following()
        tokens, kind = corpus.padded([tasks, library][which], batch)
        for optimizer, base in zip(both, (arguments.rate, arguments.rate / 2)):
            for group in optimizer.param_groups:
                group["lr"] = base * rate(step, arguments)
        every = len(replicas)
        work = lambda i: gradient(replicas[i], tokens[i::every], kind[i::every], arguments)
        parts = list(pool.map(work, range(every)))
        loss, solution = (sum(part[i] for part in parts) / len(parts) for i in (0, 1))
        for replica in replicas[1:]:
            for own, shared in zip(replica.parameters(), model.parameters()):
                shared.grad += own.grad
                own.grad = None
        for parameter in model.parameters():
            parameter.grad /= every
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in both:
            optimizer.step()
            optimizer.zero_grad()
        step, seen = step + 1, seen + int((kind > 0).sum())
        if not math.isfinite(loss):
            raise SystemExit(f"loss is {loss} at step {step}; lower --rate")
        if step % 10 == 0 or step == arguments.steps:
            pace = (seen - seen_before) / (time.monotonic() - started)
            layers = " ".join(f"{sum(shares) / every:.2f}" for shares in zip(*(part[2] for part in parts)))
            print(
                f"step {step} {['tasks', 'library'][which]} loss {loss:.4f} solution {solution:.4f}"
                f" norm {norm.item():.2f} tokens {seen} ({pace:.0f}/s) zero gates {layers}",
                flush=True,
            )
        if time.monotonic() - saved > arguments.save_seconds or step == arguments.steps or stop:
            state = {"step": step, "seen": seen, "optimizers": [optimizer.state_dict() for optimizer in both]}
            save(checkpoint, shape=shape_of(model), model=model.state_dict(), **state)
            saved = time.monotonic()


if __name__ == "__main__":
    main()
