"""The command beside each button: what one would type for the same effect."""

import shlex
from collections.abc import Sequence

from apps.experiment_file import slug

DEFAULT_STORE = "sqlite:///wald.db"


def command(verb: str, *words: str, store: str, flags: Sequence[str] = ()) -> str:
    """`wald VERB WORDS`, quoted for a shell, with the store where it is not the default one."""
    named = () if store == DEFAULT_STORE else ("--store", store)
    if any(word.startswith("-") for word in words):
        return shlex.join(["wald", verb, *flags, *named, "--", *words])  # no name is a flag
    return shlex.join(["wald", verb, *words, *flags, *named])


def up(store: str) -> str:
    """Start the supervisor and this page."""
    return command("up", store=store)


def stop(run_id: str, store: str) -> str:
    """Ask a run to end after its step."""
    return command("stop", run_id, store=store)


def resume(run_id: str, store: str) -> str:
    """Go on with a run that ended early."""
    return command("resume", run_id, store=store)


def show(run_id: str, store: str) -> str:
    """The run's object."""
    return command("show", run_id, store=store, flags=["--json"])


def note(run_id: str, text: str, store: str) -> str:
    """Add a note to a run."""
    return command("note", run_id, text, store=store)


def export(run_id: str, store: str, format: str) -> str:
    """Write a run's rows to a file."""
    return command("export", run_id, store=store, flags=["--format", format])


def snapshot(run_id: str, axes: Sequence[str], step: int, store: str) -> str:
    """Draw what a run believed at one ask over two of its parameters."""
    return command("snapshot", run_id, store=store, flags=["--axes", *axes, "--step", str(step)])


def experiment(name: str, workers: int, store: str) -> str:
    """Run or go on with an experiment whose file is here."""
    file = f"{slug(name)}.toml"
    return command("experiment", file, store=store, flags=["--workers", str(workers)])


def compare(run_ids: Sequence[str], store: str) -> str:
    """Scores of several runs with their intervals."""
    return command("compare", *run_ids, store=store)
