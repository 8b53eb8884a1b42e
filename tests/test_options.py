import json

import pytest
from pydantic import Field, ValidationError

from milmer.options import Options, execution


class Inner(Options):
    depth: int = 1
    threads: int = execution(2, ge=1)


class Outer(Options):
    name: str | None = "x"
    share: float = Field(0.5, ge=0, le=1)
    inner: Inner = Inner()


def test_how_it_runs_is_left_out_at_every_depth():
    assert Outer().result() == {"name": "x", "share": 0.5, "inner": {"depth": 1}}
    assert Outer().result_json() == '{"inner":{"depth":1},"name":"x","share":0.5}'


def test_the_same_options_in_another_order_or_as_text_are_the_same_string():
    first = Outer.model_validate({"share": "0.25", "inner": {"depth": "3"}})
    second = Outer.model_validate({"inner": {"depth": 3}, "share": 0.25})
    assert first.result_json() == second.result_json()


def test_what_was_written_is_read_back():
    options = Outer(name=None, inner={"depth": 4})
    assert Outer.from_json(options.result_json()) == options


@pytest.mark.parametrize("null", ["null", "~", None])
def test_null_may_be_text(null):
    assert Outer.model_validate({"name": null}).name is None


@pytest.mark.parametrize(
    "wrong",
    [{"nam": 1}, {"share": 2}, {"share": "nan"}, {"share": "inf"}, {"inner": {"threads": 0}}],
)
def test_what_is_unknown_out_of_bounds_or_not_finite_is_refused(wrong):
    with pytest.raises(ValidationError):
        Outer.model_validate(wrong)
    with pytest.raises(ValidationError):
        Outer().updated(wrong)
    with pytest.raises(ValidationError):
        Outer.from_json(json.dumps(wrong))


def test_a_changed_copy_leaves_the_original():
    options = Outer()
    assert options.updated({"share": 1}).share == 1
    assert options.share == 0.5
    assert options.updated(None) == options
    with pytest.raises(ValidationError):
        options.share = 1
