"""When refusals are blamed on a setting."""

from gateway.delivery.suspicion import LATELY_S, MIN_REFUSED, Suspicion


def test_few_refusals_are_never_blamed_on_a_setting() -> None:
    suspicion = Suspicion()
    suspicion.refuse(MIN_REFUSED - 1)
    assert not suspicion.is_on(0.0)
    suspicion.refuse(1)
    assert suspicion.is_on(0.0)


def test_whatever_was_accepted_lately_shows_that_the_settings_are_right() -> None:
    suspicion = Suspicion()
    suspicion.accept(100.0)
    suspicion.refuse(1_000_000)
    assert not suspicion.is_on(100.0 + LATELY_S)
    assert suspicion.is_on(100.1 + LATELY_S)
    suspicion.accept(1000.0)
    assert not suspicion.is_on(1000.0)


def test_refusals_before_something_was_accepted_do_not_count() -> None:
    suspicion = Suspicion()
    suspicion.refuse(1000)
    suspicion.accept(0.0)
    suspicion.refuse(MIN_REFUSED - 1)
    assert not suspicion.is_on(10 * LATELY_S)


def test_an_idle_queue_is_not_suspected_but_has_to_prove_itself_again() -> None:
    suspicion = Suspicion()
    assert not suspicion.is_proven(0.0)
    suspicion.accept(0.0)
    assert suspicion.is_proven(LATELY_S)
    assert not suspicion.is_proven(10 * LATELY_S)
    assert not suspicion.is_on(10 * LATELY_S)


def test_a_doubt_outweighs_what_was_accepted_before_it() -> None:
    suspicion = Suspicion()
    suspicion.accept(100.0)
    suspicion.doubt()
    assert suspicion.is_on(100.0)
    assert not suspicion.has_accepted_since(0.0)
    suspicion.refuse(1)  # it was the service that said so
    assert not suspicion.is_on(100.0)
    suspicion.accept(101.0)
    assert not suspicion.is_on(101.0)
    assert suspicion.has_accepted_since(101.0)
    assert not suspicion.has_accepted_since(101.1)
