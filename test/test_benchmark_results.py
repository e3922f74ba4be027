"""The page of results is generated, never typed."""

from load_script import ROOT, load_script


def test_the_page_is_what_the_measured_files_make() -> None:
    written = (ROOT / 'docs' / 'results.md').read_text(encoding='utf-8')
    assert written == load_script('benchmarks/results.py').page()
    assert 'Not measured.' not in written
    assert 'All else over the network, p50: every output ' in written
