"""What `to_torch` needs and PyTorch lacks."""

import torch


class ResidualModule(torch.nn.Sequential):  # type: ignore[misc]
    """x + f(x), where f is the modules in it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + super().forward(x)


class Exp(torch.nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
    """e^z, elementwise."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return torch.exp(z)
