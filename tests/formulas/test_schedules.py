"""Learning rates against torch's schedulers."""

from functools import partial

import numpy as np
import pytest

import flatprop as fp
from networks import curves, network

make = partial(network, (3, 8, 2))


def torch_rates(schedule, epochs, losses=None):
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs torch")
    torch_schedules = torch.optim.lr_scheduler
    rule = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=schedule.learning_rate)
    match schedule:
        case fp.schedules.Step():
            follow = torch_schedules.StepLR(rule, schedule.step_size, schedule.gamma)
        case fp.schedules.Exponential():
            follow = torch_schedules.ExponentialLR(rule, schedule.gamma)
        case fp.schedules.Cosine():
            length = schedule.T_max or epochs
            follow = torch_schedules.CosineAnnealingLR(rule, length, schedule.eta_min)
        case fp.schedules.WarmUp(epochs=n):
            follow = torch_schedules.LinearLR(rule, 1 / (n + 1), 1, n)
        case fp.schedules.ReduceOnPlateau():
            names = "factor", "patience", "threshold", "cooldown", "min_lr"
            settings = {name: getattr(schedule, name) for name in names}
            follow = torch_schedules.ReduceLROnPlateau(rule, eps=0, **settings)
    rates = []
    for epoch in range(epochs):
        rates.append(rule.param_groups[0]["lr"])
        rule.step()
        follow.step(*(() if losses is None else (losses[epoch],)))
    return rates


SCHEDULES = [
    fp.schedules.Step(0.1, step_size=1),
    fp.schedules.Step(0.1, step_size=7, gamma=0.5),
    fp.schedules.Exponential(0.1, gamma=0.9),
    fp.schedules.Exponential(0.01, gamma=1.02),
    fp.schedules.Cosine(0.1),
    fp.schedules.Cosine(0.1, eta_min=0.01),
    fp.schedules.Cosine(0.1, T_max=40, eta_min=0.02),
    fp.schedules.WarmUp(0.1, epochs=5),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_rates_are_pytorchs(schedule):
    net = make()
    X, y, _ = curves(30)
    history = net.fit(X, y, optimizer=fp.SGD(schedule), epochs=30, batch_size=8, rng=0)
    np.testing.assert_allclose(history.learning_rate, torch_rates(schedule, 30), rtol=1e-12)


PLATEAUS = [
    fp.schedules.ReduceOnPlateau(0.8, factor=0.5, patience=0),
    fp.schedules.ReduceOnPlateau(0.8, factor=0.5, patience=2),
    fp.schedules.ReduceOnPlateau(0.8, factor=0.3, patience=1, cooldown=3),
    fp.schedules.ReduceOnPlateau(0.8, factor=0.5, patience=1, threshold=0.02, min_lr=0.1),
]


@pytest.mark.parametrize("validated", [False, True], ids=["training", "validation"])
@pytest.mark.parametrize("schedule", PLATEAUS, ids=repr)
def test_rates_on_a_plateau_are_pytorchs(schedule, validated):
    net = make()
    X, y, _ = curves(30)
    rng = np.random.default_rng(5)
    validation = (rng.normal(size=(20, 3)), rng.normal(size=(20, 2))) if validated else None
    how = {"batch_size": 5, "rng": 0, "validation_data": validation}
    history = net.fit(X, y, optimizer=fp.SGD(schedule), epochs=60, **how)
    monitored = history.val_loss if validated else history.loss
    expected = torch_rates(schedule, 60, monitored.tolist())
    assert len(set(expected)) > 2  # it was reduced more than once
    np.testing.assert_allclose(history.learning_rate, expected, rtol=1e-12)


def test_cosine_stays_down_after_its_descent():
    schedule = fp.schedules.Cosine(0.1, T_max=4, eta_min=0.01)
    rates = [schedule.rate(epoch, 8) for epoch in range(8)]
    half_way = 0.01 + 0.09 / 2
    assert rates[2] == pytest.approx(half_way, rel=1e-14)
    assert rates[4:] == pytest.approx([0.01] * 4, rel=1e-14)


def test_warm_up_goes_on_from_the_start_of_what_follows():
    schedule = fp.schedules.WarmUp(fp.schedules.Cosine(0.1), epochs=4)
    rates = [schedule.rate(epoch, 14) for epoch in range(14)]
    after = [0.05 * (1 + np.cos(np.pi * t / 10)) for t in range(10)]
    assert rates == pytest.approx([0.02, 0.04, 0.06, 0.08, *after], rel=1e-14)
