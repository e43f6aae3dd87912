"""Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"), batched over matrices of one
shape: one by one, the small matrices of this model leave the processor idle."""

from collections import defaultdict

import torch

# Coefficients of the quintic iteration, from the same source.
A, B, C = 3.4445, -4.7750, 2.0315
STEPS = 5


def orthogonalised(x):
    """Nearest to `x` [matrix, row, column] with singular values near 1, in bfloat16."""
    tall = x.shape[1] > x.shape[2]
    x = (x.mT if tall else x).bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(STEPS):
        square = x @ x.mT
        x = A * x + (B * square + C * square @ square) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    def __init__(self, parameters, lr, momentum=0.95, weight_decay=0.01):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = defaultdict(list)
            for parameter in group["params"]:
                shapes[parameter.shape].append(parameter)
            for shape, parameters in shapes.items():
                updates = []
                for parameter in parameters:
                    state = self.state[parameter]
                    if not state:
                        state["momentum"] = torch.zeros_like(parameter)
                    state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                    updates.append(parameter.grad.lerp(state["momentum"], group["momentum"]))
                # Rows and columns of an update have the size that AdamW's would have.
                scale = 0.2 * max(shape) ** 0.5
                for parameter, update in zip(parameters, orthogonalised(torch.stack(updates))):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update, alpha=-group["lr"] * scale)
