"""A budget in minutes or tokens: the rate comes to its end when it does, and interruptions cost none of it."""

from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerControl, get_scheduler

from compress import budgets
from compress.budgets import TICKS, Minutes, Tokens, stretch


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(budgets.time, "monotonic", lambda: now.seconds)
    return now


def step(limit, clock, seconds):
    control = TrainerControl()
    clock.seconds += seconds
    limit.on_step_end(None, None, control)
    return control


@pytest.fixture
def limit(clock):
    found = Minutes(10.0)
    found.on_train_begin(None, None, None)
    return found


def test_it_ends_when_the_minutes_do(limit, clock):
    assert not step(limit, clock, 599).should_training_stop
    control = step(limit, clock, 1)
    assert control.should_training_stop
    assert control.should_evaluate
    assert control.should_save
    assert control.should_log


@pytest.mark.parametrize(("minutes", "looks"), [(0.5, 1), (10.0, 10), (60.0, 20)])
def test_it_logs_a_hundred_times_and_looks_twenty_times_or_once_a_minute(clock, minutes, looks):
    limit = Minutes(minutes)
    limit.on_train_begin(None, None, None)
    controls = [step(limit, clock, minutes / 10) for _ in range(600)]
    assert sum(control.should_log for control in controls) == pytest.approx(100, abs=2)
    assert sum(control.should_evaluate for control in controls) == pytest.approx(looks, abs=1)


def test_tokens_are_those_that_were_read():
    limit = Tokens(1000)
    control = TrainerControl()
    limit.on_step_end(None, SimpleNamespace(num_input_tokens_seen=400), control)
    assert (limit.fraction, control.should_training_stop) == (0.4, False)
    limit.on_step_end(None, SimpleNamespace(num_input_tokens_seen=1010), control)
    assert (limit.fraction, control.should_training_stop) == (1.0, True)
    assert str(limit) == "1,000 tokens"


def test_an_interruption_costs_no_minutes(limit, clock):
    step(limit, clock, 240)
    resumed = Minutes.from_state(limit.state())
    clock.seconds += 10_000  # nobody works
    resumed.on_train_begin(None, None, None)
    assert resumed.fraction == 0.4
    step(resumed, clock, 60)
    assert resumed.fraction == 0.5


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_the_rate_follows_the_clock(limit, clock, kind):
    """0 at the last minute however few steps there were, and as the schedule has it on the way."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    usual = get_scheduler(kind, optimizer, num_warmup_steps=TICKS // 10, num_training_steps=TICKS)
    expected = [2.0 * usual.lr_lambdas[0](int(share * TICKS)) for share in (0.05, 0.1, 0.5, 1.0)]
    schedule = stretch(usual, lambda: limit)
    found = []
    for seconds in (30, 30, 240, 300):
        step(limit, clock, seconds)
        optimizer.step()
        schedule.step()
        found.append(optimizer.param_groups[0]["lr"])
    assert found == pytest.approx(expected)
    assert found[0] == pytest.approx(1.0)
    assert found[-1] == 0
