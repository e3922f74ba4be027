"""The page of results is generated, never typed."""

from load_script import ROOT, load_script


def test_the_page_is_what_the_measured_files_make() -> None:
    written = (ROOT / 'docs' / 'results.md').read_text(encoding='utf-8')
    assert written == load_script('benchmarks/results.py').page()
    for title in ('The node, ', 'The engine, ', 'Cores', 'The built-in model compact', 'The demo'):
        assert f'## {title}' in written
    assert 'All else over the network, p50: every output ' in written
