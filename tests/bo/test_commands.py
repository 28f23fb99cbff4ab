"""A command line with placeholders."""

import pytest

from bo.commands import Command


@pytest.mark.parametrize(
    ("text", "point", "words"),
    [
        ("prog --v {x} {s}", {"x": -1.0}, ["prog", "--v", "-1.0"]),
        ("prog {x} --s {s} {t}", {"x": -1, "s": -2}, ["prog", "-1", "--s", "-2"]),
        ("prog --s {s} {t}", {"t": 1}, ["prog", "1"]),
        ("prog --s {s} {t}", {}, ["prog"]),
        ("prog --s={s} -t {t}", {"t": -3}, ["prog", "-t", "-3"]),
        ("prog -a {s} -b {t}", {}, ["prog"]),
        ("prog in {s}", {}, ["prog", "in"]),
        ("prog --{s} {t}", {"s": "mode"}, ["prog", "--mode"]),
    ],
)
def test_a_flag_goes_with_its_inactive_value_and_no_value_goes_with_another(text, point, words):
    assert Command.parse(text).fill(point) == words
