"""How long a run still takes, from the seconds of its steps and of its evaluations."""

from __future__ import annotations

from dataclasses import dataclass

from engine.evaluation.estimate import LONG, cost, duration, unit_seconds
from engine.setting import Schedule
from engine.training.data import Run, first_batch
from engine.training.state import Training
from engine.training.trainer import Trainer
from util.distributed import say, world

MANY_STEPS = 20  # a longer run times two steps to say how long it takes; so does one of a long evaluation


@dataclass
class Forecast:
    """How long a run still takes. A cost is of engine.evaluation.estimate."""

    schedule: Schedule
    snapshot_cost: int  # the evaluation after a snapshot
    final_cost: int  # the last evaluation
    step_seconds: float = 0.0
    unit_seconds: float = 0.0  # the time that a unit of cost takes

    def note_steps(self, seconds: float, steps: int) -> None:
        """Note how long some steps took; there are none if a run goes on with the evaluation."""
        if steps:
            self.step_seconds = seconds / steps

    def note_evaluation(self, seconds: float) -> None:
        """Note how long the evaluation after a snapshot took."""
        self.unit_seconds = seconds / self.snapshot_cost

    def steps_left(self, state: Training) -> int:
        return (self.schedule.snapshots - state.snapshot) * self.schedule.steps - len(state.losses)

    def time_left(self, state: Training) -> str:
        """The time that a run in this state still takes, for people, such as 12 min."""
        evaluations = (self.schedule.snapshots - state.snapshot) * self.snapshot_cost + self.final_cost
        return duration(self.steps_left(state) * self.step_seconds + evaluations * self.unit_seconds)


def make_forecast(run: Run, trainer: Trainer, state: Training, engine: str) -> Forecast:
    """Time two steps and a few episodes, which change nothing, and say how long the run takes, unless it is short.

    After its first step DistributedDataParallel orders the gradients anew, and gloo adds those of three processes or
    more in an order that depends on it. So a run that goes on in so many times its steps however short it is: else its
    first step would be rounded otherwise than without the interruption.
    """
    forecast = Forecast(run.schedule, cost(run.selection, engine), cost(run.test.plans, engine))
    is_long = forecast.final_cost > LONG
    goes_on = bool(state.snapshot or state.losses)
    if forecast.steps_left(state) > (0 if is_long or (goes_on and world() > 2) else MANY_STEPS):
        forecast.step_seconds = trainer.time_step(first_batch(run.samples, run.schedule.batch_size, trainer.device))
    if forecast.step_seconds or is_long:
        (plan,) = run.selection.values()
        forecast.unit_seconds = unit_seconds(trainer.net, run.fold.val.images, plan, engine)
        at = f", at {forecast.step_seconds:.2g} s a step" if forecast.step_seconds else ""
        say(f"about {forecast.time_left(state)}{at}")
    return forecast
