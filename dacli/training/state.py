"""The state of a training and its checkpoint."""

import io
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dacli.errors import DacliError
from dacli.inference.engines.torch_engine import use_channels_last
from dacli.io import files
from dacli.models.spec import DepthModel
from dacli.paths import display_path
from dacli.training.initialization import is_encoder_parameter

WEIGHT_DECAY = 0.05
EMA_DECAY = 0.999  # of the running average of the weights
CHECKPOINT_FILE = "checkpoint.pt"
STEPS = "steps"  # the setting that has the steps of each stage
UNREADABLE_CHECKPOINT = (
    OSError,
    EOFError,
    RuntimeError,
    pickle.UnpicklingError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
)


class RunningAverage(AveragedModel):
    """The running average of weights and batch statistics; the first states count for more than EMA_DECAY gives them.

    It counts its states itself: the counter of torch is moved to the device, and reading it there waits for the device.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, multi_avg_fn=self.move_towards, use_buffers=True)
        self.requires_grad_(requires_grad=False)
        self.continue_after(0)

    def continue_after(self, steps: int) -> None:
        """Count the initial weights and those after each of so many steps; at 0 states torch would replace them."""
        self.states = 1 + steps
        self.n_averaged.fill_(self.states)

    def update_parameters(self, model: nn.Module) -> None:
        """Take the weights and statistics of the model into the average."""
        super().update_parameters(model)
        self.states += 1

    def move_towards(self, averages: Sequence[Tensor], values: Sequence[Tensor], _count: Tensor | int) -> None:
        """Update averages, given as tensors of one type; integers, which count batches, stay as they are."""
        if averages[0].is_floating_point():
            decay = min(EMA_DECAY, self.states / (9 + self.states))
            torch._foreach_lerp_(list(averages), list(values), 1 - decay)


@dataclass
class TrainingState:
    """The content of a checkpoint: model, its running average, optimiser, number of steps done, settings.

    It needs no state of a random generator: the number of a batch seeds everything that is random in it.
    """

    model: DepthModel
    average: RunningAverage
    optimiser: torch.optim.Optimizer
    steps_done: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the checkpoint as a whole file; raise DacliError, and leave the old one, if it cannot be written."""
        content = {name: part.state_dict() for name, part in self._parts().items()}
        file = io.BytesIO()
        torch.save(content | {"done": self.steps_done, "settings": dict(self.settings)}, file)
        files.write_file(path, file.getvalue())

    def load(self, path: Path) -> None:
        """Take the state of a checkpoint of the same model and settings; raise DacliError for any other file.

        The training may have more steps now than it had then.
        """
        files.read_bytes(path, 1)  # which raises DacliError for a pipe, where torch.load() would wait
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            self.check_settings(content["settings"], path)
            for name, part in self._parts().items():
                part.load_state_dict(content[name])
            self.steps_done = int(content["done"])
            self.average.continue_after(self.steps_done)
        except UNREADABLE_CHECKPOINT as error:
            reason = str(error).partition("\n")[0]
            raise DacliError(
                f"{display_path(path)} is not a checkpoint of this training ({reason})",
                "remove it to start again, or give another folder",
            ) from error

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """Return what a checkpoint holds the state of, by its name there."""
        return {"model": self.model, "average": self.average.module, "optimiser": self.optimiser}

    def check_settings(self, recorded: Mapping[str, str], path: Path) -> None:
        """Raise DacliError that names every setting in which the checkpoint differs; only the steps may be more now."""
        different = [key for key in {**recorded, **self.settings} if recorded.get(key) != self.settings.get(key)]
        if different == [STEPS] and may_grow(recorded[STEPS], self.settings[STEPS]):
            return
        if different:
            reported = ", ".join(
                f"{key} {shown_setting(key, recorded)} instead of {shown_setting(key, self.settings)}"
                for key in different
            )
            hint = "steps may be more than before, not fewer; " if different == [STEPS] else ""
            raise DacliError(
                f"{display_path(path)} was made with other settings: {reported}",
                f"{hint}give those, or train in another folder",
            )


def may_grow(recorded: str, wanted: str) -> bool:
    """Return whether a training with the recorded steps of its stages can go on to the wanted ones."""
    before, after = recorded.split(), wanted.split()
    return len(before) == len(after) and sum(map(int, before)) < sum(map(int, after))


def shown_setting(key: str, settings: Mapping[str, str]) -> str:
    """Return a setting as it is reported: the steps of all stages together, as the option names them."""
    value = settings.get(key, "nothing")
    return str(sum(map(int, value.split()))) if key == STEPS else value


def create_training_state(
    model: DepthModel, encoder_factor: float = 1.0, settings: Mapping[str, str] | None = None
) -> TrainingState:
    """Return the state at step 0, with AdamW (Loshchilov and Hutter 2019) without decay on biases and norms.

    The learning rate of the encoder is `encoder_factor` times that of the decoder.
    """
    use_channels_last(model)
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault((is_encoder_parameter(name), parameter.ndim >= 2), []).append(parameter)
    options = [
        {
            "params": parameters,
            "weight_decay": WEIGHT_DECAY if is_weight else 0.0,
            "share": encoder_factor if in_encoder else 1.0,
        }
        for (in_encoder, is_weight), parameters in groups.items()
    ]
    optimiser = torch.optim.AdamW(options, lr=0.0, betas=(0.9, 0.98), fused=True)
    return TrainingState(model, RunningAverage(model), optimiser, settings=settings or {})
