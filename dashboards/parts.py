"""Small pieces that pages share: commands to copy, states, errors in place of tracebacks."""

import functools
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, ParamSpec

import streamlit as st

from apps.store import StoreError, UsageError
from dashboards.words import BADGES, BY_HAND, EXPLAINED, ICONS, ago, plain

VIEWS = Path(__file__).resolve().parent / "views"

_P = ParamSpec("_P")


def calm(view: Callable[_P, None]) -> Callable[_P, None]:
    """A view whose errors of store and usage are a sentence on the page."""

    @functools.wraps(view)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            view(*args, **kwargs)
        except (StoreError, UsageError) as error:
            st.error(plain(error, 1000), icon=":material/error:")

    return guarded


def commanded(lines: str, what: str | None = None) -> None:
    """The commands for what a button does, one a line, to copy: a click selects all of one.

    Not `st.code`, which has every browser load 1.5 MB of syntax highlighting first.
    """
    if what is not None:
        st.caption(what)
    st.markdown("\n\n".join(_code(line) for line in lines.splitlines()))


def _code(line: str) -> str:
    """As code of markdown: between more backticks than there are in a row within it."""
    most = max((len(found) for found in re.findall("`+", line)), default=1)
    return f"{'`' * (most + 1)} {line} {'`' * (most + 1)}"


def badge(state: str, *, by_hand: bool = False) -> None:
    """A state in a word with its colour; what it means on hovering."""
    explained = BY_HAND if by_hand else EXPLAINED
    st.badge(
        state, icon=ICONS.get(state), color=BADGES.get(state, "gray"), help=explained.get(state)
    )


def facts(values: Mapping[str, tuple[str, str | None]]) -> None:
    """A row of numbers: per label the text and its explanation."""
    with st.container(horizontal=True, gap="small"):
        for label, (text, explained) in values.items():
            st.metric(label, text, help=explained, border=True, width="content")


def refreshed(every: int | None, news: float | None, before: str = "") -> None:
    """How often this part of the page is read again, and how old the newest of it is."""
    now = time.time()
    pace = "Nothing here changes any more" if every is None else f"Updates every {every} s"
    latest = "" if news is None else f"; last event {ago(news, now)}"
    clock = time.strftime("%H:%M:%S", time.localtime(now))
    st.caption(f"{before}{pace}{latest}. Read at {clock}.")


def move(view: str, **query: list[str]) -> NoReturn:
    """Go to a view of this folder with some words of the URL changed and the others kept."""
    kept = {name: st.query_params.get_all(name) for name in st.query_params}
    st.switch_page(VIEWS / view, query_params=kept | query)


def url_value(key: str) -> str | None:
    """What stands in the URL under a name, or None; never longer than is sensible."""
    found: Any = st.query_params.get(key)
    return found if isinstance(found, str) and 0 < len(found) <= 2000 else None
