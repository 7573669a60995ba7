"""Plans and buffers: running, failing, counting, and going on."""

import gc
from types import SimpleNamespace
from typing import Any

import pytest

import fastmap
from fastmap import MalformedInput, SpecError, spec
from tests.support.plans import item, record, tokens, value

TEXT = spec.String()


class TestPlan:
    def plan(self) -> fastmap.Plan:
        twice = {
            "n": value("raw.n", spec.Number(), "n"),
            "m": value("raw.n", spec.Number(), "n"),
            "t": value("raw.t", spec.Time(), "t"),
            "s": value("raw.s", spec.String(), "s"),
        }
        products = record({"p": item("p", spec.Number(), "p")}, each=spec.Path("raw", ("items",)))
        return fastmap.compile(spec.Mapping(("raw",), (record(dict(twice)), products)))

    def test_plan_in_a_cycle_is_collected(self) -> None:
        for _ in range(20):
            plan, out = self.plan(), fastmap.Buffer()
            plan.run(SimpleNamespace(raw=b'{"n":1,"s":"x"}'), [out], 0)
            cycle: dict[str, object] = {"plan": plan}
            cycle["itself"] = cycle
            del plan, cycle
            gc.collect()

    @pytest.mark.parametrize(
        ("depth", "outcome"), [(1, "too_deep"), (2, "too_deep"), (3, 1), (0, 1)]
    )
    def test_objects_that_a_mapping_makes_itself_are_levels(
        self, depth: int, outcome: int | str
    ) -> None:
        inner = spec.Object((spec.Fields((("b", spec.Object(())),)),))
        body = spec.Object((spec.Fields((("a", inner),)),))
        limits = spec.Limits(size=1 << 20, members=4, depth=depth)
        plan = fastmap.compile(
            spec.Mapping(("raw",), (spec.Record(output=0, body=body, limits=limits),))
        )
        assert plan.run(SimpleNamespace(raw=b"{}"), [fastmap.Buffer()], 0) == outcome

    def test_values_that_cannot_be_converted_are_counted_once_each(self) -> None:
        plan, out = self.plan(), fastmap.Buffer()

        def dropped(raw: bytes) -> dict[str, int]:
            plan.run(SimpleNamespace(raw=raw), [out], 0)
            return plan.dropped()

        assert dropped(b'{"n":1,"t":1,"s":"x"}') == {}
        assert dropped(b'{"n":"x","t":"","s":""}') == {"n": 1}
        assert dropped(b'{"n":null,"t":null,"s":null}') == {"n": 1}
        assert dropped(b'{"n":[],"t":"junk","s":{}}') == {"n": 2, "t": 1, "s": 1}
        assert dropped(b'{"items":[{"p":"x"},{"p":1},{"p":{}},{}]}') == {
            "n": 2,
            "t": 1,
            "s": 1,
            "p": 2,
        }

    def test_malformed_input_writes_nothing_and_the_plan_goes_on(self) -> None:
        plan, out = self.plan(), fastmap.Buffer()
        plan.run(SimpleNamespace(raw=b'{"s":"a"}'), [out], 0)

        with pytest.raises(MalformedInput, match="raw"):
            plan.run(SimpleNamespace(raw=b'{"s":'), [out], 0)
        with pytest.raises(MalformedInput, match="expanded"):
            plan.run(SimpleNamespace(raw=b'{"items":[{"p":1},{"p"}]}'), [out], 0)
        plan.run(SimpleNamespace(raw=b'{"s":"b"}'), [out], 0)

        assert out.take() == b'{"t":0,"s":"a"}\n{"t":0,"s":"b"}\n'

    def test_nothing_of_one_event_shows_in_the_next(self) -> None:
        plan, out = self.plan(), fastmap.Buffer()
        for raw in (b'{"n":1,"s":"x","items":[{"p":1}]}', b'{"items":[{}]}'):
            plan.run(SimpleNamespace(raw=raw), [out], 7)

        assert out.take().split(b"\n")[2:] == [b'{"t":7}', b"{}", b""]

    @pytest.mark.parametrize("outputs", [[None], [b""], ["x"]])
    def test_output_that_is_no_buffer_is_a_type_error(self, outputs: list[Any]) -> None:
        with pytest.raises(TypeError):
            self.plan().run(SimpleNamespace(raw=b""), outputs, 0)

    def test_missing_output_and_missing_attribute_are_errors(self) -> None:
        plan, out = self.plan(), fastmap.Buffer()
        with pytest.raises(IndexError):
            plan.run(SimpleNamespace(raw=b""), [], 0)
        with pytest.raises(AttributeError):
            plan.run(SimpleNamespace(), [out], 0)
        assert len(out) == 0

    def test_text_that_nobody_else_holds_stays_alive_while_it_is_read(self) -> None:
        class Fleeting:
            size = 900

            @property
            def name(self) -> str:
                return "a" * self.size

            @property
            def other(self) -> str:
                return "b" * self.size  # would take the place of the first, were that free

        body = record({"a": value("name", TEXT), "b": value("other", TEXT)})
        plan, out = fastmap.compile(spec.Mapping(("name", "other"), (body,))), fastmap.Buffer()
        plan.run(Fleeting(), [out], 0)

        assert tokens(out.take()) == {"a": "a" * 900, "b": "b" * 900}

    def test_inputs_are_read_from_attributes_of_any_kind(self) -> None:
        class Slotted:
            __slots__ = ("name", "other")

            def __init__(self, name: object) -> None:
                self.name = name

        class Derived(Slotted):
            other = None

        class Stranger:
            name = vars(Slotted)["name"]  # no attribute of this class
            other = "o"

        body = record({"a": value("name", TEXT), "b": value("other", TEXT)})
        plan, out = fastmap.compile(spec.Mapping(("name", "other"), (body,))), fastmap.Buffer()

        assert plan.run(Derived("n"), [out], 0) == 1
        assert plan.run(SimpleNamespace(name="m", other="p"), [out], 0) == 1
        for event in (Slotted("n"), Stranger()):
            with pytest.raises((AttributeError, TypeError)):
                plan.run(event, [out], 0)
        assert out.take() == b'{"a":"n"}\n{"a":"m","b":"p"}\n'


class TestCompile:
    @pytest.mark.parametrize(
        ("mapping", "message"),
        [
            (spec.Mapping(("a", "a"), ()), "'a' is named twice"),
            (spec.Mapping((spec.ITEM,), ()), "'@item' is named twice"),
            (spec.Mapping(("a",), (record({"v": value("b")}),)), "starts at 'b'"),
            (spec.Mapping((), (), ((value("b"), "no_b"),)), "starts at 'b'"),
            (
                spec.Mapping(("a",), (record(spec.Object((spec.Spread(spec.Path("a")),) * 2)),)),
                "only one Spread",
            ),
            (
                spec.Mapping(("a",), (record({"v": spec.Join((value("a"),))}),)),
                "must be strings",
            ),
        ],
    )
    def test_contradiction_is_a_spec_error(self, mapping: spec.Mapping, message: str) -> None:
        with pytest.raises(SpecError, match=message):
            fastmap.compile(mapping)

    def test_errors_are_value_errors(self) -> None:
        assert issubclass(fastmap.FastmapError, ValueError)
        assert {SpecError, MalformedInput} <= set(fastmap.FastmapError.__subclasses__())

    def test_public_names_are_what_is_exported(self) -> None:
        for name in fastmap.__all__:
            assert getattr(fastmap, name) is not None
        assert fastmap.__all__ == sorted(fastmap.__all__)


class TestBuffer:
    def test_take_returns_what_was_written_and_empties_it(self) -> None:
        out = fastmap.Buffer()
        plan = fastmap.compile(spec.Mapping((), (record({}),)))
        for _ in range(3):
            plan.run(None, [out], 0)

        assert (len(out), out.records) == (9, 3)
        assert out.take() == b"{}\n" * 3
        assert (len(out), out.records) == (0, 0)
        assert out.take() == b""

    def test_clear_forgets_what_was_written(self) -> None:
        out = fastmap.Buffer()
        fastmap.compile(spec.Mapping((), (record({}),))).run(None, [out], 0)
        out.clear()

        assert (len(out), out.records, out.take()) == (0, 0, b"")

    def test_buffer_grows_as_needed_and_again_after_a_giant(self) -> None:
        plan = fastmap.compile(spec.Mapping(("a",), (record({"v": value("a", TEXT)}),)))
        out = fastmap.Buffer()
        for size in (1, 5000, 3_000_000, 1, 100_000):
            plan.run(SimpleNamespace(a="x" * size), [out], 0)
            assert out.take() == b'{"v":"' + b"x" * size + b'"}\n'

    def test_records_cannot_be_set(self) -> None:
        with pytest.raises(AttributeError):
            fastmap.Buffer().records = 1  # type: ignore[misc]
