"""From pictures to depth at their own size: the one Predictor."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dacli import render
from dacli.device import Plan
from dacli.engine import Engine
from dacli.networks import Network
from dacli.preprocess import network_size, prepare, to_source


@dataclass(frozen=True)
class Prediction:
    """Depth [H, W] float32 at the source's size, and how it was made; `note` says what had to be done otherwise."""

    depth: NDArray[np.float32]
    network_size: tuple[int, int]
    tiles: int
    precision: str
    note: str = ""


class Predictor:
    """A network, an engine and an input size (short side in pixels, None: the network's own)."""

    def __init__(self, network: Network, plan: Plan, size: int | None = None) -> None:
        self.patch, self.align_corners = network.patch, network.align_corners
        self.quantity: render.Quantity = "inverse depth" if network.max_depth is None else "metres"
        self.size = size or network.native_size
        self.engine = Engine(network, plan)
        self.exact: Engine | None = None

    def predict(self, pictures: Sequence[NDArray[np.uint8 | np.uint16]]) -> list[Prediction]:
        """Depth of RGB pictures [H, W, 3] of any sizes; those of one network size go through it together."""
        sizes = [network_size(p.shape[0], p.shape[1], self.size, self.patch) for p in pictures]
        found: dict[int, Prediction] = {}
        for size in dict.fromkeys(sizes):
            rows = [i for i, other in enumerate(sizes) if other == size]
            batch = torch.stack([prepare(pictures[i], size) for i in rows])
            for i, prediction in zip(
                rows, self.pass_through(batch, [pictures[i].shape[:2] for i in rows]), strict=True
            ):
                found[i] = prediction
        return [found[i] for i in range(len(pictures))]

    def pass_through(self, batch: Tensor, sources: Sequence[tuple[int, ...]]) -> list[Prediction]:
        depth = self.engine.forward(batch)
        made = []
        for one, raw, (height, width) in zip(batch, depth, sources, strict=True):
            finite = bool(torch.isfinite(raw).all())
            final = raw if finite else self.in_float32(one)
            resized = to_source(final, height, width, align_corners=self.align_corners)
            precision = self.engine.plan.precision
            note = "" if finite else f"{precision} overflowed, so it was computed in fp32"
            made.append(Prediction(resized, (one.shape[1], one.shape[2]), 0, precision if finite else "fp32", note))
        return made

    def in_float32(self, picture: Tensor) -> Tensor:
        """Depth [H, W] of one normalised picture, what stays non-finite set to the farthest finite value."""
        self.exact = self.exact or self.engine.in_float32()
        return torch.nan_to_num(self.exact.forward(picture[None])[0], nan=0.0, posinf=None, neginf=None)
