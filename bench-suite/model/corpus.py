"""What the model is trained on: generated tasks, and a share of the Python standard library (PSF licence)."""

import ast
import json
import pathlib
import sysconfig

import numpy as np

# A text longer than this in tokens is left out.
LONGEST = 256


def tasks(path):
    """(prompt, solution) of each line."""
    with open(path) as lines:
        for line in lines:
            row = json.loads(line)
            yield row["prompt"], row["canonical_solution"]


def library():
    """(signature and docstring, body) of each documented function of the standard library, four spaces deep at most."""
    root = pathlib.Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if parts[0] in ("site-packages", "test", "idlelib", "lib2to3") or "test" in parts or "tests" in parts:
            continue
        try:
            source = path.read_text("ascii")
            tree = ast.parse(source)
        except (UnicodeDecodeError, SyntaxError):
            continue
        lines = source.splitlines(keepends=True)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) and len(node.body) > 1:
                head = node.body[0].end_lineno
                yield "".join(lines[node.lineno - 1 : head]), "".join(lines[head : node.end_lineno])


class Encoded:
    """Texts as token ids, one after the other, with where each begins and where its solution begins."""

    def __init__(self, pairs, tokenizer):
        ids, starts, solutions = [], [], []
        for prompt, solution in pairs:
            head = [0, *tokenizer.encode(prompt)]
            tail = [*tokenizer.encode(solution), 0]
            if len(head) + len(tail) > LONGEST:
                continue
            starts.append(len(ids))
            solutions.append(len(ids) + len(head))
            ids += head + tail
        self.ids = np.array(ids, np.uint16)
        self.starts = np.array([*starts, len(ids)])
        self.solutions = np.array(solutions)

    def __len__(self):
        return len(self.solutions)

    def lengths(self):
        return np.diff(self.starts)


def batches(encoded, tokens, seed):
    """Lists of texts of about one length, `tokens` of them at most with padding, in a random order; without end."""
    lengths = encoded.lengths()
    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(len(encoded))
        # Sorted within stretches: lengths agree within a batch, and no batch is of one family.
        for stretch in np.array_split(order, max(1, len(order) // 8192)):
            stretch = stretch[np.argsort(lengths[stretch], kind="stable")]
            found, first = [], 0
            for index in range(1, len(stretch) + 1):
                if index == len(stretch) or (index - first + 1) * lengths[stretch[index]] > tokens:
                    found.append(stretch[first:index])
                    first = index
            # The last one of a stretch is short.
            for batch in random.permutation(len(found) - 1):
                yield found[batch]


def padded(encoded, batch):
    """Tokens [text, position] and, for each next token, whether it is prompt (1), solution (2) or padding (0)."""
    width = int(encoded.lengths()[batch].max())
    tokens, kind = np.zeros((len(batch), width), np.int64), np.zeros((len(batch), width), np.int8)
    for row, index in enumerate(batch):
        start, end, solution = encoded.starts[index], encoded.starts[index + 1], encoded.solutions[index]
        tokens[row, : end - start] = encoded.ids[start:end]
        kind[row, : solution - start - 1] = 1
        kind[row, solution - start - 1 : end - start - 1] = 2
    return tokens, kind
