"""A predictor from the names of a checkpoint and a machine, and the line that says what was decided."""

from dacli.callbacks import Reporter
from dacli.inference import device, predictor
from dacli.inference.predictor import Predictor
from dacli.inference.preprocess import network_size
from dacli.models import registry
from dacli.models.registry import Opened
from dacli.types import TileMode


def load_predictor(
    choice: registry.Choice,
    size: int | None,
    machine: tuple[str, str, str],
    voice: Reporter,
    pictures: int = 1,
    tile: TileMode = "auto",
) -> tuple[Predictor, Opened]:
    """The predictor for a device, and a line that says what was decided and why."""
    plan = device.resolve(*machine)
    opened = registry.open_network(choice, half=plan.half_weights, say=voice.note, progress=voice.download)
    ready = Predictor(opened.network, plan, size, pictures=pictures, tile=tile, say=voice.note)
    why = f" ({plan.reason})" if plan.reason else ""
    voice.note(
        f"{opened.encoder} {ready.quantity} at {ready.size} px{in_tiles(ready)} on {plan.device}, {plan.engine} "
        f"{plan.precision}{why}"
    )
    return ready, opened


def in_tiles(ready: Predictor) -> str:
    """What the line says of tiles, where they or one pass would be better; nothing where one pass is."""
    best = ready.largest_pass
    if ready.tiled:
        return f" in tiles of {ready.native}" + (f" (one pass is better up to {best})" if ready.size <= best else "")
    return f" in one pass (tiles are better above {best})" if ready.size > best else ""


def batch_for(ready: Predictor) -> int:
    size = min(ready.size, ready.native) if ready.tiled else ready.size
    return predictor.paying_batch(ready.engine, network_size(3, 4, size, ready.patch))
