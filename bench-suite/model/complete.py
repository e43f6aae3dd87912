"""Completes problems greedily with a checkpoint; `thresher eval --completions` scores what it writes.

    thresher tasks --out held-out.jsonl
    python complete.py run held-out.jsonl completions.jsonl
"""

import argparse
import json
import pathlib

import torch

from model import attention, load
from tokenizer import Tokenizer


class Cache:
    """Keys and values of one layer: [text, 1, position, dimension]. Prompts of a batch have one length each."""

    def __init__(self, texts, longest, head):
        self.keys, self.values = (torch.zeros(texts, 1, longest, head) for _ in range(2))

    def attend(self, positions):
        """Attention of new tokens at `positions` [text, token] to themselves and all before them."""
        rows = torch.arange(positions.shape[0])[:, None]
        unseen = torch.arange(self.keys.shape[2]) > positions[:, None, :, None]

        def over_cache(q, k, v):
            self.keys[rows, 0, positions], self.values[rows, 0, positions] = k[:, 0], v[:, 0]
            return attention(q, self.keys, self.values, unseen)

        return over_cache


@torch.no_grad()
def complete(model, prompts, most):
    """Token ids that follow each list of token ids, up to the end token or `most` of them; share of gates not zero."""
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    longest = int(lengths.max())
    tokens = torch.zeros(len(prompts), longest, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = torch.tensor(prompt)
    caches = [Cache(len(prompts), longest + most, model.shape.head) for _ in range(model.shape.layers)]
    positions = torch.arange(longest).expand(len(prompts), -1)
    hidden = model(tokens, positions, [cache.attend(positions) for cache in caches])
    last = hidden[torch.arange(len(prompts)), lengths - 1]
    written, alive = [[] for _ in prompts], torch.ones(len(prompts), dtype=torch.bool)
    open_gates = torch.zeros(model.shape.layers)
    counted = 0
    for step in range(most):
        following = model.logits(last).argmax(-1)
        alive &= following != 0
        if not alive.any():
            break
        for row in alive.nonzero().flatten().tolist():
            written[row].append(int(following[row]))
        positions = (lengths + step)[:, None]
        gates = []
        last = model(following[:, None], positions, [cache.attend(positions) for cache in caches], gates)[:, 0]
        open_gates += torch.stack([(gate[alive] > 0).float().sum() for gate in gates]) / model.shape.intermediate
        counted += int(alive.sum())
    return written, open_gates, counted


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path, help="folder of a training run")
    parser.add_argument("problems", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--every", type=int, default=1, help="only one problem in so many")
    parser.add_argument("--most", type=int, default=120, help="tokens of a completion")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model, state = load(arguments.run / "checkpoint.pt")
    tokenizer = Tokenizer.load(arguments.run / "merges.json")
    problems = [json.loads(line) for line in arguments.problems.open()][:: arguments.every]
    encoded = [[0, *tokenizer.encode(problem["prompt"])] for problem in problems]
    # Of one length about: padding is computed too.
    order = sorted(range(len(problems)), key=lambda i: len(encoded[i]))
    completions, gates, counted = {}, torch.zeros(model.shape.layers), 0
    for first in range(0, len(order), arguments.batch):
        batch = order[first : first + arguments.batch]
        written, open_gates, tokens = complete(model, [encoded[i] for i in batch], arguments.most)
        completions |= {i: tokenizer.decode(ids) for i, ids in zip(batch, written)}
        gates, counted = gates + open_gates, counted + tokens
    with arguments.out.open("w") as out:
        for i, problem in enumerate(problems):
            line = {"task_id": problem["task_id"], "completion": completions[i], "density": float(gates.mean() / counted)}
            out.write(json.dumps(line) + "\n")
    shares = " ".join(f"{1 - share / counted:.3f}" for share in gates.tolist())
    print(f"step {state['step']}; {counted} tokens; share of neurons that are zero, by layer: {shares}")


if __name__ == "__main__":
    main()
