"""What to measure: each network at each size, by each engine in each precision."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from dacli.errors import DacliError
from dacli.inference import planning
from dacli.inference.device import ExecutionPlan
from dacli.models import registry
from dacli.models.choice import ModelChoice, is_in_transformers, resolve_model

DEFAULT_ENCODERS = ("vits", "tiny")


@dataclass(frozen=True)
class BenchSetup:
    """A network, the short side of its input (None: its own), its plan, and the precisions that asked for that plan.

    With `real_weights` those that are not on this machine are downloaded; without it random ones take the same time.
    """

    choice: ModelChoice
    size: int | None
    plan: ExecutionPlan
    asked: tuple[str, ...] = ()
    real_weights: bool = False

    @property
    def precision_title(self) -> str:
        """Return the precision as it was asked for and, where that differs, as it is computed."""
        computed = self.plan.precision
        if set(self.asked) <= {computed}:
            return computed
        return f"{', '.join(self.asked)} (computed in {computed})"


@dataclass(frozen=True, kw_only=True)
class BenchValues:
    """The values of which each combination is measured; an empty list stands for what this machine takes by itself."""

    encoders: Sequence[str] = ()
    models: Sequence[str] = ()
    weights: Sequence[Path] = ()
    precisions: Sequence[str] = ()
    engines: Sequence[str] = ()
    device: str = "auto"
    sizes: Sequence[int | None] = (None,)

    def setups(self) -> list[BenchSetup]:
        """Return every network at every size, by every engine in every precision.

        Raises UsageError for names that do not exist, DacliError for what this machine does not have.
        """
        plans = self.plans()
        return [
            BenchSetup(choice, size, plan, asked)
            for choice, size, (plan, asked) in product(self.choices(), self.sizes, plans)
        ]

    def choices(self) -> list[ModelChoice]:
        """Return the networks: every encoder with every model that it has, then the files of weights."""
        named = [name for name in self.models if not is_in_transformers(name)]
        models = [resolve_model(name) for name in named] or ["v2"]
        found = [registry.choose_model(None, name, None) for name in self.models if is_in_transformers(name)]
        encoders = self.encoders or (() if self.weights or (found and not named) else DEFAULT_ENCODERS)
        for encoder in encoders:
            known = registry.models_of(encoder)
            found += [registry.choose_model(encoder, model, None) for model in common_models(models, known)]
        for path in self.weights:
            if not path.is_file():
                raise DacliError(f"there is no file of weights {path}", "check the path")
            known = registry.family_of_file(path).models
            found += [registry.choose_model(None, model, path) for model in common_models(models, known)]
        return list(dict.fromkeys(found))

    def plans(self) -> list[tuple[ExecutionPlan, tuple[str, ...]]]:
        """Return the distinct plans, each with the precisions that were asked for and lead to it."""
        usual = planning.resolve_plan(self.device, "int8" if "int8" in self.precisions and not self.engines else "auto")
        pairs = product(self.engines or ["torch", usual.engine], self.precisions or ["fp32", usual.precision])
        distinct: dict[tuple[str, str], tuple[ExecutionPlan, tuple[str, ...]]] = {}
        for engine, precision in dict.fromkeys(pairs):
            if not self.engines and (engine, precision) == ("torch", "int8"):
                continue
            plan = planning.resolve_plan(self.device, precision, engine)
            first, asked = distinct.get((plan.engine, plan.precision), (plan, ()))
            distinct[plan.engine, plan.precision] = first, (*asked, *({precision} & set(self.precisions)))
        return list(distinct.values())


def common_models(wanted: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    """Return the wanted models that a family has; all if it has none, which is then refused by name."""
    return [model for model in wanted if model in known] or wanted
