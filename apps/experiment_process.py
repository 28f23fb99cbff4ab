"""An experiment in a process of its own: `python -m apps.experiment_process --store URL NAME`.

It takes the experiment before it imports anything heavy, and does what `wald experiment` does. Its
runs are driven by processes of its own, so the supervisor counts it as so many workers.
"""

import argparse
import signal
import sys

from apps.experiment_driver import Driver
from apps.schema import ExperimentRow
from apps.store import Store
from surrogates.errors import WaldError

NOT_TAKEN = 3
"""Exit code where another process was faster."""


def main() -> int:
    """Drive the experiment to its end; 0 where it finished or was stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True)
    parser.add_argument("experiment")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: save, then leave
    store = Store.open(arguments.store, create=True)
    row = store.take_experiment(arguments.experiment)
    if row is None:
        return NOT_TAKEN
    try:
        state = _drive(store, row)
    except KeyboardInterrupt:
        return 130
    except WaldError as error:
        sys.stderr.write(f"wald: {error}\n")
        return 1
    return 0 if state == "finished" else 1


def _drive(store: Store, row: ExperimentRow) -> str:
    with Driver(store, row.name, mine=True) as driver:
        from apps.experiment import go_on  # heavy: once the experiment is taken

        return go_on(driver, row)["state"]


if __name__ == "__main__":
    sys.exit(main())
