"""Small networks for tests."""

from torch import nn


class Calls(nn.Module):
    """A forward given as a function, so that a test shows what it calls."""

    def __init__(self, forward, **children):
        super().__init__()
        self.run = forward
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, x):
        return self.run(self, x)
