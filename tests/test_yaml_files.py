"""The YAML loader accepts plain values only, and every other document is a YAMLError."""

import pytest
import yaml

from leyden.yaml_files import load_yaml


@pytest.mark.parametrize(
    "text",
    [
        "a: !!int x",
        "a: !!int ''",
        "a: !!float 1:x",
        "a: !!bool maybe",
        "a: !!timestamp x",
        "a: !!timestamp 2020-01-01",
        "a: !!binary eA==",
        "a: !!set {x, y}",
        "a: !!omap [x: 1]",
        "a: !own x",
        "a: " + "9" * 5000,
        "a: \udcff",
    ],
)
def test_values_that_are_not_plain_are_refused(text):
    with pytest.raises(yaml.YAMLError):
        load_yaml(text)


def test_tags_of_plain_values_are_allowed():
    assert load_yaml("{a: !!str 1, b: !!int '2', c: !!float 3, d: !!null '', e: !!map {}, f: !!seq []}") == {
        "a": "1",
        "b": 2,
        "c": 3.0,
        "d": None,
        "e": {},
        "f": [],
    }


@pytest.mark.parametrize("value", ["!!int x", "!!timestamp x", "!!bool maybe", "!!set {1}", "9" * 5000])
def test_a_config_with_such_a_value_is_one_line(value, tmp_path, error_of):
    (tmp_path / "c.yaml").write_text(f"seed: {value}")
    assert "expected valid YAML in" in error_of("prepare", f"--config={tmp_path}/c.yaml")


def test_a_config_with_tags_of_plain_values_is_read(tmp_path, error_of):
    (tmp_path / "c.yaml").write_text("seed: !!int '3'")
    assert "expected a folder of images" in error_of("prepare", f"--config={tmp_path}/c.yaml", f"--data={tmp_path}/no")
