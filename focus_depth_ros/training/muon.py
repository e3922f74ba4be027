"""Muon: momentum for convolutions and matrices, orthogonalised before the step.

Keller Jordan's method with the scale of Moonlight (arXiv 2502.16982): the update has the root
mean square of an Adam step, 0.2 sqrt(max(rows, columns)), whatever the shape. `torch.optim.Muon`
takes matrices only; here a convolution's weight counts as the matrix (outputs, inputs x kernel).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from focus_depth_ros.training.precision import multiplies_bfloat16

NEWTON_SCHULZ, ITERATIONS = (3.4445, -4.7750, 2.0315), 5
"""Coefficients of the quintic iteration, and how often it is done.

Fast rather than exact, singular values end within about 0.7..1.2.
"""


def orthogonalised(matrix: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrix, roughly, of (rows, columns); same shape and dtype."""
    a, b, c = NEWTON_SCHULZ
    wide = matrix.shape[0] > matrix.shape[1]
    coarse = torch.bfloat16 if multiplies_bfloat16(matrix.device) else torch.float32
    estimate = (matrix.T if wide else matrix).to(coarse)
    estimate = estimate / (estimate.norm() + 1e-7)
    for _ in range(ITERATIONS):
        gram = estimate @ estimate.T
        estimate = a * estimate + (b * gram + c * gram @ gram) @ estimate
    result: Tensor = (estimate.T if wide else estimate).to(matrix.dtype)
    return result


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, for convolutions and matrices."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, {'lr': lr, 'momentum': momentum, 'weight_decay': weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One update; a closure is not supported."""
        if closure is not None:
            raise ValueError('Muon takes no closure: call backward first, then step()')
        for group in self.param_groups:
            for parameter in group['params']:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if 'momentum' not in state:
                    state['momentum'] = torch.zeros_like(parameter)
                momentum = state['momentum']
                momentum.mul_(group['momentum']).add_(parameter.grad)
                update = parameter.grad.add(momentum, alpha=group['momentum'])
                matrix = update.flatten(1)
                scale = 0.2 * max(matrix.shape) ** 0.5
                parameter.mul_(1 - group['lr'] * group['weight_decay'])
                step = orthogonalised(matrix).view_as(update)
                parameter.add_(step, alpha=-group['lr'] * scale)
