"""No scene, mesh, texture, nor combination of colour and class asked for is in two splits."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from focus_depth_ros.datasets.catalogue import open_dataset
from focus_depth_ros.datasets.frame import DatasetError
from focus_depth_ros.synthesis import objects, splits, surroundings
from focus_depth_ros.synthesis.objects import RECIPES, make_thing
from focus_depth_ros.synthesis.sample import Sample, SceneObject, write_sample
from focus_depth_ros.synthesis.splits import (
    SPLITS,
    Split,
    allowed_colours,
    asset_seed,
    names_kept_combination,
    scene_generator,
    split_of,
)
from focus_depth_ros.synthesis.vocabulary import CLASS_WORDS, COLOURS


def whose_asset(seed: int) -> Split:
    """The rule, said once more: multiples of ten are kept, the even ones for test."""
    if seed % 10:
        return 'train'
    return 'test' if seed % 20 == 0 else 'validation'


def test_scenes_of_one_number_differ_between_splits_seeds_and_numbers() -> None:
    first = {
        (split, seed, scene): tuple(scene_generator(split, seed, scene).integers(1 << 60, size=2))
        for split in SPLITS
        for seed in range(4)
        for scene in range(50)
    }
    assert len(set(first.values())) == len(first)


@pytest.mark.parametrize('split', SPLITS)
def test_every_mesh_and_texture_is_the_splits_own(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    drawn = {asset_seed(split, rng) for _ in range(2000)}
    assert {whose_asset(seed) for seed in drawn} == {split}
    assert len(drawn) > 1900  # of many, not of a few
    used: list[int] = []

    def recorded(split: Split, rng: np.random.Generator) -> int:
        used.append(asset_seed(split, rng))
        return used[-1]

    for module in (objects, surroundings):
        monkeypatch.setattr(module, 'asset_seed', recorded)
    for class_name in ('carton', 'mug', 'can'):
        make_thing(split, class_name, rng)
    assert len(used) == 6  # a mesh and a texture each
    assert {whose_asset(seed) for seed in used} == {split}


def test_nothing_but_the_rule_draws_assets() -> None:
    """Meshes and textures come from `asset_seed` wherever a generator is made in the synthesis."""
    folder = Path(splits.__file__).parent
    makers = {
        f'{path.name}: {line.strip()}'
        for path in folder.glob('*.py')
        for line in path.read_text(encoding='utf-8').splitlines()
        if 'default_rng(' in line and 'asset_seed(' not in line
    }
    others = {'splits.py', 'view.py', 'frames.py'}  # the rule, a palette, a depth camera's noise
    assert {line.split(':')[0] for line in makers} <= others, makers


def test_colours_of_a_class_are_trains_or_the_splits_own() -> None:
    palettes = (objects._WOODS, objects._METALS)
    for class_name, recipe in RECIPES.items():
        for candidates in (recipe.colours, *palettes):
            for split in SPLITS:
                found = allowed_colours(split, class_name, candidates)
                assert found
                owners = [split_of(class_name, colour) for colour in found]
                assert set(owners) <= {'train', split}
                if split in owners and split != 'train':  # its own come up often
                    assert 0.3 < owners.count(split) / len(owners) <= 0.5
    with pytest.raises(ValueError, match='no colour of'):
        allowed_colours('test', 'carton', ('red',))


def test_every_class_has_something_new_in_test() -> None:
    owners = {(name, colour): split_of(name, colour) for name in CLASS_WORDS for colour in COLOURS}
    for class_name in CLASS_WORDS:
        of_class = [owners[class_name, colour] for colour in COLOURS]
        assert of_class.count('test') == 1
        assert of_class.count('train') >= 10
    assert list(owners.values()).count('validation') >= 10


def test_captions_that_name_a_kept_combination_are_known() -> None:
    for class_name, nouns in CLASS_WORDS.items():
        for colour in COLOURS:
            kept = split_of(class_name, colour) != 'train'
            for noun in nouns:
                shared = any(
                    noun in others and split_of(name, colour) != 'train'
                    for name, others in CLASS_WORDS.items()
                )
                assert names_kept_combination(f'the small {colour} metal {noun}') == shared
                assert shared or not kept
    class_name, colour = combination('test')
    assert names_kept_combination(f'the object left of the {colour} {class_name}')
    assert not names_kept_combination(f'the {colour} object left of the {class_name}')


def test_a_named_colour_keeps_to_its_twin() -> None:
    """Look-alikes are asked for by colour: they take one that was drawn by the rule before."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        first = make_thing('train', 'carton', rng)
        assert split_of('carton', first.colour) == 'train'
        assert make_thing('train', 'carton', rng, first.colour).colour == first.colour


def combination(split: Split) -> tuple[str, str]:
    found = ((n, c) for n in CLASS_WORDS for c in COLOURS if split_of(n, c) == split)
    return next(found)


def sample(*combinations: tuple[str, str]) -> Sample:
    """One object of 20 x 20 px for each combination."""
    ids = np.zeros((240, 320), np.uint8)
    shown = []
    for number, (class_name, colour) in enumerate(combinations, 1):
        left = 40 * number
        ids[100:120, left : left + 20] = number
        box = (float(left), 100.0, left + 20.0, 120.0)
        shown.append(SceneObject(number, class_name, colour, 'wood', box, 400, ['the thing']))
    return Sample(
        rgb=np.zeros((240, 320, 3), np.uint8),
        depth_m=np.ones((240, 320), np.float32),
        ids=ids,
        boundary=np.zeros((240, 320), np.uint8),
        K=np.eye(3),
        objects=shown,
    )


def test_the_benchmark_asks_only_for_a_splits_own(tmp_path: Path) -> None:
    asked = {}
    own = (combination(split) for split in SPLITS)
    everything = sample(*own, ('samovar', 'red'), ('carton', ''))
    for split in SPLITS:
        folder = tmp_path / split
        folder.mkdir()
        with tarfile.open(folder / f'{split}-000000.tar', 'w') as shard:
            write_sample(shard, 'a', everything)
            write_sample(shard, 'b', replace(everything, objects=[], ids=everything.ids * 0))
        (frame,) = open_dataset('fde_bench', folder)  # the second frame asks for nothing
        assert frame.group == f'FDE-Bench {split}'
        asked[split] = set(frame.captions)
    assert asked == {'train': {1}, 'validation': {2}, 'test': {3}}
    (tmp_path / 'test' / 'test-000000.tar').rename(tmp_path / 'test' / 'mine.tar')
    with pytest.raises(DatasetError, match='mine/0 is of no split'):
        list(open_dataset('fde_bench', tmp_path / 'test'))
