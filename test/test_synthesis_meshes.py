"""The user's own meshes: what is read, to which scale, and what is said of broken ones."""

import logging

import numpy as np
import pytest

from focus_depth_ros.synthesis import user_meshes
from focus_depth_ros.synthesis.captions import Described, captions_of
from focus_depth_ros.synthesis.frames import scene_frames
from focus_depth_ros.synthesis.materials import colour_name, named_colour
from focus_depth_ros.synthesis.renderer import Renderer, RendererError
from focus_depth_ros.synthesis.splits import SPLITS, scene_generator, split_of
from focus_depth_ros.synthesis.stock import Stock
from focus_depth_ros.synthesis.user_meshes import MeshError, read_folder, read_mesh
from focus_depth_ros.synthesis.vocabulary import COLOURS, nouns_of

trimesh = pytest.importorskip('trimesh')


def test_a_closed_mesh_keeps_its_size_and_stands(tmp_path):
    path = tmp_path / 'cone.stl'
    trimesh.creation.cone(0.05, 0.2).export(path)
    found = read_mesh(path, 'cone')
    np.testing.assert_allclose(found.mesh.extent_m, [0.1, 0.1, 0.2], atol=2e-3)
    assert found.mesh.lowest_m == pytest.approx(0)
    assert len(found.solids) == 1
    assert found.texture is None


def test_millimetres_are_noticed(tmp_path, caplog):
    path = tmp_path / 'part.obj'
    trimesh.creation.box((120.0, 60, 40)).export(path)
    assert read_mesh(path, 'part').mesh.extent_m[0] == pytest.approx(0.12)
    assert 'part.obj: 120 units across, taken for millimetres' in caplog.text
    trimesh.creation.box((9e4, 9e4, 9e4)).export(path)
    assert read_mesh(path, 'part').mesh.extent_m[0] == pytest.approx(0.15)


def test_gltf_is_turned_upright_and_keeps_its_colour(tmp_path):
    mesh = trimesh.creation.box((0.05, 0.2, 0.05))
    mesh.visual.vertex_colors = np.tile([220, 20, 20, 255], (len(mesh.vertices), 1))
    path = tmp_path / 'post.glb'
    mesh.export(path)
    found = read_mesh(path, 'post')
    assert found.mesh.extent_m[2] == pytest.approx(0.2)
    assert colour_name(found.texture.reshape(-1, 3).mean(axis=0)) == 'red'


def test_a_picture_on_a_mesh_is_kept(tmp_path):
    image = pytest.importorskip('PIL.Image')
    (tmp_path / 'a.obj').write_text(
        'mtllib a.mtl\nusemtl m\nv 0 0 0\nv .1 0 0\nv 0 0 .1\nv 0 .1 0\n'
        'vt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\nf 1/1 3/3 4/2\nf 1/1 4/2 2/3\nf 2/1 4/2 3/3\n'
    )
    (tmp_path / 'a.mtl').write_text('newmtl m\nmap_Kd a.png\n')
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:4] = (0, 0, 250)  # the upper half, where v > 0.5
    image.fromarray(picture).save(tmp_path / 'a.png')
    found = read_mesh(tmp_path / 'a.obj', 'a')
    assert found.texture.shape == (256, 256, 3)
    assert found.texture[10, 10].tolist() == [0, 0, 250]
    top = found.mesh.vertices[:, 2].argmax()
    assert found.mesh.uv[top, 1] == pytest.approx(0)  # texture rows run downwards


def test_an_open_surface_is_drawn_from_both_sides(tmp_path, caplog):
    mesh = trimesh.creation.box((0.1, 0.1, 0.1))
    mesh.update_faces(np.arange(len(mesh.faces)) > 1)
    mesh.export(tmp_path / 'lidless.stl')
    found = read_mesh(tmp_path / 'lidless.stl', 'lidless')
    assert len(found.mesh.faces) == 20
    assert 'lidless.stl: the surface has holes' in caplog.text


def test_separate_pieces_are_separate_solids(tmp_path):
    pair = trimesh.util.concatenate(
        [trimesh.creation.box((0.02, 0.02, 0.1)), trimesh.creation.icosphere(1, 0.02)]
    )
    pair.apply_translation([0, 0, 1])
    pair.export(tmp_path / 'pair.stl')
    apart = trimesh.util.concatenate(
        [pair, trimesh.creation.box((0.02, 0.02, 0.02)).apply_translation([0.1, 0, 1])]
    )
    apart.export(tmp_path / 'apart.stl')
    assert len(read_mesh(tmp_path / 'apart.stl', 'apart').solids) == 3


@pytest.mark.parametrize('extras', [(), ((0.1, 0.1, 0.1),)])
def test_a_tilted_card_is_a_thin_board(tmp_path, extras):
    """Along the world's axes it is not thin at all; a physics engine takes no flat hull."""
    card = trimesh.Trimesh(
        [[0, 0, 0], [0.1, 0, 0], [0.1, 0.1, 0], [0, 0.1, 0]], [[0, 1, 2], [0, 2, 3]]
    )
    card.apply_transform(trimesh.transformations.rotation_matrix(0.7, [1, 2, 0]))
    boxes = [trimesh.creation.box(size).apply_translation([0.3, 0, 0]) for size in extras]
    trimesh.util.concatenate([card, *boxes]).export(tmp_path / 'card.stl')
    solids = read_mesh(tmp_path / 'card.stl', 'card').solids
    assert len(solids) == 1
    for solid in solids:
        points = np.asarray(solid.points)
        assert np.linalg.svd(points - points.mean(0), compute_uv=False).min() > 5e-4


def test_a_link_that_leads_nowhere_leaves_the_others(tmp_path, caplog):
    trimesh.creation.box((0.1, 0.1, 0.1)).export(tmp_path / 'cube.stl')
    (tmp_path / 'gone.stl').symlink_to(tmp_path / 'nowhere.stl')
    (tmp_path / 'scan.PLY').touch()
    assert [mesh.class_name for mesh in read_folder(tmp_path)] == ['cube']
    assert 'gone.stl' in caplog.text and 'scan.PLY; .obj, .stl, .glb are read' in caplog.text


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('', 'cannot be read|holds no triangles'),
        ('v 0 0 0\nv 1 0 0\nv nan 1 0\nf 1 2 3\n', 'not numbers'),
        ('v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n', 'no triangle has an area'),
        ('v 0 0 0\nf 1 2 3\n', 'cannot be read|not there|holds no triangles'),
    ],
)
def test_broken_files_are_named(tmp_path, content, message):
    path = tmp_path / 'broken.obj'
    path.write_text(content)
    with pytest.raises(MeshError, match=rf'broken\.obj: .*({message})'):
        read_mesh(path, 'broken')


def test_huge_files_are_refused(tmp_path, monkeypatch):
    path = tmp_path / 'huge.stl'
    trimesh.creation.icosphere(3).export(path)
    monkeypatch.setattr(user_meshes, 'MOST_TRIANGLES', 1000)
    with pytest.raises(MeshError, match=r'huge\.stl: 1280 triangles; at most 1000\. Simplify'):
        read_mesh(path, 'huge')
    monkeypatch.setattr(user_meshes, 'MOST_BYTES', 1000)
    with pytest.raises(MeshError, match=r'huge\.stl: .* MB; at most'):
        read_mesh(path, 'huge')


def test_a_folder_names_its_classes_and_leaves_broken_ones_out(tmp_path, caplog):
    (tmp_path / 'old_mug').mkdir()
    trimesh.creation.box((0.1, 0.1, 0.1)).export(tmp_path / 'old_mug' / 'a.stl')
    trimesh.creation.box((0.1, 0.1, 0.1)).export(tmp_path / 'gizmo.obj')
    (tmp_path / 'bad.stl').write_bytes(b'x' * 90)
    found = read_folder(tmp_path)
    assert sorted(mesh.class_name for mesh in found) == ['gizmo', 'old_mug']
    assert 'bad.stl' in caplog.text
    (tmp_path / 'old_mug' / 'a.stl').unlink()
    (tmp_path / 'gizmo.obj').unlink()
    with pytest.raises(MeshError, match='none of 1 meshes'):
        read_folder(tmp_path)
    with pytest.raises(MeshError, match='not a folder'):
        read_folder(tmp_path / 'nowhere')


def test_only_words_of_the_vocabulary_are_spoken():
    assert nouns_of('old_mug-3') == ('mug',)
    assert nouns_of('mugs') == nouns_of('CoffeeMug') == ('mug',)
    assert nouns_of('glasses') == ('glass',) and nouns_of('pliers') == ('pliers', 'tool')
    assert nouns_of('gizmo') == ()
    gizmo = Described(1, 'gizmo', 'red', '', (0.1, 0.1, 0.1))
    cup = Described(2, 'cup', 'red', 'paper', (0.1, 0.1, 0.1))
    assert captions_of(gizmo, [gizmo]) == ['the red object']
    assert not any('gizmo' in caption for caption in captions_of(gizmo, [gizmo, cup]))


def test_plain_meshes_keep_to_the_colours_of_their_split(tmp_path):
    trimesh.creation.icosphere(2, 0.06).export(tmp_path / 'old_mug_3.stl')
    meshes = read_folder(tmp_path)
    for split in SPLITS:
        stock, rng = Stock(split, meshes), np.random.default_rng(0)
        things = [stock.pick({'can': 1.0}, rng) for _ in range(200)]
        colours = {thing.colour for thing in things if thing.class_name == 'old_mug_3'}
        owners = {split_of('mug', colour) for colour in colours}
        assert owners <= {'train', split} and len(colours) > 8


def test_a_seam_of_the_texture_is_no_hole(tmp_path, caplog):
    box = trimesh.creation.box((0.1, 0.1, 0.1))
    lines = [f'v {x} {y} {z}' for x, y, z in box.vertices]
    lines += [f'vt {u} {v}' for u in (0.1, 0.9) for v in (0.1, 0.9)]
    lines += [
        'f ' + ' '.join(f'{v + 1}/{1 + (k + n) % 4}' for k, v in enumerate(face))
        for n, face in enumerate(box.faces[:, ::-1])
    ]  # inside out
    (tmp_path / 'cube.obj').write_text('\n'.join(lines))
    mesh = read_mesh(tmp_path / 'cube.obj', 'box').mesh
    assert 'holes' not in caplog.text
    assert len(mesh.faces) == 12
    corners = mesh.vertices[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outwards = corners.mean(axis=1) - [0, 0, 0.05]
    assert ((normals * outwards).sum(axis=1) > 0).all()


def test_colours_are_named_as_they_were_drawn():
    rng = np.random.default_rng(0)
    right = [
        colour_name(255 * named_colour(name, rng)) == name for name in COLOURS for _ in range(20)
    ]
    assert np.mean(right) > 0.97


def test_large_meshes_are_drawn_exactly_among_the_others(tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    trimesh.creation.icosphere(5, 0.06).export(tmp_path / 'globe.stl')  # 20480 triangles
    meshes = read_folder(tmp_path)
    try:
        renderer = Renderer(detail=len(meshes[0].mesh.faces) // 2)
    except RendererError as error:
        pytest.skip(str(error))
    stock = Stock('train', meshes)
    names = [stock.pick({'can': 1.0}, scene_generator('train', 1, k)).class_name for k in range(40)]
    assert 0.4 < names.count('globe') / 40 < 0.8
    for number in range(3):
        for sample in scene_frames(renderer, stock, 3, number, 'table'):
            seen = [item for item in sample.objects if item.class_name == 'globe']
            if seen:
                assert max(seen[0].extent_m) == pytest.approx(0.12, abs=1e-3)
                return
    raise AssertionError('no globe in three scenes')
