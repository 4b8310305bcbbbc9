"""Epochs are reported in printed lines, to flatprop's callbacks and to scikit-learn's."""

from typing import Any

from flatprop.network import Network
from flatprop.sklearn import settings
from flatprop.sklearn.course import Course
from flatprop.training.callbacks import Epoch, checked_callbacks, wants_to_stop
from flatprop.validation.checks import is_finite

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # before scikit-learn 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing to support."""

    def with_callbacks(method: Any) -> Any:
        return method


__all__ = ["CallbackSupportMixin", "Reports", "with_callbacks"]


class NoCheckpoint:
    """Stands in an `Epoch` for a training that cannot be written to a file."""

    def save_checkpoint(self, path: object) -> None:
        settings.refuse_checkpoint()


class Reports:
    """One `fit`, as its callbacks see it."""

    def __init__(self, estimator: Any, network: Network, X: Any, y: Any, weight: Any) -> None:
        self.estimator, self.network = estimator, network
        self.ruined = False
        """Whether a callback left parameters that are not finite."""
        self._own = checked_callbacks(estimator.callbacks)
        self._context = None
        if getattr(estimator, "_skl_callbacks", None):
            self._data = {"X": X, "y": y, "metadata": {"sample_weight": weight}}
            self._context = estimator._init_callback_context(max_subtasks=estimator.max_iter)
            self._context.call_on_fit_task_begin(estimator=estimator, **self._data)

    @property
    def each_epoch(self) -> bool:
        """Whether there is anything to do between two epochs."""
        return bool(self._own or self._context is not None or self.estimator.verbose)

    def say(self, text: str) -> None:
        """Print, if `verbose`."""
        if self.estimator.verbose:
            print(text)

    def begin_epoch(self) -> None:
        """An epoch begins."""
        if self._context is not None:
            self._task = self._context.subcontext(task_name="epoch")
            self._task.call_on_fit_task_begin(estimator=self.estimator, **self._data)

    def end_epoch(self, course: Course, val_loss: float | None, rate: float | None) -> bool:
        """An epoch has ended; whether a callback wants the training to."""
        stop = False
        asked = self._own or self._context is not None
        before = self.network._arrays.params.copy() if asked else None
        if asked:
            course.publish(self.estimator)
        if self._own:
            epochs = course.n_iter_ - 1, self.estimator.max_iter
            report = Epoch(self.network, *epochs, course.loss_, val_loss, rate, NoCheckpoint())
            answers = [callback(report) for callback in self._own]
            stop = any(map(wants_to_stop, answers))
        if self._context is not None:
            stop |= self._task.call_on_fit_task_end(
                estimator=self.estimator, reconstruction_attributes=self._as_it_is, **self._data
            )
        if before is not None and not is_finite(self.network._arrays.params) and is_finite(before):
            self.ruined = stop = True
            self.network._arrays.params[:] = before
        return stop

    def end(self) -> None:
        """The training has ended."""
        if self._context is not None:
            self._context.call_on_fit_task_end(
                estimator=self.estimator, reconstruction_attributes=self._as_it_is, **self._data
            )

    def _as_it_is(self) -> dict[str, Any]:
        """The attributes of an estimator that was fitted so far."""
        copy = self.network.copy()
        return {"_network": copy, "coefs_": list(copy.weights), "intercepts_": list(copy.biases)}
