from pathlib import Path

from stackd.cli.target import target


def test_a_data_folder_behind_a_link_is_the_folder_itself(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    assert target(tmp_path / "link" / "data", None).data == real.resolve() / "data"
