"""The slot between executor and worker: the newest wins, a fresh one if the worker is slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from focus_depth_ros.node.newest_picture import NewestPicture


@contextmanager
def camera(pictures: NewestPicture[float], period_s: float) -> Iterator[None]:
    """Puts the time, as a picture, every `period_s`."""
    ends = threading.Event()

    def put() -> None:
        while not ends.wait(period_s):
            pictures.put(time.monotonic())

    thread = threading.Thread(target=put)
    thread.start()
    yield
    ends.set()
    thread.join()


def ages_s(pictures: NewestPicture[float], work_s: float, count: int) -> list[float]:
    """How old each picture was when a worker of `work_s` took it."""
    ages = []
    for _ in range(count):
        taken = pictures.take()
        assert taken is not None
        ages.append(time.monotonic() - taken)
        pictures.let_others_run()
        time.sleep(work_s)
    return ages


def test_the_newest_wins_and_what_it_replaces_is_told() -> None:
    pictures = NewestPicture[str]()
    assert [pictures.put('first'), pictures.put('second')] == [False, True]
    assert pictures.take() == 'second'
    assert not pictures.put('third')


def test_a_worker_slower_than_the_camera_gets_pictures_that_have_just_come() -> None:
    pictures = NewestPicture[float]()
    with camera(pictures, period_s=0.04):
        ages = ages_s(pictures, work_s=0.07, count=14)
    assert np.median(ages[3:]) < 0.01  # taken at once they are 0.02 s old on the mean


def test_a_worker_that_keeps_up_takes_what_there_is() -> None:
    pictures = NewestPicture[float]()
    with camera(pictures, period_s=0.1):
        ages_s(pictures, work_s=0.01, count=5)
        time.sleep(0.15)  # held up once: a picture waits, for more than half a period
        start = time.monotonic()
        (age,) = ages_s(pictures, work_s=0.0, count=1)
        waited = time.monotonic() - start
    assert age > 0.05
    assert waited < 0.015  # the next picture is 0.04 s away


def test_the_last_picture_is_taken_although_none_follows() -> None:
    pictures = NewestPicture[float]()
    with camera(pictures, period_s=0.04):
        ages_s(pictures, work_s=0.07, count=4)
        time.sleep(0.03)
    last = pictures.take()
    assert last is not None
    assert time.monotonic() - last < 0.2


def test_nobody_rests_long_for_a_worker_that_died() -> None:
    pictures = NewestPicture[str]()
    worker = threading.Thread(target=pictures.take)  # and never lets others run
    worker.start()
    while not pictures._is_awaited:
        time.sleep(0.001)
    start = time.monotonic()
    pictures.put('first')
    assert time.monotonic() - start < 0.5
    worker.join()


def test_closing_ends_a_wait() -> None:
    pictures = NewestPicture[str]()
    threading.Timer(0.05, pictures.close).start()
    start = time.monotonic()
    assert pictures.take() is None
    assert 0.04 < time.monotonic() - start < 0.5
