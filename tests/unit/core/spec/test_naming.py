import pytest

from stackd.core.spec.naming import is_skipped_folder, is_stack_file, stack_name


@pytest.mark.parametrize(
    "path",
    ["shop.stack.yml", "a/b/shop.stack.yaml", "stack.yml", "x/compose.yaml", "docker-stack.yml"],
)
def test_stack_files(path: str) -> None:
    assert is_stack_file(path)


@pytest.mark.parametrize(
    "path",
    [
        "shop.yml",
        ".stack.yml",
        "docker-compose.yml",
        "stack.yml.bak",
        "stackd.yml",
        ".github/stack.yml",
        "node_modules/x/compose.yml",
        "a/vendor/stack.yml",
    ],
)
def test_other_files(path: str) -> None:
    assert not is_stack_file(path)


def test_folders_that_are_skipped() -> None:
    assert [is_skipped_folder(f) for f in (".git", "vendor", "node_modules", "vendors")] == [
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("deploy/shop.stack.yml", "shop"),
        ("My Shop_2.stack.yaml", "my-shop-2"),
        ("shop.yml", "shop"),
        ("a/shop/stack.yml", "shop"),
        ("a/Shop.v2/compose.yaml", "shop-v2"),
        ("docker-stack.yml", "repo"),
        ("./stack.yml", "repo"),
        ("../stack.yml", "repo"),
        ("-", ""),
    ],
)
def test_derived_names(path: str, name: str) -> None:
    assert stack_name(path, root_name="Repo") == name


def test_option_wins_over_file_and_file_over_path() -> None:
    assert stack_name("a.stack.yml", declared="b", option="c") == "c"
    assert stack_name("a.stack.yml", declared="b") == "b"
    assert stack_name("-", option="c") == "c"
