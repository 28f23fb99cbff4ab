"""The dashboard's entry file: `streamlit run dashboards/app.py`; `wald up` does it for you.

The store is named by the environment variable WALD_STORE. Nothing here computes or starts
anything: pages read the store and write requests into it.
"""

import streamlit as st

from dashboards import loading

loading.wait()

from apps.store import Store, StoreError  # noqa: E402 - what follows is loaded by then
from dashboards import commands  # noqa: E402
from dashboards.data import open_store, store_url  # noqa: E402
from dashboards.parts import VIEWS, calm, commanded, move  # noqa: E402
from dashboards.words import plain  # noqa: E402


def main() -> None:
    """Navigation, then the banner, then the page."""
    st.set_page_config(page_title="wald", layout="wide")
    st.html("<style>[data-testid=stMarkdown] p > code { user-select: all; }</style>")
    home = st.Page(_home, title="wald", default=True, visibility="hidden")
    page = st.navigation(
        [
            home,
            st.Page(
                VIEWS / "overview.py",
                title="Overview",
                icon=":material/list:",
                url_path="overview",
                help="Every run and every study: state, best value, progress.",
            ),
            st.Page(
                VIEWS / "run.py",
                title="Run",
                icon=":material/show_chart:",
                url_path="run",
                help="One run, live: what it has found, what it believes, what it tries next.",
            ),
            st.Page(
                VIEWS / "compare.py",
                title="Compare",
                icon=":material/compare_arrows:",
                url_path="compare",
                help="Several runs side by side: methods over seeds, with their spread.",
            ),
            st.Page(
                VIEWS / "experiments.py",
                title="Experiments",
                icon=":material/science:",
                url_path="experiments",
                help="Problems x methods x seeds: tables, ranks and tests.",
            ),
            st.Page(
                VIEWS / "start.py",
                title="Start",
                icon=":material/add_circle:",
                url_path="start",
                help="Start runs and experiments from the catalog of problems and methods.",
            ),
            st.Page(
                VIEWS / "health.py",
                title="Health",
                icon=":material/monitor_heart:",
                url_path="health",
                help="Supervisor, workers, queue and store.",
            ),
        ],
        position="top",
    )
    try:
        store = open_store()
    except StoreError as error:
        _no_store(str(error))
        return
    _banner(store)
    page.run()


def _home() -> None:
    """The bare address leads to the overview, which has an address of its own."""
    move("overview.py")


@st.fragment(run_every=10)
@calm
def _banner(store: Store) -> None:
    supervisor = store.supervisor()
    if supervisor is None or not supervisor["alive"]:
        st.warning(
            "Nothing starts new runs now: no supervisor is alive. "
            f"Run `{commands.up(store.url)}` in a terminal. What has run is shown below.",
            icon=":material/warning:",
        )


@st.fragment(run_every=5)
def _no_store(told: str) -> None:
    """A sentence until the store can be opened; then the page comes by itself."""
    try:
        open_store()
    except StoreError as error:
        told = str(error)
    else:
        st.rerun()
    st.header("No store to show")
    st.error(plain(told, 1000), icon=":material/error:")
    st.write("A first run makes a store; for example:")
    flags = ["--problem", "branin"]
    commanded(commands.command("run", "bo", store=store_url(), flags=flags))
    st.caption("This page looks again every 5 s.")


main()
