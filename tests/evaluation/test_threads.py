"""Several threads in one call: the same bits, however many come, and no harm from anybody."""

import itertools
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flatprop as fp
from flatprop.evaluation import calls, crew, processors
from flatprop.kernels.network import entry_points
from flatprop.kernels.threads import team
from flatprop.samples.in_memory import in_memory
from interruption import ctrl_c
from networks import KINDS, LOSSES, NEEDED_OUTPUT, network, samples

COUNTS = (1, 2, 3, 8)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Leaders wait until their helpers are there, however busy the machine is."""
    monkeypatch.setattr(crew, "LONG_PATIENCE", 2**40)


@pytest.fixture
def sizes(monkeypatch):
    """The sizes of the teams that there were."""
    found = []
    together = crew.together

    def noted(*arguments):
        result, size = together(*arguments)
        found.append(size)
        return result, size

    monkeypatch.setattr(crew, "together", noted)
    return found


def results_of(compute):
    """What `compute(threads)` gives for each of `COUNTS`, which must be the same bit for bit."""
    return {tuple(np.asarray(part).tobytes() for part in compute(count)) for count in COUNTS}


def problem(dtype="float64", loss="mse", rows=203, inputs=9, outputs=5):
    net = network(
        [inputs, 70, 33, outputs],
        ["tanh", "relu", NEEDED_OUTPUT.get(loss, "softplus" if loss == "poisson" else "identity")],
        LOSSES[loss],
        dtype,
    )
    x, y, *_ = samples(net, rows)
    return net, x, y


# ---- the same bits


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", KINDS, ids=repr)
def test_a_training_has_the_same_bits_with_any_number_of_threads(optimizer, dtype, sizes):
    def train(threads):
        net, x, y = problem(dtype)
        history = net.fit(x, y, optimizer=optimizer, epochs=4, batch_size=64, threads=threads)
        return net.params, history.loss

    assert len(results_of(train)) == 1
    assert set(sizes) == set(COUNTS)


@pytest.mark.parametrize("options", [
    {"clip_norm": 0.1},
    {"batch_size": None},
    {"batch_size": None, "optimizer": "lbfgs"},
    {"batch_size": 1},
    {"batch_size": 17, "shuffle": False},
    {"patience": 2, "validation_data": "the same"},
    {"sample_weight": "some"},
    {"sample_weight": "many zeros", "batch_size": 20},
    {"trainable": "some"},
    {"learning_rate_factors": "some"},
    {"learning_rate_factors": "some", "batch_size": None, "ema": 0.9},
    {"ema": 0.9, "optimizer": fp.SGD(0.01)},
    {"ema": 0.9, "validation_data": "the same"},
    {"optimizer": fp.SGD(fp.schedules.Cosine(0.1, T_max=4))},
], ids=repr)  # fmt: skip
def test_so_has_one_with_options(options):
    def train(threads):
        net, x, y = problem()
        chosen = {"epochs": 4, "optimizer": "adam", "rng": 3} | options
        rng = np.random.default_rng(1)
        if "validation_data" in chosen:
            chosen["validation_data"] = x, y
        if "sample_weight" in chosen:
            weight = rng.uniform(size=len(x))
            if chosen["sample_weight"] == "many zeros":
                weight[20:120] = 0
            chosen["sample_weight"] = weight
        if "trainable" in chosen:
            chosen["trainable"] = rng.uniform(size=net.params.size) < 0.5
        if "learning_rate_factors" in chosen:
            chosen["learning_rate_factors"] = rng.uniform(size=net.params.size)
        history = net.fit(x, y, threads=threads, **chosen)
        return net.params, history.loss, history.val_loss

    assert len(results_of(train)) == 1


@pytest.mark.parametrize("loss", LOSSES)
def test_values_and_gradients_have_the_same_bits(loss, sizes):
    net, x, y = problem(loss=loss, rows=1003)

    def values(threads):
        return (
            net.predict(x, threads=threads),
            net.loss(x, y, threads=threads),
            *net.loss_and_gradient(x, y, threads=threads),
        )

    assert len(results_of(values)) == 1
    assert set(sizes) == set(COUNTS)


def test_batches_of_several_blocks_have_the_same_bits(sizes):
    def train(threads):
        net, x, y = problem(rows=2500)
        how = {"clip_norm": 0.1, "ema": 0.9, "learning_rate_factors": np.full_like(net.params, 2)}
        history = net.fit(x, y, epochs=3, batch_size=1100, threads=threads, **how)
        trainer = fp.Trainer(net, "adam", penalty=0.1, threads=threads)
        losses = [trainer.partial_fit(x, y, shuffle=True) for _ in range(2)]
        return net.params, history.loss, losses, *net.loss_and_gradient(x, y, threads=threads)

    assert len(results_of(train)) == 1
    assert set(sizes) == set(COUNTS)


@settings(max_examples=25, deadline=None)
@given(
    widths=st.lists(st.integers(1, 70), min_size=2, max_size=4),
    rows=st.integers(1, 9000),
    batch=st.none() | st.integers(50, 9000),
    dtype=st.sampled_from(["float32", "float64"]),
    optimizer=st.sampled_from([fp.SGD(0.01), "adam"]),
)
def test_networks_and_batches_of_any_size_have_the_same_bits(
    widths, rows, batch, dtype, optimizer
):
    def compute(threads):
        net = network(widths, dtype=dtype)
        x, y, *_ = samples(net, rows)
        gradient = net.loss_and_gradient(x, y, threads=threads)
        net.fit(x, y, optimizer=optimizer, epochs=2, batch_size=batch, threads=threads)
        return *gradient, net.predict(x, threads=threads), net.params

    assert len(results_of(compute)) == 1


def test_large_layers_are_updated_in_panels_with_the_same_bits(monkeypatch, sizes):
    monkeypatch.setattr("flatprop.training.stepper.PANEL_PARAMETERS", 700)

    def train(threads):
        net, x, y = problem()
        net.fit(x, y, optimizer="adam", epochs=2, batch_size=64, threads=threads)
        history = net.fit(x, y, epochs=2, batch_size=64, ema=0.9, threads=threads)
        return net.params, history.raw_params

    assert len(results_of(train)) == 1
    assert set(sizes) == set(COUNTS)


def test_a_trainer_has_the_same_bits():
    def train(threads):
        net, x, y = problem()
        trainer = fp.Trainer(net, "adam", penalty=0.1, clip_norm=1.0, threads=threads)
        losses = [trainer.partial_fit(x, y, batch_size=50, shuffle=True) for _ in range(3)]
        return net.params, losses

    assert len(results_of(train)) == 1


def test_a_resumed_training_may_have_another_number_of_threads(tmp_path):
    path = tmp_path / "run.ckpt"

    whole, x, y = problem()
    whole.fit(x, y, epochs=5, batch_size=40, threads=3)
    first, *_ = problem()

    def interrupt(epoch):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(epoch)

    seen = []
    first.fit(x, y, epochs=5, batch_size=40, threads=2, callbacks=[fp.Checkpoint(path), interrupt])
    again, *_ = problem()
    again.fit(x, y, epochs=5, batch_size=40, threads=1, resume=path)
    assert again.params.tobytes() == whole.params.tobytes()


def test_a_divergence_is_found_by_all(sizes):
    def train(threads):
        net, x, y = problem()
        with pytest.warns(fp.DivergenceWarning):
            history = net.fit(
                x, y, optimizer=fp.SGD(1e4), epochs=50, batch_size=64, threads=threads
            )
        assert history.stopped_by == "diverged"
        return net.params, history.loss

    assert len(results_of(train)) == 1


# ---- the team


def test_who_comes_too_late_does_nothing():
    net, x, y = problem()
    block = calls.block_for(net, len(x))
    data = in_memory(net, x, y)
    gradient = np.full(net.params.size, 7.0)
    alone = crew.new_team(1)
    alone[team.JOINED] = team.CLOSED
    losses = np.full(1, 0.25)
    given = *net._arrays, data, 0, data.rows, 1.0, 1, losses, gradient, block
    entry_points.loss_and_gradient(*given, alone, False)
    assert (gradient == 7).all()
    assert losses == 0.25


def test_a_leader_goes_on_without_those_who_do_not_come():
    net, x, y = problem()
    block = calls.block_for(net, len(x))
    data = in_memory(net, x, y)
    gradient = np.zeros(net.params.size)
    lonely = crew.new_team(5, patience=10)
    given = *net._arrays, data, 0, data.rows, 1.0, 1, np.zeros(1), gradient, block
    entry_points.loss_and_gradient(*given, lonely, True)
    assert lonely[team.SIZE] == 1
    expected = net.loss_and_gradient(x, y)[1] * len(x) * net.outputs
    np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-12)


def test_helpers_leave_when_the_leader_is_interrupted_before_it_begins():
    left = threading.Event()

    def call(cells, leads):
        if leads:
            while cells[team.JOINED] == 0:
                time.sleep(0.001)
            raise KeyboardInterrupt
        cells[team.JOINED] += 1
        while cells[team.SIZE] == 0:
            time.sleep(0.001)
        assert cells[team.SIZE] == team.GIVEN_UP
        left.set()

    with crew.using(2), pytest.raises(KeyboardInterrupt):
        crew.together(2, call, (), tuple)
    assert left.wait(600)


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_in_one_thread_ends_all_and_comes_out(failing):
    done, failed = [], threading.Event()

    def call(worker, part):
        if worker == failing:
            failed.set()
            raise OSError(f"of part {part}")
        assert failed.wait(600)
        time.sleep(0.001)
        done.append(part)

    with crew.using(2), pytest.raises(OSError, match="of part"):
        crew.each(2, call, range(10**5))
    assert len(done) < 9 * 10**4


def test_what_no_thread_was_had_for_is_not_done_later(monkeypatch):
    def no_more(thread):
        raise RuntimeError("can't start new thread")

    pool, go_on, done = crew._Pool(), threading.Event(), []
    pool.submit(go_on.wait)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more)
        assert pool.submit(done.append, "too late") is None
    go_on.set()  # now there is an idle thread
    pool._executor.shutdown()
    assert done == []


def test_helpers_that_cannot_be_had_are_not_waited_for(monkeypatch):
    monkeypatch.setattr(crew._pool, "submit", lambda *_: None)
    sizes = []

    def call(cells, leads):
        sizes.append(int(cells[team.WANTED]))

    crew.together(4, call, (), tuple)
    assert sizes == [1]


@pytest.mark.parametrize("threads", [3, 8])
def test_no_thread_is_left_at_work(threads):
    """A helper may be off its processor when the leader ends, and see what the next call does."""

    def nothing_left():
        return all(not thread.name.startswith("flatprop") or idle(thread)
                   for thread in threading.enumerate())  # fmt: skip

    def idle(thread):
        frame = sys._current_frames().get(thread.ident)
        names = []
        while frame is not None:
            names.append(frame.f_code.co_name)
            frame = frame.f_back
        return names[0] == "_worker"

    net, x, y = problem(rows=400)
    weight = np.zeros(len(x))
    weight[::33] = 1.0
    trainer = fp.Trainer(net.copy(), fp.SGD(0.01), threads=threads)
    for _ in range(30):
        options = {"batch_size": 8, "epochs": 3, "callbacks": lambda epoch: None}
        net.fit(x, y, sample_weight=weight, threads=threads, **options)
        trainer.partial_fit(x, y)
        bad = trainer.partial_fit(x, np.full_like(y, 1e300))
        assert not np.isfinite(bad)
    for _ in range(60_000):
        if nothing_left():
            return
        time.sleep(0.01)
    pytest.fail("a thread is still at work")


def test_parts_come_back_in_order():
    with crew.using(3):
        assert crew.each(3, lambda _, part: part**2, range(50)) == [i**2 for i in range(50)]


# ---- how many


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, 10**6])
def test_a_wrong_number_of_threads_is_refused(threads):
    net, x, y = problem()
    before = net.params.copy()
    for call in (
        lambda: net.fit(x, y, threads=threads),
        lambda: net.predict(x, threads=threads),
        lambda: net.loss(x, y, threads=threads),
        lambda: net.loss_and_gradient(x, y, threads=threads),
        lambda: fp.Trainer(net, threads=threads),
    ):
        with pytest.raises((TypeError, ValueError), match="threads"):
            call()
    assert net.params.tobytes() == before.tobytes()


@pytest.fixture
def forgotten(monkeypatch):
    # Both are as they were again afterwards.
    monkeypatch.setitem(processors._remembered, "until", -math.inf)
    monkeypatch.setitem(processors._remembered, "processors", 1)
    monkeypatch.setattr(processors, "LOOK_AGAIN", -math.inf)
    monkeypatch.setattr(processors, "_affinity", lambda: 6)
    monkeypatch.setattr(processors, "_quota", lambda: 100)
    monkeypatch.setattr(processors, "_of_libraries", lambda: 100)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(("text", "count"), [
    ("1", 1), ("3", 3), ("3,2", 3), (" 4 ", 4), ("64", 6), ("", 6), ("0", 6), ("many", 6),
])  # fmt: skip
def test_omp_num_threads_is_a_limit(forgotten, monkeypatch, text, count):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert processors.allowed() == count


def test_so_are_quota_affinity_and_libraries(forgotten, monkeypatch):
    assert processors.allowed() == 6
    monkeypatch.setattr(processors, "_quota", lambda: 4)
    assert processors.allowed() == 4
    monkeypatch.setattr(processors, "_of_libraries", lambda: 2)
    assert processors.allowed() == 2


def test_threadpoolctl_is_asked_once_somebody_uses_it():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    with threadpoolctl.threadpool_limits(1):
        assert processors.allowed() == 1


@pytest.mark.parametrize(("text", "count"), [("max 100000", sys.maxsize), ("150000 100000", 2)])
def test_the_quota_of_the_control_group(tmp_path, monkeypatch, text, count):
    (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr(processors, "CONTROL_GROUP", tmp_path)
    assert processors._quota() == count


def test_the_quota_of_an_old_control_group(tmp_path, monkeypatch):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("250000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    monkeypatch.setattr(processors, "CONTROL_GROUP", tmp_path)
    assert processors._quota() == 3
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert processors._quota() == sys.maxsize


def test_the_processors_are_shared_out():
    budget = processors.Budget()
    with budget.some(4, 4) as first, budget.some(4, 4) as second:
        assert (first, second) == (4, 1)
    with budget.some(1, 4), budget.some(4, 4) as rest:
        assert rest == 3
    with budget.some(8, 2) as asked_for:
        assert asked_for == 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_all_processors():
    with processors.budget.some(5, 8), processors.budget._lock:
        child = os.fork()
        if child == 0:
            with processors.budget.some(8, 8) as granted:
                os._exit(granted)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 8


def _allowed():
    return processors.allowed()


@pytest.mark.slow
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_process_of_a_pool_has_one(method, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    processors.allowed()  # which remembers the answer
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        assert pool.submit(_allowed).result() == 1


def test_small_work_gets_one_thread():
    net = network([2, 4, 1])
    assert calls.threads_worth(net, 4, calls.GRADIENT) == 1
    large = network([256, 256, 10])
    assert calls.threads_worth(large, 256, calls.GRADIENT) >= 2
    assert calls.threads_worth(large, 256, calls.GRADIENT, 0.01) == 1


# ---- one thread, where several are not faster


def sizes_of(pace, seconds, count):
    """What `pace` chooses while a row takes so many seconds with 4 threads and with 1."""
    chosen = []
    for _ in range(count):
        size, part = pace.next_size(4)
        pace.note(size, seconds[size], 1)
        chosen.append((size, part))
    return chosen


def test_the_faster_way_is_kept_and_the_other_one_tried_again():
    pace = crew.Pace()
    quiet, busy = {4: 1.0, 1: 2.0}, {4: 5.0, 1: 2.0}
    begin = sizes_of(pace, quiet, 30)
    assert begin.count((1, crew.Pace.TRIAL)) == 1
    assert begin.count((4, 1.0)) == 29
    sizes_of(pace, quiet, 20)
    with_neighbour = sizes_of(pace, busy, 60)
    assert with_neighbour[0] == (4, 1.0)
    assert with_neighbour[1:].count((1, 1.0)) > 45
    without = sizes_of(pace, quiet, 30)
    assert without[-1] == (4, 1.0)


def test_a_trial_of_one_long_block_comes_later():
    pace, calls = crew.Pace(), []
    while 1 not in calls:
        size, _ = pace.next_size(4, 1)
        pace.note(size, 1.0, 1)
        calls.append(size)
    assert len(calls) > crew.Pace.FIRST / crew.Pace.TRIAL
    assert pace.next_size(4, 1) == (4, 1.0)  # one trial, not one after the other


def test_short_calls_are_measured_together():
    pace = crew.Pace()
    for _ in range(1000):
        assert pace.next_size(4) == (4, 1.0)
        pace.note(4, crew.Pace.LEAST / 1001, 1)


def test_a_number_that_was_asked_for_is_kept():
    pace = crew.Pace()
    pace.note(4, 5.0, 1)
    pace.note(1, 1.0, 1)
    with crew.using(4):
        assert all(pace.next_size(4) == (4, 1.0) for _ in range(100))


# ---- users who thread, fork and interrupt


def test_users_may_thread_too():
    def train(_):
        net, x, y = problem()
        net.fit(x, y, epochs=20, batch_size=64, threads=3)
        return net.params.tobytes()

    expected = train(0)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(train, range(8))) == {expected}


def test_threads_may_share_a_network_for_reading():
    net, x, y = problem(rows=2000)
    expected = net.loss_and_gradient(x, y)[1].tobytes(), net.predict(x).tobytes()

    def both(_):
        gradient = net.loss_and_gradient(x, y, threads=2)[1]
        return gradient.tobytes(), net.predict(x, threads=2).tobytes()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(both, range(20))) == {expected}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own():
    net, x, y = problem()
    expected = net.loss_and_gradient(x, y, threads=3)[1].tobytes()
    child = os.fork()
    if child == 0:
        same = net.loss_and_gradient(x, y, threads=3)[1].tobytes() == expected
        os._exit(0 if same else 1)
    for _ in itertools.repeat(None, 60_000):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.01)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("the child did not end")
    assert status == 0


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_ends_all_threads_of_a_training():
    net, x, y = problem()
    with ctrl_c(0.3):
        history = net.fit(x, y, epochs=10**7, batch_size=64, threads=3)
    assert history.stopped_by == "interrupted"
    before = net.params.copy()
    time.sleep(0.2)
    assert net.params.tobytes() == before.tobytes()
    assert np.isfinite(net.params).all()
