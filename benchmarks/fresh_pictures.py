"""How old answers are when a node slower than its camera waits for fresher pictures: a simulation.

    python benchmarks/fresh_pictures.py [--pictures 4000]

A camera gives a picture each period, a worker takes 1 to 3 periods for one. When it is done and the
newest picture is older than a share of the period, it waits for the next one, as
`node/newest_picture.py` does with a share of one half. Told, against a worker that always takes the
picture at hand: the mean age of the newest answer there is at any time, the median latency of the
answers, their number.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from focus_depth_ros.node.newest_picture import STALE_SHARE

PERIODS_MS = (11.0, 16.7, 33.3)
WORKS = (1.05, 1.2, 1.5, 1.8, 2.2, 3.0)
"""Of the period."""
SHARES = (STALE_SHARE, 0.25, 0.1)
NEVER = np.inf
JITTER_MS, WORK_SPREAD_MS = 0.5, 1.5


@dataclass(frozen=True)
class Freshness:
    """Mean age of the newest answer and median latency, ms; how many pictures were answered."""

    age_ms: float
    latency_ms: float
    answers: int


def simulate(period_ms: float, work_ms: float, stale_share: float, pictures: int) -> Freshness:
    """One camera and one worker."""
    rng = np.random.default_rng(0)
    arrivals = np.sort(np.arange(pictures) * period_ms + rng.normal(0, JITTER_MS, pictures))
    taken, ended, now = [], [], 0.0
    last = -1
    while True:
        newest = int(np.searchsorted(arrivals, now, side='right')) - 1
        if newest <= last or now - arrivals[newest] > stale_share * period_ms:
            newest += 1
            if newest == pictures:
                break
            now = arrivals[newest]
        last = newest
        now += max(1.0, work_ms + rng.normal(0, WORK_SPREAD_MS))
        taken.append(arrivals[newest])
        ended.append(now)
    latency, end = np.subtract(ended, taken), np.array(ended)
    between = np.diff(end)
    age = np.sum(between * (latency[:-1] + between / 2)) / between.sum()
    return Freshness(float(age), float(np.median(latency)), len(taken))


def main() -> None:
    """Print a row for each period and work."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--pictures', type=int, default=4000)
    pictures = parser.parse_args().pictures
    print('against the picture at hand, %: age of the newest answer / latency / answers')
    print('period, work, ms | ' + ' | '.join(f'waits past {share:g} periods' for share in SHARES))
    for period in PERIODS_MS:
        for work in WORKS:
            at_once = simulate(period, work * period, NEVER, pictures)
            cells = []
            for share in SHARES:
                one = simulate(period, work * period, share, pictures)
                changes = (
                    one.age_ms / at_once.age_ms,
                    one.latency_ms / at_once.latency_ms,
                    one.answers / at_once.answers,
                )
                cells.append(' / '.join(f'{100 * (change - 1):+.0f}' for change in changes))
            print(f'{period:g}, {work * period:.0f} | ' + ' | '.join(cells))


if __name__ == '__main__':
    main()
