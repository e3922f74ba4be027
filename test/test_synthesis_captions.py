"""Captions against the scene they speak of: each singles out one object, absent ones none."""

import numpy as np

from focus_depth_ros.synthesis.captions import (
    Described,
    Phrase,
    absent_captions,
    captions_of,
    fits,
    may_fit,
)
from focus_depth_ros.synthesis.seen_colours import called, colour_shares
from focus_depth_ros.synthesis.vocabulary import (
    CLASS_WORDS,
    COLOURS,
    GENERIC_NOUN,
    MATERIALS,
    SIZES,
    WORDS,
)

RED_MUG = Described(1, 'mug', 'red', 'ceramic', (0.1, 0.08, 0.1))
BLUE_MUG = Described(2, 'mug', 'blue', 'ceramic', (0.1, 0.08, 0.1))
RED_CUP = Described(3, 'cup', 'red', 'paper', (0.07, 0.07, 0.1))
SMALL_BOX = Described(4, 'carton', 'white', 'paper', (0.05, 0.05, 0.05))
BIG_BOX = Described(5, 'box', 'white', 'paper', (0.3, 0.2, 0.2))
BOTTLE = Described(6, 'bottle', 'green', 'plastic', (0.06, 0.06, 0.3))


def read(caption: str) -> Phrase:
    """The phrase behind a caption, told from its words alone."""
    words = caption.split()
    assert words[0] == 'the'
    kinds = {'size': SIZES, 'colour': COLOURS, 'material': MATERIALS}
    found = {kind: word for word in words[1:-1] for kind, known in kinds.items() if word in known}
    assert len(found) == len(words) - 2
    return Phrase(words[-1], **found)


def test_two_mugs_are_told_apart_by_colour():
    visible = [RED_MUG, BLUE_MUG]
    assert 'the red mug' in captions_of(RED_MUG, visible)
    assert 'the mug' not in captions_of(RED_MUG, visible)
    assert captions_of(BLUE_MUG, visible)[0] == 'the blue mug'


def test_a_synonym_that_fits_another_class_is_not_used():
    captions = captions_of(RED_MUG, [RED_MUG, RED_CUP])
    assert 'the mug' in captions
    assert 'the red cup' not in captions


def test_sizes_compare_with_what_else_the_words_fit():
    visible = [SMALL_BOX, BIG_BOX, BOTTLE]
    assert 'the small white box' in captions_of(SMALL_BOX, visible)
    assert 'the big box' in captions_of(BIG_BOX, visible)
    assert not any('small bottle' in caption for caption in captions_of(BOTTLE, visible))


def test_look_alikes_get_no_caption():
    twin = Described(9, 'mug', 'red', 'ceramic', RED_MUG.extent_m)
    assert captions_of(RED_MUG, [RED_MUG, twin]) == []


def test_size_is_a_things_own_whatever_its_pose():
    """A box turned by 45 degrees has a larger box along the world's axes, and is no bigger."""
    lying = Described(1, 'book', 'red', 'paper', (0.2, 0.2, 0.05), own_extent_m=(0.2, 0.2, 0.05))
    turned = Described(2, 'book', 'red', 'paper', (0.28, 0.28, 0.05), own_extent_m=(0.2, 0.2, 0.05))
    for item in (lying, turned):
        assert captions_of(item, [lying, turned]) == []


def test_what_has_no_noun_may_be_any():
    gizmo = Described(1, 'gizmo', 'red', '', (0.1, 0.1, 0.1))
    absent = absent_captions([gizmo], np.random.default_rng(0), 200)
    assert absent and all(read(caption).colour not in ('', 'red') for caption in absent)
    assert 'the mug' not in captions_of(BLUE_MUG, [gizmo, BLUE_MUG])
    assert 'the blue mug' in captions_of(BLUE_MUG, [gizmo, BLUE_MUG])


def test_what_prints_hide_is_called_by_no_colour():
    printed = Described(7, 'carton', '', 'paper', (0.1, 0.1, 0.1), ('white', 'red'))
    captions = captions_of(printed, [printed, RED_MUG])
    assert captions[0] == 'the carton'
    assert {read(caption).colour for caption in captions} == {''}


def test_a_caption_names_no_colour_that_another_may_be_called():
    also_white = Described(7, 'carton', 'red', 'paper', (0.05, 0.05, 0.05), ('white',))
    captions = captions_of(SMALL_BOX, [SMALL_BOX, also_white])
    assert 'the white carton' not in captions
    assert 'the red carton' in captions_of(also_white, [SMALL_BOX, also_white])
    absent = absent_captions([also_white], np.random.default_rng(0), 200)
    assert 'the white carton' not in absent
    assert 'the red carton' not in absent


def test_sizes_compare_with_what_may_be_meant():
    also_white = Described(7, 'carton', '', 'paper', (0.04, 0.04, 0.04), ('blue', 'white'))
    assert 'the small white carton' not in captions_of(SMALL_BOX, [SMALL_BOX, BIG_BOX, also_white])


def test_an_object_is_called_by_the_colour_that_shows():
    assert called('white', {'white': 0.5, 'red': 0.3, 'blue': 0.2}) == ('white', ('red', 'blue'))
    assert called('white', {'red': 0.7, 'white': 0.3}) == ('', ('white', 'red'))
    assert called('white', {'red': 0.9, 'blue': 0.1}) == ('', ('white', 'red'))


def test_shares_of_colours_are_counted_in_visible_pixels():
    unlit = np.zeros((4, 10, 3), np.uint8)
    unlit[:, :5], unlit[:, 5:8], unlit[:, 8:] = (200, 20, 20), (240, 240, 240), (40, 40, 200)
    ids = np.ones((4, 10), np.uint8)
    ids[:, 9] = 2
    shares = colour_shares(unlit, ids, [1])[1]
    assert list(shares)[:2] == ['red', 'white']
    assert shares['red'] == 5 / 9
    assert shares['blue'] == 1 / 9
    assert sum(shares.values()) == 1.0


def test_captions_of_random_scenes_single_out_their_object():
    rng = np.random.default_rng(0)
    for _ in range(150):
        visible = [
            Described(
                k,
                str(rng.choice(list(CLASS_WORDS)[:8])),
                str(rng.choice(['', *COLOURS[:4]])),
                str(rng.choice(MATERIALS[:3])),
                tuple(rng.uniform(0.03, 0.3, 3)),
                tuple(rng.choice(COLOURS[:4], int(rng.integers(0, 3)))),
            )
            for k in range(1, int(rng.integers(2, 12)))
        ]
        for item in visible:
            for caption in captions_of(item, visible):
                assert set(caption.split()) <= set(WORDS)
                assert fits(read(caption), item, visible)
                assert [o.id for o in visible if may_fit(read(caption), o, visible)] == [item.id]
        for caption in absent_captions(visible, rng):
            assert not any(may_fit(read(caption), item, visible) for item in visible)


def test_words_are_unique_and_complete():
    assert len(set(WORDS)) == len(WORDS)
    assert GENERIC_NOUN in WORDS
    assert all(word in WORDS for words in CLASS_WORDS.values() for word in words)
