"""Small networks that tests give to engines and predictors."""

import torch.nn.functional as F
from torch import Tensor, nn

from dacli.models.spec import DepthModel, ModelSpec


class SmallModel(DepthModel):
    """A network of no encoder, with a specification that tests can rely on."""

    def __init__(self, max_depth: float | None = None) -> None:
        super().__init__()
        self.max_depth = max_depth
        self.out = nn.Linear(1, 1)

    @property
    def spec(self) -> ModelSpec:
        return ModelSpec(
            family="test",
            name="small",
            quantity="inverse depth" if self.max_depth is None else "metres",
            max_depth=self.max_depth,
            native_size=28,
            multiple=14,
            largest_pass=56,
            align_corners=True,
            precise_layers="out",
            heads=2,
            bytes_per_pixel=100,
        )

    def feature_encoder(self) -> nn.Module:
        return self

    def token_layer(self) -> nn.Module:
        return self.out


class ConvolutionModel(SmallModel):
    """A network of three convolutions: converted and compiled in a fraction of the time that tiny takes."""

    def __init__(self, max_depth: float | None = None) -> None:
        super().__init__(max_depth)
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.second = nn.Conv2d(8, 8, 3, 1, 1)
        self.out = nn.Conv2d(8, 1, 1)  # type: ignore[assignment]

    def forward(self, images: Tensor) -> Tensor:
        coarse = self.out(self.second(self.first(images).relu()).relu().float())
        full = F.interpolate(coarse, size=images.shape[-2:], mode="bilinear", align_corners=False)
        return F.softplus(full[:, 0])
