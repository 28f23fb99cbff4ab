"""Views under AppTest, from the real entry file, as `streamlit run` opens them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

APP = Path(__file__).resolve().parents[2] / "dashboards" / "app.py"
Open = Callable[..., AppTest]


def opener(url: str, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens views of any store."""
    monkeypatch.setenv("WALD_STORE", url)

    def open_view(view: str, **query: str | list[str]) -> AppTest:
        at = AppTest.from_file(str(APP), default_timeout=60)
        for name, value in query.items():
            at.query_params[name] = value
        at.switch_page(f"views/{view}.py")
        return at.run()

    return open_view


def words(at: AppTest) -> str:
    """All that can be read on a page, outside of tables and charts."""
    kinds = ("header", "subheader", "markdown", "caption", "error", "warning", "info", "success")
    told = [element.value for kind in kinds for element in getattr(at, kind)]
    told += [element.value for element in at.code]
    told += [f"{metric.label} {metric.value} {metric.proto.help}" for metric in at.metric]
    return "\n".join(str(text) for text in told)
