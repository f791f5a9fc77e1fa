"""Writes the small TorchScript files of the torch tests into the folder given as argument."""
import sys
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import torch
from torch import Tensor, nn


class Affine(nn.Module):
    """y[i] = i + sum over j of (3 i + j) / 8 * x[j]: exact in f32 for small integers."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)
        with torch.no_grad():
            self.linear.weight.copy_(torch.arange(12.0).reshape(4, 3) / 8)
            self.linear.bias.copy_(torch.arange(4.0))

    def forward(self, x):
        return self.linear(x)


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + x if x.dtype != torch.bool else torch.logical_not(x)


class Checked(nn.Module):
    """Fails on a batch that holds any negative number."""

    def forward(self, x: Tensor) -> Tensor:
        if bool((x < 0).any()):
            raise RuntimeError("negative numbers are not welcome\nand a second line")
        return x * 2


class Writing(nn.Module):
    """Writes to its own argument."""

    def forward(self, x: Tensor) -> Tensor:
        return x.add_(1)


class Optionals(nn.Module):
    def forward(self, x: Tensor, y: Optional[Tensor] = None, scale: float = 2.0) -> Tensor:
        if y is None:
            return x * scale
        return x * scale + y


class Pair(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tuple[Tensor, Tensor]:
        return x + y, x.flatten(1).sum(1)


class Listed(nn.Module):
    def forward(self, x: Tensor) -> List[Tensor]:
        return [x, x + 1, x + 2]


class Named(nn.Module):
    def forward(self, x: Tensor) -> Dict[str, Tensor]:
        return {"zeta": x, "alpha": x + 1}


class Nested(nn.Module):
    def forward(self, x: Tensor) -> Tuple[Tensor, Tuple[Tensor, Tensor]]:
        return x, (x, x)


class Number(nn.Module):
    def forward(self, x: Tensor) -> int:
        return x.dim()


class Reduced(nn.Module):
    """Its answer has lost the batch dimension."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum()


class Complex(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.complex(x, x)


class Transposed(nn.Module):
    """Answers a view whose elements are not in row-major order."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


class NeedsNumber(nn.Module):
    def forward(self, x: Tensor, n: int) -> Tensor:
        return x * n


class NoTensors(nn.Module):
    def forward(self, n: int = 3) -> int:
        return n


class NoForward(nn.Module):
    @torch.jit.export
    def other(self, x: Tensor) -> Tensor:
        return x


class Training(nn.Module):
    """Answers zeros now and then if it is left in training mode."""

    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.9)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x)


def main(folder: Path) -> None:
    torch.jit.trace(Affine().eval(), torch.ones(2, 3)).save(str(folder / "affine.pt"))
    for model in (Doubled, Checked, Writing, Optionals, Pair, Listed, Named, Nested, Number, Reduced, Complex,
                  Transposed, NeedsNumber, NoTensors, NoForward, Training):
        torch.jit.script(model()).save(str(folder / f"{model.__name__.lower()}.pt"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
