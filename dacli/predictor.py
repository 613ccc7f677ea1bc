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
            made = self.pass_through(batch, [pictures[i].shape[:2] for i in rows])
            found.update(zip(rows, made, strict=True))
        return [found[i] for i in range(len(pictures))]

    def pass_through(self, batch: Tensor, sources: Sequence[tuple[int, ...]]) -> list[Prediction]:
        made = []
        for one, raw, (height, width) in zip(batch, self.engine.forward(batch), sources, strict=True):
            final, precision, note = self.settle(one, raw)
            depth = to_source(final, height, width, align_corners=self.align_corners)
            made.append(Prediction(depth, (one.shape[1], one.shape[2]), 0, precision, note))
        return made

    def settle(self, picture: Tensor, raw: Tensor) -> tuple[Tensor, str, str]:
        """Finite depth [H, W] of one normalised picture, its precision, and a note if `raw` was not finite."""
        precision = self.engine.plan.precision
        if bool(raw.isfinite().all()):
            return raw, precision, ""
        note = "the network gave numbers that are not finite"
        if precision != "fp32":
            self.exact = self.exact or self.engine.in_float32()
            raw, note = self.exact.forward(picture[None])[0], f"{precision} overflowed, so it was computed in fp32"
            if bool(raw.isfinite().all()):
                return raw, "fp32", note
            note += ", which overflowed too"
        return self.filled(raw), "fp32", f"{note}; its depth is not to be trusted there"

    def filled(self, raw: Tensor) -> Tensor:
        """Depth with infinity set to the largest finite value and NaN to the farthest, or all 0 if none is finite."""
        known = raw[raw.isfinite()]
        if known.numel() == 0:
            return torch.zeros_like(raw)
        low, high = known.min().item(), known.max().item()
        return raw.nan_to_num(nan=high if self.quantity == "metres" else low, posinf=high, neginf=low)
