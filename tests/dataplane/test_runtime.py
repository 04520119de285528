"""Fractions of routes that the runtime overrides."""

from dataclasses import replace

from meshlib.dataplane import Engine, Options, Request, decide
from meshlib.model import (
    DirectResponseAction,
    HttpConnectionManager,
    Listener,
    PathPrefix,
    Percentage,
    Route,
    RouteConfiguration,
    RouteMatch,
    RuntimeFraction,
    Snapshot,
    VirtualHost,
    gather,
)
from meshlib.model.runtime import RuntimeLayer

HOST = "reviews:9080"
CALL = Request(target=HOST, method="GET", path="/")


def config(*, key: str = "canary") -> Snapshot:
    share = RuntimeFraction(numerator=0, runtime_key=key)
    canary = Route(
        match=RouteMatch(path=PathPrefix("/"), runtime_fraction=share),
        action=DirectResponseAction(status=201),
    )
    others = Route(action=DirectResponseAction(status=200))
    host = VirtualHost(name="all", domains=("*",), routes=(canary, others))
    table = RouteConfiguration(name="r", virtual_hosts=(host,))
    return gather(listeners=[Listener(name=HOST, http=HttpConnectionManager(routes=table))])


def engine(**options: object) -> Engine:
    return Engine(clock=float, dice=lambda: 0.5, options=Options(complete=True, **options))


def status(made: Engine) -> int:
    steps = made.outbound(CALL)
    answer = next(steps).outcome
    steps.close()
    return answer.status


def with_layer(*values: tuple[str, object], name: str = "rtds") -> Snapshot:
    layer = RuntimeLayer(name=name, values=tuple(values))
    return replace(config(), runtimes={name: layer})


def test_a_layer_changes_a_fraction_and_leaves_the_table_as_it_is() -> None:
    made = engine()
    made.apply(config())
    table = made.listeners[HOST].router.table
    assert status(made) == 200
    made.apply(with_layer(("canary", 100.0)))
    assert status(made) == 201
    assert made.listeners[HOST].router.table is table


def test_without_the_layer_the_configuration_counts_again() -> None:
    made = engine()
    made.apply(with_layer(("canary", 100.0)))
    made.apply(config())
    assert status(made) == 200


def test_a_layer_may_be_finer_than_per_cents() -> None:
    made = engine()
    made.apply(with_layer(("canary", Percentage(numerator=500_001, denominator=1_000_000))))
    assert status(made) == 201
    made.apply(with_layer(("canary", Percentage(numerator=500_000, denominator=1_000_000))))
    assert status(made) == 200


def test_keys_that_no_route_names_change_nothing() -> None:
    made = engine()
    made.apply(with_layer(("other", 100.0)))
    assert status(made) == 200


def test_a_layer_counts_before_what_the_program_said() -> None:
    made = engine(runtime={"canary": 100})
    made.apply(config())
    assert status(made) == 201
    made.apply(with_layer(("canary", 0.0)))
    assert status(made) == 200


def test_a_decision_names_the_key() -> None:
    made = engine()
    made.apply(config())
    assert "or what canary says" in str(decide(made, CALL).trace)
