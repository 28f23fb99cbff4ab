"""Pages under AppTest: the real entry file, on a store of awkward runs."""

from collections.abc import Iterator

import pytest

from apps.store import Store
from tests.dashboards import awkward
from tests.dashboards.opening import Open, opener


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """All awkward runs; shared, so nothing but notes and queued runs is written to it."""
    made = awkward.make(tmp_path_factory.mktemp("awkward") / "wald.db")
    yield made
    made.engine.dispose()


@pytest.fixture
def page(store: Store, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a view: `page("run", run="one-point")`."""
    awkward.alive(store)
    return opener(store.url, monkeypatch)
