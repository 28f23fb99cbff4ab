"""The page's server: Streamlit, which loads what every page needs while it waits for a reader."""

import sys

from streamlit.web.cli import main

from dashboards import loading

if __name__ == "__main__":
    loading.begin()
    sys.exit(main(["run", *sys.argv[1:]], prog_name="streamlit"))
