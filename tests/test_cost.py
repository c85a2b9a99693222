"""What takes more than a minute is announced once, after its first part."""

from leyden import cost
from leyden.cost import announce_cost, format_duration


def test_a_long_loop_is_announced_after_its_first_item(capsys, monkeypatch):
    clock = iter([0.0, 7.0])  # is read no more often than that
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(clock))
    loop = announce_cost(range(20), "evaluate", "robustness on 512 images")
    assert next(loop) == 0
    assert capsys.readouterr().err == ""
    assert list(loop) == list(range(1, 20))
    assert capsys.readouterr().err == "evaluate: robustness on 512 images: about 2 minutes\n"


def test_a_loop_of_short_items_is_announced_once_some_of_them_are_done(capsys, monkeypatch):
    clock = iter([0.0, 0.5, 1.0, 1.5, 2.0])
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(clock))
    assert len(list(announce_cost(range(400), "prepare", "reading 400 files"))) == 400
    assert capsys.readouterr().err == "prepare: reading 400 files: about 3 minutes\n"


def test_a_short_loop_is_not_announced(capsys):
    assert list(announce_cost("abc", "evaluate", "three letters")) == ["a", "b", "c"]
    assert list(announce_cost([], "evaluate", "nothing")) == []
    assert capsys.readouterr().err == ""


def test_durations():
    assert [format_duration(seconds) for seconds in (61, 170, 7000, 9000)] == [
        *("1 minute", "3 minutes", "117 minutes", "2 hours")
    ]
