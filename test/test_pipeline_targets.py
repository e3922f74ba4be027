"""Which targets are in view, and where in the newest picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from pictures import noise, pan

from focus_depth_ros.core import InvalidInput, Target
from focus_depth_ros.pipeline.targets import TargetsInView
from focus_depth_ros.pipeline.tracking import Patch, _moved


class TestTracking:
    @pytest.mark.parametrize(('dx', 'dy', 'growth'), [(0, 0, 1.0), (7, -4, 1.0), (2, 1, 1.1)])
    def test_a_box_moves_and_grows_with_the_picture(
        self, dx: float, dy: float, growth: float
    ) -> None:
        before = cv2.GaussianBlur(noise(168, 224), (0, 0), 1)
        centre = np.array([110.0, 80.0])
        move = np.array([[growth, 0, 0], [0, growth, 0]])
        move[:, 2] = centre + np.array([dx, dy]) - growth * centre
        after = cv2.warpAffine(before, move, (224, 168), borderMode=cv2.BORDER_REFLECT)
        box = Patch(before, (80, 50, 140, 110)).follow(after)
        half = 30 * growth
        wanted = (110 + dx - half, 80 + dy - half, 110 + dx + half, 80 + dy + half)
        assert box == pytest.approx(wanted, abs=1.5)

    def test_a_thing_that_moves_is_not_held_by_what_stands_still_beside_it(self) -> None:
        before = cv2.GaussianBlur(noise(168, 224, 1), (0, 0), 1)
        after = before.copy()
        thing = cv2.GaussianBlur(noise(50, 50, 2), (0, 0), 1)
        # near the left side, where fewer px lie left of the box than above it
        before[80:130, 4:54], after[76:126, 10:60] = thing, thing
        box = Patch(before, (4, 80, 54, 130)).follow(after)
        assert box == pytest.approx((10, 76, 60, 126), abs=1.5)

    def test_corners_that_do_not_come_back_have_no_say(self) -> None:
        before = cv2.GaussianBlur(noise(168, 224, 1), (0, 0), 1)
        after = np.roll(before, (-4, 7), axis=(0, 1))
        covering = cv2.GaussianBlur(noise(80, 38, 9), (0, 0), 1)
        after[40:120, 80:118] = covering  # two fifths of the box
        found = Patch(before, (80, 50, 140, 110)).follow(after)
        assert found == pytest.approx((87, 46, 147, 106), abs=1.5)

    def test_a_thing_that_is_gone_is_lost(self) -> None:
        before, other = (cv2.GaussianBlur(noise(168, 224, seed), (0, 0), 1) for seed in (0, 5))
        assert Patch(before, (80, 50, 140, 110)).follow(other) is None

    def test_as_many_votes_to_each_side_move_no_box(self) -> None:
        start = np.array([(90, 60), (130, 60), (90, 100), (130, 100), (110, 70), (110, 90)])
        votes = 0.1 * np.array([(1, 1), (-1, -1), (1, -1), (-1, 1), (1, 1), (-1, -1)])
        box = (80.0, 50.0, 140.0, 110.0)
        moved = _moved(box, start.astype(np.float32), (start + votes).astype(np.float32))
        assert (moved[0] + moved[2]) / 2 == pytest.approx(110, abs=1e-4)
        assert (moved[1] + moved[3]) / 2 == pytest.approx(80, abs=1e-4)

    @pytest.mark.parametrize('box', [(20, 90, 180, 150), (-60, 20, 40, 70), (190, 30, 260, 90)])
    def test_what_is_darker_or_blurred_looks_alike_and_another_thing_does_not(
        self, box: tuple[float, float, float, float]
    ) -> None:
        world = cv2.GaussianBlur(noise(168, 224, 3), (0, 0), 2)
        other = cv2.GaussianBlur(noise(168, 224, 4), (0, 0), 2)
        patch = Patch(world, box)
        assert patch.looks_alike(world // 3) and patch.looks_alike(cv2.blur(world, (9, 1)))
        assert not patch.looks_alike(other) and not patch.looks_alike(255 - world)
        assert not patch.looks_alike(np.full_like(world, 99))

    @pytest.mark.parametrize(('share', 'is_alike'), [(0.25, True), (0.6, False)])
    def test_how_much_of_a_thing_has_to_look_alike(self, share: float, is_alike: bool) -> None:
        world = cv2.GaussianBlur(noise(168, 224, 3), (0, 0), 2)
        covered, width = world.copy(), int(160 * share)
        covered[90:150, 20 : 20 + width] = cv2.GaussianBlur(noise(60, width, 4), (0, 0), 2)
        assert Patch(world, (20, 90, 180, 150)).looks_alike(covered) == is_alike

    def test_what_cannot_be_seen_is_lost(self) -> None:
        before = noise(168, 224)
        plain = np.full_like(before, 128)
        assert Patch(before, (80, 50, 140, 110)).follow(plain) is None
        assert Patch(plain, (80, 50, 140, 110)).follow(before) is None
        for outside in ((300, 300, 310, 310), (-40, -40, -30, -30)):
            assert Patch(before, outside).follow(before) is None

    @pytest.mark.parametrize(
        ('before', 'after', 'is_lost'), [(6, 6, False), (5, 5, True), (6, 5, True)]
    )
    def test_fewer_than_six_corners_are_no_majority(
        self, before: int, after: int, is_lost: bool
    ) -> None:
        patch = Patch(dots(before), (80, 50, 140, 110))
        assert (patch.corners is None) == (before < 6)
        assert (patch.follow(dots(after)) is None) == is_lost

    def test_points_about_one_pixel_say_nothing_of_a_size(self) -> None:
        start = np.array([(0, 0), (1, 0), (0, 1), (1, 1), (0.5, 0), (0.5, 1)], np.float32) + 100
        box = (80.0, 50.0, 140.0, 110.0)
        assert _moved(box, start, 3 * start - 200) == pytest.approx((81, 51, 141, 111))


def dots(count: int) -> np.ndarray:
    """A plain picture (168, 224) with so many bright dots between 80, 50 and 140, 110."""
    picture = np.zeros((168, 224), np.uint8)
    for x, y in [(90, 60), (110, 60), (130, 60), (90, 95), (110, 95), (130, 95)][:count]:
        picture[y, x] = 255
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.5) * 8, np.uint8)


class TestTargets:
    def make(self) -> tuple[TargetsInView, list[InvalidInput]]:
        problems: list[InvalidInput] = []
        return TargetsInView(problems.append, 2, 0.1, 1.0), problems

    def test_a_late_detection_is_carried_to_the_newest_picture(self) -> None:
        targets, problems = self.make()
        world = cv2.GaussianBlur(noise(200, 300), (0, 0), 1)
        step_ns = 33_000_000
        for index in range(5):
            grey = np.ascontiguousarray(world[:168, 3 * index : 224 + 3 * index])
            assert targets.locate(10**9 + index * step_ns, grey, (448, 336)) == []
        targets.detect(10**9 + step_ns, [Target('a', 'mug', box=(200, 100, 300, 200), score=0.9)])
        grey = np.ascontiguousarray(world[:168, 15:239])
        (target,) = targets.locate(10**9 + 5 * step_ns, grey, (448, 336))
        assert target.box == pytest.approx((176, 100, 276, 200), abs=3)
        assert not problems

    def test_pictures_of_another_shape_than_what_is_tracked_in(self) -> None:
        targets, problems = self.make()
        size = (640, 360)  # seen in 224x168 cells: 6 cells to the right are 17 px
        targets.locate(10**9, pan(0), size)
        targets.command(Target('box', 'mug', box=(150, 130, 300, 240)), append=False)
        for index in (1, 2):
            (target,) = targets.locate(10**9 + index, pan(3 * index), size)
        assert target.box == pytest.approx((167, 130, 317, 240), abs=3)
        assert not problems

    def test_a_commanded_box_of_an_earlier_picture_is_carried_from_there(self) -> None:
        targets, problems = self.make()
        for index in range(5):
            targets.locate(10**9 + index * 33_000_000, pan(4 * index), (224, 168))
        box = Target('box', 'mug', box=(40, 60, 90, 110))
        targets.command(box, append=False, stamp_ns=10**9)
        (target,) = targets.locate(10**9 + 5 * 33_000_000, pan(20), (224, 168))
        assert target.box == pytest.approx((60, 60, 110, 110), abs=2)
        assert not problems

    def test_what_moved_farther_than_tracking_reaches_is_followed_step_by_step(self) -> None:
        targets, problems = self.make()
        for index in range(13):
            targets.locate(10**9 + index * 33_000_000, pan(5 * index), (224, 168))
        targets.detect(10**9, [Target('a', 'mug', box=(40, 60, 90, 110))])
        (target,) = targets.locate(10**9 + 13 * 33_000_000, pan(65), (224, 168))
        assert target.box == pytest.approx((105, 60, 155, 110), abs=2)
        assert not problems

    def test_a_picture_in_which_a_target_is_lost_is_passed_over(self) -> None:
        targets, problems = self.make()
        for index in range(4):
            picture = np.full((168, 224), 99, np.uint8) if index == 2 else pan(3 * index)
            targets.locate(10**9 + index * 33_000_000, picture, (224, 168))
        targets.detect(10**9, [Target('a', 'mug', box=(40, 60, 90, 110))])
        (target,) = targets.locate(10**9 + 4 * 33_000_000, pan(12), (224, 168))
        assert target.box == pytest.approx((52, 60, 102, 110), abs=2)
        assert not problems

    def test_ids_stay_with_things_that_move_past_late_detections(self) -> None:
        targets, _ = self.make()
        names = set()
        for index in range(24):
            seen = targets.locate(10**9 + index * 33_000_000, pan(3 * index), (224, 168))
            names |= {(t.id, round((t.box[0] - 3 * index) / 20)) for t in seen if t.box}
            if index % 6 == 5:  # of a picture five steps ago: most of the way to the neighbour
                x = 3 * (index - 5)
                boxes = [(x + 40, 60, x + 60, 110), (x + 60, 60, x + 80, 110)]
                stamp_ns = 10**9 + (index - 5) * 33_000_000
                targets.detect(stamp_ns, [Target('', 'mug', box=box) for box in boxes])
        assert names == {('mug_1', 2), ('mug_2', 3)}

    def test_a_commanded_box_that_was_half_outside_comes_back_whole(self) -> None:
        targets, problems = self.make()
        targets.locate(10**9, pan(0), (224, 168))
        targets.command(Target('box', 'mug', box=(30, 60, 90, 110)), append=False)
        shifts = [*range(0, -61, -3), *range(-57, 1, 3)]
        boxes = [
            targets.locate(10**9 + index, pan(shift), (224, 168))[0].box
            for index, shift in enumerate(shifts, 1)
        ]
        assert boxes[20] == pytest.approx((0, 60, 30, 110), abs=2)
        assert boxes[-1] == pytest.approx((30, 60, 90, 110), abs=2)
        assert not problems

    def test_boxes_of_pictures_of_another_size_are_refused(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        targets.locate(10**9, grey, (1280, 720))
        targets.locate(10**9 + 30_000_000, grey, (640, 480))
        late = [Target('a', 'mug', box=(400, 300, 600, 460))]
        with pytest.raises(InvalidInput, match='of a picture of another size'):
            targets.detect(10**9, late)
        targets.detect(10**9 + 20_000_000, late)  # of a picture between: of the new size, we hope
        with pytest.raises(InvalidInput, match='of a picture of another size'):
            targets.command(late[0], append=False, stamp_ns=10**9)
        targets.locate(10**8, grey, (640, 480))  # the clock goes back
        targets.detect(10**8, late)
        assert len(targets.locate(10**8 + 1, grey, (640, 480))) == 1

    def test_detections_of_skipped_pictures_count_in_a_slow_node(self) -> None:
        targets, problems = self.make()
        grey = noise(168, 224)
        for index in range(4):
            seen = targets.locate(10**9 + index * 600_000_000, grey, (224, 168))
            assert len(seen) == min(index, 1)
            stamp_ns = 10**9 + index * 600_000_000 + 250_000_000  # 0.25 s beside, slop 0.1 s
            targets.detect(stamp_ns, [Target('a', 'mug', box=(50, 50, 90, 90))])
        assert not problems
        with pytest.raises(InvalidInput, match='no kept picture within'):
            targets.detect(10**9 - 200_000_000, [Target('a', 'mug', box=(50, 50, 90, 90))])

    def test_each_detection_is_asked_about_once_by_a_camera_that_is_slower_than_the_timeout(
        self,
    ) -> None:
        targets, problems = self.make()
        grey = noise(168, 224)
        for index in range(4):
            stamp_ns = 10**9 + index * 3 * 10**9
            assert len(targets.locate(stamp_ns, grey, (224, 168))) == (index in (1, 2))
            if index < 2:
                targets.detect(stamp_ns, [Target('a', 'mug', box=(50, 50, 90, 90))])
        assert not problems

    def test_after_a_stall_nothing_is_asked_of_what_was_detected_before(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        for pause_s, count in ((4, 1), (6, 0), (600, 0)):
            targets.forget_pictures()
            targets.locate(10**9, grey, (224, 168))
            targets.detect(10**9, [Target('a', 'mug', box=(50, 50, 90, 90))])
            assert len(targets.locate((1 + pause_s) * 10**9, grey, (224, 168))) == count

    def test_a_detector_too_slow_for_the_camera_is_told_so(self) -> None:
        targets, _ = self.make()
        for index in range(70):
            targets.locate(10**9 + index * 33_000_000, noise(168, 224), (224, 168))
        with pytest.raises(InvalidInput, match=r'pictures of the last 1\.9 s are kept'):
            targets.detect(10**9, [Target('a', 'mug', box=(50, 50, 90, 90))])

    def test_after_a_pause_old_detections_do_not_count(self) -> None:
        targets, problems = self.make()
        grey = noise(168, 224)
        targets.locate(10**9, grey, (224, 168))
        targets.detect(
            18 * 10**8, [Target('a', 'mug', box=(50, 50, 90, 90))]
        )  # then nobody listened
        assert targets.locate(31 * 10**9, grey, (224, 168)) == []
        assert 'the nearest is 0.80 s away' in str(problems[0])

    def test_appended_targets_have_names_of_their_own(self) -> None:
        problems: list[InvalidInput] = []
        targets = TargetsInView(problems.append, 4, 0.1, 1.0)
        plain = np.full((168, 224), 99, np.uint8)
        targets.locate(10**9, plain, (224, 168))
        for _ in range(3):
            targets.command(Target('box', '', box=(50, 50, 90, 90)), append=True)
        del targets._commanded[1]  # as one that left the picture
        targets.command(Target('box', '', box=(50, 50, 90, 90)), append=True)
        seen = targets.locate(10**9 + 1, plain, (224, 168))
        assert [target.id for target in seen] == ['box', 'box_2', 'box_3']

    def test_what_is_followed_is_found_after_the_answer(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        targets, _ = self.make()
        calls: list[int] = []
        find = cv2.goodFeaturesToTrack
        monkeypatch.setattr(
            cv2, 'goodFeaturesToTrack', lambda *given: calls.append(1) or find(*given)
        )
        world = cv2.GaussianBlur(noise(200, 300), (0, 0), 1)
        targets.command(Target('a', 'mug', box=(50.0, 50.0, 110.0, 110.0)), append=False)
        for index in range(3):
            grey = np.ascontiguousarray(world[:168, 3 * index : 224 + 3 * index])
            calls.clear()
            (target,) = targets.locate(10**9 + index * 33_000_000, grey, (224, 168))
            assert not calls, 'corners are looked for while an answer waits'
            targets.settle({})
            assert len(calls) == 1
        assert target.box == pytest.approx((44, 50, 104, 110), abs=2)

    def test_a_detection_that_comes_before_its_picture_waits(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        targets.locate(10**9, grey, (224, 168))
        targets.detect(10**9 + 50_000_000, [Target('a', 'mug', box=(50, 50, 90, 90))])
        assert targets.locate(10**9 + 20_000_000, grey, (224, 168)) == []
        assert len(targets.locate(10**9 + 50_000_000, grey, (224, 168))) == 1

    def test_a_detector_that_names_all_alike_still_has_several_targets(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        boxes = [(20, 20, 60, 60), (120, 80, 180, 140)]
        names = set()
        for stamp_ns in (10**9, 10**9 + 100_000_000, 10**9 + 200_000_000):
            targets.locate(stamp_ns, grey, (224, 168))
            targets.detect(stamp_ns, [Target('mug', 'mug', box=box) for box in boxes])
            seen = targets.locate(stamp_ns + 50_000_000, grey, (224, 168))
            names.add(tuple(target.id for target in seen))
        assert names == {('mug_1', 'mug_2')}

    def test_ids_that_are_shared_do_not_change_hands_with_the_scores(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        left, right = (20.0, 50.0, 60.0, 90.0), (120.0, 50.0, 160.0, 90.0)
        names = set()
        for index in range(6):
            targets.locate(10**9 + index, grey, (224, 168))
            boxes = [left, right][:: 1 if index % 2 else -1]  # the surer one first
            targets.detect(10**9 + index, [Target('0', 'cup', box=box) for box in boxes])
            seen = targets.locate(10**9 + index, grey, (224, 168))
            names.add(tuple(sorted((t.box[0] < 100, t.id) for t in seen if t.box)))
        assert len(names) == 1
        own = [Target('cup_3', 'cup', box=left), Target('', 'cup', box=right)]
        for box in ((70.0, 50.0, 110.0, 90.0), (165.0, 50.0, 200.0, 90.0)):  # new things beside
            targets.detect(10**9 + 5, [own[0], Target('', 'cup', box=box)])
            seen = targets.locate(10**9 + 5, grey, (224, 168))
            assert len({target.id for target in seen}) == 2

    def test_boxes_that_cannot_be_used_take_nobodys_place(self) -> None:
        targets, problems = self.make()
        grey = noise(168, 224)
        targets.locate(10**9, grey, (224, 168))
        bad = [Target('', 'cup', box=(900.0 + x, 0.0, 950.0, 20.0)) for x in range(4)]
        good = [Target(name, 'cup', box=(50, 50, 90, 90)) for name in 'abc']
        targets.detect(10**9, [*bad, *good])
        seen = targets.locate(10**9 + 1, grey, (224, 168))
        assert [target.id for target in seen] == ['a', 'b']  # two at most
        assert len(problems) == 4

    def test_a_new_box_is_not_put_where_the_old_ones_mask_is(self) -> None:
        targets, _ = self.make()
        plain = np.full((168, 224), 99, np.uint8)
        for index in range(6):
            stamp_ns = 10**9 + index * 33_000_000
            seen = targets.locate(stamp_ns, plain, (224, 168))
            left = 20.0 if index < 3 else 100.0
            late_ns = stamp_ns - min(index, 1) * 33_000_000  # the detector is a picture behind
            targets.detect(late_ns, [Target('7', 'cup', box=(left, 50, left + 40, 90))])
            targets.settle({target.id: target.box for target in seen if target.box})
        (target,) = targets.locate(10**9 + 2 * 10**8, plain, (224, 168))
        assert target.box == (100, 50, 140, 90)

    @pytest.mark.parametrize('unusable', [1, 3])
    def test_a_target_is_found_again_after_unusable_pictures(self, unusable: int) -> None:
        targets, problems = self.make()
        targets.locate(10**9, pan(0), (224, 168))
        targets.command(Target('box', 'mug', box=(40, 60, 90, 110)), append=False)
        for index in range(1, 6):
            bad = index <= unusable
            picture = np.full((168, 224), 3, np.uint8) if bad else pan(4 * index)
            seen = targets.locate(10**9 + index * 33_000_000, picture, (224, 168))
            assert len(seen) == (0 if bad else 1)
        assert seen[0].box == pytest.approx((60, 60, 110, 110), abs=2)
        assert len(problems) == unusable

    def test_detections_of_now_are_no_future_for_a_slow_node(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        targets, problems = self.make()
        now_ns = [0]
        monkeypatch.setattr('time.monotonic_ns', lambda: now_ns[0])
        grey = noise(168, 224)
        for index in range(3):
            stamp_ns = 10**9 + index * 2_500_000_000
            seen = targets.locate(stamp_ns, grey, (224, 168))
            assert len(seen) == min(index, 1)
            for _ in range(25):  # a picture takes 2.5 s, a detection comes every 0.1 s
                now_ns[0] += 100_000_000
                stamp_ns += 100_000_000
                targets.detect(stamp_ns, [Target('a', 'mug', box=(50, 50, 90, 90))])
        assert not problems
        with pytest.raises(InvalidInput, match='share a clock'):
            targets.detect(stamp_ns + 1_100_000_000, [Target('a', 'mug', box=(50, 50, 90, 90))])

    def test_a_stamped_box_needs_a_picture(self) -> None:
        targets, _ = self.make()
        target = Target('box', 'mug', box=(50, 50, 90, 90))
        with pytest.raises(InvalidInput, match='no picture has come'):
            targets.command(target, append=False, stamp_ns=10**9)
        targets.command(target, append=False)
        assert len(targets.locate(10**9, noise(168, 224), (224, 168))) == 1

    def test_a_late_detection_lives_as_long_as_another(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        for index in range(10):  # the detector needs 0.9 s
            targets.locate(10**9 + index * 10**8, grey, (224, 168))
        targets.detect(10**9, [Target('a', 'mug', box=(50, 50, 90, 90))])
        assert len(targets.locate(10**9 + 15 * 10**8, grey, (224, 168))) == 1

    def test_clearing_forgets_what_waits_for_its_picture(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        targets.locate(10**9, grey, (224, 168))
        targets.detect(10**9 + 50_000_000, [Target('a', 'mug', box=(50, 50, 90, 90))])
        targets.clear()
        assert targets.locate(10**9 + 50_000_000, grey, (224, 168)) == []

    def test_forgotten_pictures_take_along_what_waits_for_the_next(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        targets.locate(10**9, grey, (224, 168))
        targets.detect(10**9 + 50_000_000, [Target('a', 'mug', box=(50, 50, 90, 90))])
        targets.forget_pictures()
        assert targets.locate(10**9 + 50_000_000, grey, (224, 168)) == []

    def test_detections_of_another_clock_count_once_pictures_were_forgotten(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        for stamp_ns in (10 * 10**9, 10**9):
            targets.locate(stamp_ns, grey, (224, 168))
            targets.detect(stamp_ns, [Target('a', 'mug', box=(50, 50, 90, 90))])
            assert len(targets.locate(stamp_ns + 1, grey, (224, 168))) == 1
            targets.forget_pictures()

    def test_a_clock_that_goes_back_takes_boxes_along_and_leaves_words(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        targets.locate(2 * 10**9, grey, (224, 168))
        targets.command(Target('said', 'mug', text='the mug'), append=False)
        targets.command(Target('drawn', 'mug', box=(50, 50, 90, 90)), append=True)
        seen = targets.locate(10**9, grey, (224, 168))
        assert [target.id for target in seen] == ['said']

    def test_detections_beside_a_command_are_not_kept_for_later(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        targets.locate(10**9, grey, (224, 168))
        targets.command(Target('said', 'mug', text='the mug'), append=False)
        targets.detect(10**9, [Target('a', 'mug', box=(50, 50, 90, 90))])
        assert targets.clear() == 1
        assert targets.locate(10**9 + 1, grey, (224, 168)) == []

    def test_no_more_targets_are_commanded_than_the_maximum(self) -> None:
        targets, _ = self.make()
        for _ in range(2):
            targets.command(Target('said', 'mug', text='the mug'), append=True)
        with pytest.raises(InvalidInput, match='already 2 targets, the maximum'):
            targets.command(Target('said', 'mug', text='the mug'), append=True)

    def test_repeated_stamps_are_said(self) -> None:
        targets, problems = self.make()
        for _ in range(2):
            targets.locate(10**9, noise(168, 224), (224, 168))
        assert [problem.kind for problem in problems] == ['image_stamp']

    def test_detections_expire(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        targets.locate(10**9, grey, (224, 168))
        targets.detect(10**9, [Target('a', 'mug', box=(50, 50, 90, 90))])
        assert len(targets.locate(10**9 + 900_000_000, grey, (224, 168))) == 1
        assert targets.locate(10**9 + 1_100_000_000, grey, (224, 168)) == []

    def test_where_nothing_can_be_tracked_the_box_follows_the_mask(self) -> None:
        targets, problems = self.make()
        plain = np.full((168, 224), 99, np.uint8)
        targets.locate(10**9, plain, (224, 168))
        targets.command(Target('box', 'mug', box=(50, 50, 90, 90)), append=False)
        for index in range(1, 4):
            (target,) = targets.locate(10**9 + index, plain, (224, 168))
            assert target.box == (50 + 2 * index - 2, 50, 90 + 2 * index - 2, 90)
            targets.settle({'box': (50 + 2 * index, 50, 90 + 2 * index, 90)})
        assert not problems

    def test_what_is_lost_is_left_out_until_it_is_seen_again(self) -> None:
        targets, problems = self.make()
        targets.locate(10**9, pan(0), (224, 168))
        targets.command(Target('box', 'mug', box=(40, 60, 90, 110)), append=False)
        for index, other in enumerate((noise(168, 224, 7), np.full((168, 224), 99, np.uint8))):
            assert targets.locate(10**9 + 1 + index, other, (224, 168)) == []
        assert [problem.kind for problem in problems] == ['target_lost', 'target_lost']
        assert str(problems[0]).startswith('lost: box (')
        (target,) = targets.locate(10**9 + 3, pan(8), (224, 168))
        assert target.box == pytest.approx((48, 60, 98, 110), abs=1)
        assert targets.is_commanded

    def test_a_lost_detection_is_left_out_in_silence_and_lends_nobody_its_id(self) -> None:
        targets, problems = self.make()
        targets.locate(10**9, pan(0), (224, 168))
        targets.detect(10**9, [Target('', 'mug', box=(40, 60, 90, 110))])
        assert targets.locate(10**9 + 1, noise(168, 224, 7), (224, 168)) == []
        targets.detect(10**9 + 1, [Target('', 'mug', box=(42, 60, 92, 110))])
        (target,) = targets.locate(10**9 + 2, noise(168, 224, 7), (224, 168))
        assert (target.id, problems) == ('mug_2', [])

    @pytest.mark.parametrize('waits', [True, False])
    def test_a_detection_that_is_lost_on_its_way_is_left_out(self, waits: bool) -> None:
        targets, _ = self.make()
        targets.locate(10**9, pan(0), (224, 168))
        detected = 10**9 + (20_000_000 if waits else 0)
        if not waits:
            targets.locate(10**9 + 50_000_000, noise(168, 224, 7), (224, 168))
        targets.detect(detected, [Target('a', 'mug', box=(40, 60, 90, 110))])
        assert targets.locate(10**9 + 100_000_000, noise(168, 224, 7), (224, 168)) == []
        (target,) = targets.locate(10**9 + 133_000_000, pan(4), (224, 168))
        assert target.box == pytest.approx((44, 60, 94, 110), abs=1)

    def test_a_bad_picture_changes_no_id(self) -> None:
        targets, _ = self.make()
        bad = noise(168, 224, 7)
        for index, grey in enumerate((pan(0), pan(2), bad, pan(6))):
            seen = targets.locate(10**9 + index * 33_000_000, grey, (224, 168))
            stamp_ns = 10**9 + (index - 1) * 33_000_000  # of the picture before
            if index in (1, 2):
                box = (40 + 2 * (index - 1), 60, 90 + 2 * (index - 1), 110)
                targets.detect(stamp_ns, [Target('', 'mug', box=box)])
        assert [target.id for target in seen] == ['mug_1']

    def test_of_two_commands_the_lost_one_is_left_out_and_every_lost_one_is_named(self) -> None:
        targets, problems = self.make()
        targets.locate(10**9, pan(0), (224, 168))
        boxes = {'left': (20, 60, 70, 110), 'right': (130, 60, 180, 110)}
        for name, box in boxes.items():
            targets.command(Target(name, '', box=box), append=True)
        half = pan(0)
        half[:, :110] = noise(168, 110, 9)
        (target,) = targets.locate(10**9 + 1, half, (224, 168))
        assert target.id == 'right' and str(problems[0]).startswith('lost: left (')
        assert targets.locate(10**9 + 2, noise(168, 224, 9), (224, 168)) == []
        assert str(problems[1]).startswith('lost: left, right (')

    def test_a_wrong_picture_that_stays_is_no_return(self) -> None:
        targets, _ = self.make()
        targets.locate(10**9, pan(0), (224, 168))
        targets.command(Target('box', 'mug', box=(40, 60, 90, 110)), append=False)
        for index in range(1, 4):
            assert targets.locate(10**9 + index, noise(168, 224, 7), (224, 168)) == []

    def test_a_plain_thing_in_a_noisy_picture_is_there(self) -> None:
        targets, problems = self.make()
        for index in range(12):
            noisy = np.random.default_rng(index).normal(99, 6, (168, 224)).astype(np.uint8)
            seen = targets.locate(10**9 + index, noisy, (224, 168))
            assert len(seen) == (index > 0)
            if not index:
                targets.command(Target('box', 'mug', box=(50, 50, 110, 110)), append=False)
        assert not problems

    def test_boxes_are_named_once(self) -> None:
        targets, _ = self.make()
        targets.locate(10**9, pan(0), (224, 168))
        box = Target('box', 'mug', box=(40, 60, 90, 110))
        words = Target('mug', 'mug', text='the mug')
        mug = Target('mug', 'mug', box=(40, 60, 90, 110))
        assert [targets.command(box, append=False) for _ in range(3)] == ['box', 'box_1', 'box_2']
        assert [targets.command(words, append=False) for _ in range(2)] == ['mug', 'mug']
        names = [targets.command(target, append=False) for target in (mug, words, mug)]
        assert names == ['mug_1', 'mug', 'mug_2']
        first, last = Target('box_2', '', box=mug.box), Target('box_5', '', box=mug.box)
        assert targets.command(first, append=False) == 'box_2_1'
        assert targets.command(last, append=False) == 'box_5'
        names = [targets.command(box, append=False) for _ in range(3)]
        assert names == ['box_3', 'box_4', 'box_6']

    def test_a_box_for_each_picture_takes_no_memory(self) -> None:
        """A tracker of the user's own may name hundreds of thousands."""
        targets, _ = self.make()
        targets.locate(10**9, pan(0), (224, 168))
        box = Target('box', 'mug', box=(40, 60, 90, 110))
        names = {targets.command(box, append=False) for _ in range(500)}
        assert len(names) == 500
        assert len(targets._given_names) == 1

    def test_a_mask_of_the_question_before_does_not_move_a_new_detection(self) -> None:
        targets, _ = self.make()
        for index in range(6):
            targets.locate(10**9 + index, pan(10 * index), (224, 168))
        targets.detect(10**9, [Target('a', 'mug', box=(40, 60, 90, 110))])
        targets.settle({'a': (80, 56, 132, 114)})
        (target,) = targets.locate(10**9 + 6, pan(50), (224, 168))
        assert target.box == pytest.approx((90, 60, 140, 110), abs=0.5)

    def test_a_faint_thing_that_vanishes_is_lost(self) -> None:
        targets, _ = self.make()
        faint = (cv2.GaussianBlur(noise(168, 224), (0, 0), 3).astype(np.float32) - 128) / 7 + 128
        assert 3.5 < faint[60:110, 40:90].std() < 8
        targets.locate(10**9, faint.astype(np.uint8), (224, 168))
        targets.command(Target('box', 'mug', box=(40, 60, 90, 110)), append=False)
        assert targets.locate(10**9 + 1, np.full((168, 224), 128, np.uint8), (224, 168)) == []

    @pytest.mark.parametrize('change', ['darker', 'blurred'])
    def test_what_looks_alike_in_its_place_is_there(self, change: str) -> None:
        targets, problems = self.make()
        targets.locate(10**9, pan(0), (224, 168))
        targets.command(Target('box', 'mug', box=(40, 60, 90, 110)), append=False)
        changed = cv2.GaussianBlur(pan(0), (0, 0), 1.5) // (3 if change == 'darker' else 1)
        (target,) = targets.locate(10**9 + 1, changed, (224, 168))
        assert target.box == pytest.approx((40, 60, 90, 110), abs=1)
        assert not problems

    def followed_then_settled(self, mask_box: tuple[float, ...], shift: int = 20) -> tuple:
        """The box after a pan and a mask, when the picture then stands still."""
        targets, problems = self.make()
        targets.locate(10**9, pan(0), (224, 168))
        targets.command(Target('box', 'mug', box=(40, 60, 90, 110)), append=False)
        targets.locate(10**9 + 1, pan(shift), (224, 168))
        targets.settle({'box': mask_box})
        (target,) = targets.locate(10**9 + 2, pan(shift), (224, 168))
        assert target.box is not None and not problems
        return target.box

    def test_a_tracked_box_goes_towards_its_mask_by_a_part_of_its_way(self) -> None:
        # 20 px followed: no side moves by more than 2, and none beyond the mask's
        found = self.followed_then_settled((66, 61, 102, 106))
        assert found == pytest.approx((62, 61, 108, 108), abs=0.4)

    def test_a_tracked_box_that_stands_still_stays(self) -> None:
        assert self.followed_then_settled((45, 65, 85, 105), 0) == pytest.approx((40, 60, 90, 110))

    def test_a_mask_that_disagrees_with_a_tracked_box_does_not_move_it(self) -> None:
        found = self.followed_then_settled((60, 60, 82, 110))
        assert found == pytest.approx((60, 60, 110, 110), abs=0.4)

    def test_the_mask_of_a_box_that_is_partly_outside_does_not_move_it(self) -> None:
        targets, _ = self.make()
        targets.locate(10**9, pan(0), (224, 168))
        targets.command(Target('box', 'mug', box=(4, 60, 54, 110)), append=False)
        for index, shift in enumerate((0, -10, -10)):
            (target,) = targets.locate(10**9 + 1 + index, pan(shift), (224, 168))
            targets.settle({'box': (0, 62, 40, 108)})
        assert target.box == pytest.approx((0, 60, 44, 110), abs=0.7)

    def test_a_box_of_the_first_picture_is_not_corrected(self) -> None:
        targets, _ = self.make()
        plain = np.full((168, 224), 99, np.uint8)
        targets.command(Target('box', 'mug', box=(50, 50, 90, 90)), append=False)
        targets.locate(10**9, plain, (224, 168))
        targets.settle({'box': (0, 0, 20, 20)})
        (target,) = targets.locate(10**9 + 1, plain, (224, 168))
        assert target.box == (50, 50, 90, 90)

    def test_a_tracked_box_is_not_corrected(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        targets.locate(10**9, grey, (224, 168))
        targets.command(Target('box', 'mug', box=(50, 50, 90, 90)), append=False)
        targets.locate(10**9 + 1, grey, (224, 168))
        targets.settle({'box': (0, 0, 20, 20)})
        (target,) = targets.locate(10**9 + 2, grey, (224, 168))
        assert target.box == pytest.approx((50, 50, 90, 90))

    def test_a_command_that_left_the_picture_does_not_give_way_to_detections(self) -> None:
        targets, _ = self.make()
        world = cv2.GaussianBlur(noise(168, 400), (0, 0), 1)
        left = lambda shift: np.ascontiguousarray(world[:, shift : shift + 224])  # noqa: E731
        targets.locate(10**9, left(0), (224, 168))
        targets.command(Target('box', 'mug', box=(4, 50, 30, 90)), append=False)
        for index in range(1, 12):
            seen = targets.locate(10**9 + index, left(3 * index), (224, 168))
        assert all(target.label == 'mug' for target in seen)
        targets.detect(10**9 + 11, [Target('', 'bowl', box=(50, 50, 90, 90))])
        seen = targets.locate(10**9 + 12, left(33), (224, 168))
        assert all(target.label == 'mug' for target in seen)
        targets.clear()
        targets.detect(10**9 + 12, [Target('', 'bowl', box=(50, 50, 90, 90))])
        (target,) = targets.locate(10**9 + 13, left(33), (224, 168))
        assert target.label == 'bowl'

    def test_a_box_that_no_picture_holds_is_no_command(self) -> None:
        targets, complaints = self.make()
        grey = noise(168, 224)
        targets.command(Target('box', '', box=(5000, 5000, 5100, 5100)), append=False)
        assert targets.locate(10**9, grey, (224, 168)) == []
        assert 'lies outside the 224x168 picture' in str(complaints[-1])
        targets.detect(10**9, [Target('', 'bowl', box=(50, 50, 90, 90))])
        (target,) = targets.locate(10**9 + 1, grey, (224, 168))
        assert target.label == 'bowl' and not targets.is_commanded

    def test_after_a_short_step_back_of_the_clock_detections_count(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        for index in range(3):
            targets.locate(10**9 + index * 10**8, grey, (224, 168))
        targets.detect(10**9 + 2 * 10**8, [Target('old', 'mug', box=(50, 50, 90, 90))])
        targets.locate(10**9, grey, (224, 168))
        targets.detect(10**9, [Target('new', 'mug', box=(50, 50, 90, 90))])
        assert [t.id for t in targets.locate(10**9 + 1, grey, (224, 168))] == ['new']

    def test_ids_stay_with_their_objects(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        left, right = (20.0, 50.0, 60.0, 90.0), (120.0, 50.0, 160.0, 90.0)
        targets.locate(10**9, grey, (224, 168))
        targets.detect(10**9, [Target('', 'mug', box=left), Target('', 'mug', box=right)])
        first = {t.box[0] < 100: t.id for t in targets.locate(10**9 + 1, grey, (224, 168)) if t.box}
        targets.detect(10**9 + 1, [Target('', 'mug', box=right), Target('', 'mug', box=left)])
        second = {
            t.box[0] < 100: t.id for t in targets.locate(10**9 + 2, grey, (224, 168)) if t.box
        }
        assert first == second
        assert len(set(first.values())) == 2

    def test_an_id_stays_with_its_class(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        targets.locate(10**9, grey, (224, 168))
        names = []
        for index, label in enumerate(('mug', 'bowl')):
            targets.detect(10**9 + index, [Target('', label, box=(20, 50, 60, 90))])
            names += [seen.id for seen in targets.locate(10**9 + 1 + index, grey, (224, 168))]
        assert names == ['mug_1', 'bowl_2']

    def test_older_detections_do_not_replace_newer_ones(self) -> None:
        targets, _ = self.make()
        grey = noise(168, 224)
        for index in range(3):
            targets.locate(10**9 + index, grey, (224, 168))
        targets.detect(10**9 + 2, [Target('new', 'mug', box=(50, 50, 90, 90))])
        targets.detect(10**9 + 1, [Target('old', 'mug', box=(50, 50, 90, 90))])
        assert [t.id for t in targets.locate(10**9 + 3, grey, (224, 168))] == ['new']
