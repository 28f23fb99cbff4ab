"""Puts the catalog with its options into the store: `python -m apps.publish --store URL`.

The pages read it there, since they import no method. It runs in a process of its own: options stand
beside the methods, so reading them imports torch and more.
"""

import argparse
import json
import os
import sys
from typing import Any

from apps.catalog import describe, everything
from apps.store import Store


def main() -> None:
    """Describe everything that is ready to use, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True)
    store = Store.open(parser.parse_args().store, create=True)
    store.publish(offered(data=bool(os.environ.get("WALD_DATA"))))
    json.dump({"cuda": _cuda()}, sys.stdout)  # the supervisor writes it beside its own row


def offered(*, data: bool) -> list[dict[str, Any]]:
    """What the Start page can offer, with options; `data`: measured tables are on this machine."""
    return [
        describe(role, row, options=True)
        for role, row in everything()
        if data or not row.name.startswith("blackbox/")
        if row.name.count("<") <= 1  # the form fills in one number
    ]


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    main()
