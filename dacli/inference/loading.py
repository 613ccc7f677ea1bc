"""A predictor from the names of a checkpoint and a machine, and the line that says what was decided."""

from typing import NamedTuple

from dacli.inference import device, predictor
from dacli.inference.predictor import Predictor
from dacli.inference.preprocess import network_size
from dacli.models import registry


class LoadedPredictor(NamedTuple):
    predictor: Predictor
    encoder: str
    model: str
    weights: str


def load_predictor(choice, *, size, devices, precision, engine, tile, batch, pictures, log, download):
    plan = device.resolve(devices[0], precision, engine)
    opened = registry.open_network(choice, half=plan.half_weights, say=log, progress=download)
    ready = Predictor(opened.network, plan, size, pictures=pictures, tile=tile, say=log)
    why = f" ({plan.reason})" if plan.reason else ""
    log(
        f"{opened.encoder} {ready.quantity} at {ready.size} px{in_tiles(ready)} on {plan.device}, {plan.engine} "
        f"{plan.precision}{why}"
    )
    ready.batch = batch_for(ready) if batch is None else batch
    return LoadedPredictor(ready, opened.encoder, opened.model, opened.weights)


def in_tiles(ready: Predictor) -> str:
    best = ready.largest_pass
    if ready.tiled:
        return f" in tiles of {ready.native}" + (f" (one pass is better up to {best})" if ready.size <= best else "")
    return f" in one pass (tiles are better above {best})" if ready.size > best else ""


def batch_for(ready: Predictor) -> int:
    size = min(ready.size, ready.native) if ready.tiled else ready.size
    return predictor.paying_batch(ready.engine, network_size(3, 4, size, ready.patch))
