"""The command line. Every command prints one JSON object with `--json`; all else goes to stderr.

Exit codes: 0 finished, 1 failed, 2 bad usage (nothing was created), 130 interrupted (`wald resume`
goes on). Heavy modules are named in strings and loaded by the commands that need them, so that
`wald --help` stays quick.
"""

import functools
import importlib
import json
import os
import secrets
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from apps.spec import DEFAULT_BUDGETS, DEFAULT_STORE, KINDS, RunSpec, parse_every, parse_options
from surrogates.errors import UsageError, WaldError

_EXITS = {"finished": 0, "stopped": 0, "interrupted": 130}
_USAGE_ERROR: Any = typer.BadParameter.__base__  # typer exports this one of its usage errors
app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Optimise expensive black boxes, play bandits, train agents; watch and compare them.",
)

StoreOption = Annotated[str, typer.Option("--store", help="URL or path of the run store.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Id or name of a run.")]
StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="Its name, or its run's id.")]
NumberArgument = Annotated[int, typer.Argument(metavar="NUMBER", help="Of the asked trial.")]
MethodOption = Annotated[str | None, typer.Option("--method", help="Catalog name; bo: auto.")]
BatchOption = Annotated[int, typer.Option("--batch", help="Points per ask (bo).")]
ParallelOption = Annotated[int, typer.Option("--parallel", help="Evaluations at once (bo).")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Drawn where none is given.")]
MethodOptions = Annotated[
    list[str] | None, typer.Option("--option", help="Of the method: name=value, repeatable.")
]
ReplicationsOption = Annotated[
    int, typer.Option("--replications", help="Runs with seeds S, S + 1, ...; names get -SEED.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
ThreadsOption = Annotated[int, typer.Option("--threads", help="CPU threads.")]
NameOption = Annotated[
    str | None, typer.Option("--name", help="Joins or resumes the run of that name.")
]
SnapshotsOption = Annotated[
    str, typer.Option("--snapshots", help="every=k: keep the model's view at each k-th ask.")
]
GoalOption = Annotated[
    str | None,
    typer.Option("--goal", help='"minimize NAME" or "maximize NAME"; several with commas between.'),
]
SubjectToOption = Annotated[
    list[str] | None,
    typer.Option(
        "--subject-to",
        help="A constraint between parameters, or on what is told, such as 'latency <= 20'.",
    ),
]
TimeoutOption = Annotated[
    float | None, typer.Option("--timeout", help="Seconds that one evaluation may take (bo).")
]
RetriesOption = Annotated[
    int | None,
    typer.Option(
        "--retries",
        help="How often a trial runs again when the worker or run that evaluates it died (bo: 1).",
    ),
]
StopAtOption = Annotated[
    float | None, typer.Option("--stop-at", help="End once the best value is as good (bo).")
]
StopAfterOption = Annotated[
    float | None, typer.Option("--stop-after", help="End after so many seconds (bo).")
]
StallOption = Annotated[
    int | None, typer.Option("--stall", help="End after so many trials without progress (bo).")
]
FromOption = Annotated[
    str | None,
    typer.Option("--from", help="FILE.csv or a study: known results, on top of the budget (bo)."),
]
SkipInvalidOption = Annotated[
    bool,
    typer.Option("--skip-invalid", help="Leave out what --from cannot take in, and say so (bo)."),
]


def main() -> None:
    """Entry point of `wald`: errors become one line and an exit code."""
    arguments = sys.argv[1:] or ["--help"]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: save, then leave
    try:
        code = app(args=arguments, prog_name="wald", standalone_mode=False)
    except _USAGE_ERROR as error:
        code = _refuse(error.format_message(), arguments)
    except WaldError as error:
        code = _refuse(str(error), arguments)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:  # the reader of our output has gone, as in `wald list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code or 0)


def _refuse(told: str, arguments: Sequence[str]) -> int:
    line = " ".join(told.split())
    sys.stderr.write(f"wald: {line}\n")
    if "--json" in arguments:
        _print_json({"error": line})
    return 2


def _load(target: str) -> Any:
    """What a `module:name` text means."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def _print_json(value: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, allow_nan=False, default=str) + "\n")
    sys.stdout.flush()


def _show(value: Any, as_json: bool, draw: str) -> None:
    """Print an object as JSON, or draw it with a function of `apps.tables`."""
    if as_json:
        _print_json(value)
    else:
        _load(f"apps.tables:{draw}")(value)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"wald {importlib.import_module('importlib.metadata').version('wald')}\n")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Nothing to do: the options act by themselves."""


@app.command("run", help="Run one method on one problem.")
@app.command("submit", help="Queue a run for `wald up`; takes what `run` takes.")
def run(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="bo, bandit or rl.")],
    problem: Annotated[str, typer.Option("--problem", help="Catalog name, or table:FILE.toml.")],
    method: MethodOption = None,
    budget: Annotated[
        int | None,
        typer.Option("--budget", help="Trials (bo: 50), rounds (bandit: 5000), steps (rl: 50000)."),
    ] = None,
    batch: BatchOption = 1,
    parallel: ParallelOption = 1,
    seed: SeedOption = None,
    option: MethodOptions = None,
    problem_option: Annotated[
        list[str] | None, typer.Option("--problem-option", help="Of the problem: name=value.")
    ] = None,
    replications: ReplicationsOption = 1,
    device: DeviceOption = "auto",
    threads: ThreadsOption = 1,
    name: NameOption = None,
    snapshots: SnapshotsOption = "every=1",
    timeout: TimeoutOption = None,
    retries: RetriesOption = None,
    stop_at: StopAtOption = None,
    stop_after: StopAfterOption = None,
    stall: StallOption = None,
    known_from: FromOption = None,
    skip_invalid: SkipInvalidOption = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> int:
    """Make a spec of what was typed, then run it or queue it."""
    if kind not in KINDS:
        raise UsageError(f"KIND expected bo, bandit or rl, got {kind!r}")
    chosen = _load("apps.catalog:check_names")(kind, problem, method)
    spec = RunSpec(
        kind=kind,
        problem=problem,
        method=chosen,
        seed=secrets.randbits(31) if seed is None else seed,
        budget=DEFAULT_BUDGETS[kind] if budget is None else budget,
        problem_options=parse_options(problem_option or []),
        options=parse_options(option or []),
        batch=batch,
        parallel=parallel,
        device=device,
        threads=threads,
        name=name,
        snapshots=parse_every(snapshots),
        timeout=timeout,
        retries=retries,
        stop_at=stop_at,
        stop_after=stop_after,
        stall=stall,
    )
    if seed is None:
        spec = _load("apps.launch:with_its_seed")(spec, store)
    told = {"known_from": known_from, "skip_invalid": skip_invalid, "drawn": seed is None}
    queue = context.info_name == "submit"
    return _carry_out(spec, replications, store, as_json, told, queue=queue)


@app.command()
def optimize(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="package.module:function, or a command line with {name} placeholders, in quotes.",
        ),
    ],
    space: Annotated[str, typer.Option("--space", help="SPACE.toml: the parameters.")],
    goal: GoalOption = None,
    subject_to: SubjectToOption = None,
    timeout: TimeoutOption = None,
    retries: RetriesOption = None,
    method: MethodOption = None,
    budget: Annotated[int, typer.Option("--budget", help="Trials.")] = DEFAULT_BUDGETS["bo"],
    batch: BatchOption = 1,
    parallel: ParallelOption = 1,
    seed: SeedOption = None,
    option: MethodOptions = None,
    replications: ReplicationsOption = 1,
    device: DeviceOption = "auto",
    threads: ThreadsOption = 1,
    name: NameOption = None,
    snapshots: SnapshotsOption = "every=1",
    stop_at: StopAtOption = None,
    stop_after: StopAfterOption = None,
    stall: StallOption = None,
    known_from: FromOption = None,
    skip_invalid: SkipInvalidOption = False,
    submit: Annotated[
        bool, typer.Option("--submit", help="Queue it for `wald up` instead of running it.")
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> int:
    """Tune your own program or function: its last line on stdout, or its return value, is told."""
    problem, told = _load("apps.optimize:problem_of")(target, space, goal, subject_to or [])
    spec = RunSpec(
        kind="bo",
        problem=problem,
        method=_load("apps.catalog:check_names")("bo", problem, method),
        seed=secrets.randbits(31) if seed is None else seed,
        budget=budget,
        problem_options=told,
        options=parse_options(option or []),
        batch=batch,
        parallel=parallel,
        device=device,
        threads=threads,
        name=name,
        snapshots=parse_every(snapshots),
        folder=os.getcwd(),
        timeout=timeout,
        retries=retries,
        stop_at=stop_at,
        stop_after=stop_after,
        stall=stall,
    )
    if seed is None:
        spec = _load("apps.launch:with_its_seed")(spec, store)
    told = {"known_from": known_from, "skip_invalid": skip_invalid, "drawn": seed is None}
    return _carry_out(spec, replications, store, as_json, told, queue=submit)


def _carry_out(
    spec: RunSpec,
    replications: int,
    store: str,
    as_json: bool,
    told: Mapping[str, Any],
    *,
    queue: bool,
) -> int:
    """Run or queue a spec, once or with several seeds."""
    specs = _load("apps.spec:replicate")(spec, replications)
    told = {**told, "drawn": told["drawn"] and replications == 1}  # else names tell the seeds
    if queue:
        rows = _load("apps.launch:submit")(specs, store, **told)
        _show(rows[0] if replications == 1 else {"rows": rows}, as_json, "show_submitted")
        return 0
    runs = [_load("apps.launch:run")(each, store, **told) for each in specs]
    if replications == 1:
        _show(runs[0], as_json, "show_run")
    else:
        _show({"rows": runs}, as_json, "show_list")
    return max(_EXITS.get(run["state"], 1) for run in runs)


@app.command()
def ask(
    study: StudyArgument,
    n: Annotated[int, typer.Option("-n", help="How many points.")] = 1,
    space: Annotated[
        str | None, typer.Option("--space", help="SPACE.toml: makes the study where it is new.")
    ] = None,
    goal: GoalOption = None,
    subject_to: SubjectToOption = None,
    method: MethodOption = None,
    option: MethodOptions = None,
    seed: SeedOption = None,
    known_from: FromOption = None,
    skip_invalid: SkipInvalidOption = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Suggest the next points of a study, to be evaluated by hand or by any program."""
    options = parse_options(option or [])
    made = {"space": space, "goal": goal, "method": method, "options": options, "seed": seed}
    made |= {"subject_to": subject_to or [], "known_from": known_from}
    made |= {"skip_invalid": skip_invalid}
    rows = _load("apps.optimize:ask")(study, n, store, **made)
    _show({"rows": rows}, as_json, "show_asked")


@app.command()
def tell(
    study: StudyArgument,
    number: NumberArgument,
    outcome: Annotated[
        list[str], typer.Argument(metavar="GOAL=VALUE...", help="What was measured.")
    ],
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Record what was measured at an asked point; a value that is not finite fails the trial."""
    _show(_load("apps.optimize:tell")(study, number, outcome, store), as_json, "show_told")


@app.command()
def fail(
    study: StudyArgument,
    number: NumberArgument,
    why: Annotated[str, typer.Option("--why", help="The reason, one line.")] = "failed",
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Record that an asked point has no outcome."""
    _show(_load("apps.optimize:fail")(study, number, why, store), as_json, "show_told")


@app.command()
def resume(
    run: RunArgument, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False
) -> int:
    """Go on with a run that ended early; a finished one is printed as it is."""
    return _launch("apps.launch:resume", run, store, as_json)


def _launch(target: str, what: Any, store: str, as_json: bool) -> int:
    described = _load(target)(what, store)
    _show(described, as_json, "show_run")
    return _EXITS.get(described["state"], 1)


@app.command()
def demo(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="model-tuning, reaction-yield or by-hand."),
    ] = None,
    out: Annotated[str, typer.Option("--out", help="Folder of the figures.")] = "figures",
    seed: Annotated[int, typer.Option("--seed", help="Of the first repetition.")] = 0,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> int:
    """The tour: tune a model, play a bandit, train an agent; or one application by its name."""
    if recipe is not None:
        told = _load("apps.recipe:recipe")(recipe, store, seed)
        _show(told, as_json, "show_recipe")
        return _EXITS.get(told["state"], 1)
    _show(_load("apps.demo:tour")(store, out, seed), as_json, "show_tour")
    return 0


@app.command()
def up(
    port: Annotated[int, typer.Option("--port", help="Of the page, on this machine only.")] = 8501,
    workers: Annotated[
        int, typer.Option("--workers", help="Queued runs at once; 0: as many as CPU cores.")
    ] = 0,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> int:
    """Watch, start, stop and compare runs on one page; runs what `wald submit` queued."""
    show = functools.partial(_show, as_json=as_json, draw="show_up")
    return _load("apps.up:up")(store, port=port, workers=workers, show=show)


@app.command()
def experiment(
    file: Annotated[str, typer.Argument(metavar="FILE", help="TOML: problems, methods, seeds.")],
    engine: Annotated[str, typer.Option("--engine", help="local: processes here.")] = "local",
    workers: Annotated[
        int, typer.Option("--workers", help="Runs at once; 0: as many as CPU cores.")
    ] = 0,
    out: Annotated[
        str | None, typer.Option("--out", help="Folder of the results; results/NAME otherwise.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> int:
    """Problems x methods x seeds from the same initial points; ends with ranks and tests."""
    command = ["wald", *sys.argv[1:]]
    run_it = _load("apps.experiment:experiment")
    told = run_it(file, store, engine=engine, workers=workers, out=out, command=command)
    _show(told, as_json, "show_experiment")
    return _EXITS.get(told["state"], 1)


@app.command("list")
def list_runs(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """All runs and studies, newest first."""
    opened = _open(store, missing_ok=True)
    objects = [] if opened is None else _load("apps.summary:all_objects")(opened)
    _show({"rows": objects}, as_json, "show_list")


@app.command()
def show(run: RunArgument, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """One run."""
    _show(_load("apps.summary:find_object")(_open(store), run), as_json, "show_run")


@app.command()
def stop(run: RunArgument, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Ask a running run to end after its step; its state is kept."""
    opened = _open(store, writing=True)
    row = _load("apps.launch:find_run")(opened, run)
    found = _load("apps.store:current_state")(row)
    if found not in ("running", "queued"):
        raise UsageError(f"expected a running or queued run, got {run}, which is {found}")
    opened.request(row.run_id, "stop")
    told = "stopping" if found == "running" else "stopped"
    _show({"run_id": row.run_id, "state": told}, as_json, "show_line")


@app.command()
def snapshot(
    run: RunArgument,
    axes: Annotated[
        tuple[str, str] | None,
        typer.Option("--axes", help="The two parameters of the map.", metavar="X Y"),
    ] = None,
    step: Annotated[
        int | None, typer.Option("--step", help="Of the trial it chose; the newest where none.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Draw what a bo run believed at one ask, for its page: other axes, or long ago."""
    opened = _open(store, writing=True)
    told = _load("apps.draw:draw")(opened, run, axes=axes, step=step)
    _show(told, as_json, "show_line")


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Ids or names of runs.")],
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Runs side by side: one row per problem and method, with 95 % intervals over the runs."""
    opened = _open(store)
    find = _load("apps.summary:find_object")
    rows = _load("apps.summary:compare")([find(opened, run) for run in dict.fromkeys(runs)])
    _show({"rows": rows}, as_json, "show_comparison")


@app.command()
def note(
    run: RunArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to remember.")],
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Write a note beside a run."""
    if not text.strip():
        raise UsageError("a note expected some text, got none")
    opened = _open(store, writing=True)
    found = _load("apps.summary:find_object")(opened, run)["run_id"]
    event = _load("apps.events:Event")("log", None, {"note": text})
    opened.record(found, [event])
    _show({"run_id": found, "note": text}, as_json, "show_line")


@app.command()
def export(
    run: RunArgument,
    format: Annotated[str, typer.Option("--format", help="csv, json, html or optuna.")] = "csv",
    out: Annotated[
        str | None,
        typer.Option("--out", help="File; stdout where none is given. Of optuna: its storage."),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Write a run out: one row per trial or step, a page with its figure, or a study of Optuna."""
    if format == "optuna":
        study = _load("apps.optimize:to_optuna")(run, out, store)
        _show({"run_id": run, "study": study, "storage": out}, as_json, "show_line")
        return
    text = _load("apps.export:export")(_open(store), run, "json" if as_json and not out else format)
    if out is None:
        sys.stdout.write(text)
        return
    try:
        with open(out, "w", encoding="utf-8", newline="") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(
            f"expected a file that can be written at {out}: {error.strerror}"
        ) from None
    _show({"run_id": run, "file": out}, as_json, "show_line")


@app.command()
def catalog(
    what: Annotated[
        str | None, typer.Argument(metavar="[KIND|NAME]", help="bo, bandit, rl, ... or one name.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Problems and methods; of a single name, its options with defaults and bounds."""
    _show({"rows": _load("apps.catalog:search")(what)}, as_json, "show_catalog")


@app.command()
def doctor(
    migrate: Annotated[
        bool, typer.Option("--migrate", help="Bring an older store up to date.")
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> int:
    """What is installed and what is not, with the fix."""
    rows = _load("apps.doctor:examine")(store, migrate=migrate)
    _show({"rows": rows}, as_json, "show_doctor")
    return 1 if any(row["status"] == "wrong" for row in rows) else 0


def _open(store: str, *, writing: bool = False, missing_ok: bool = False) -> Any:
    """The store, for reading unless `writing`; never created. None where it may be missing."""
    store_class = _load("apps.store:Store")
    url = _load("bo.database:store_url")(store)
    if missing_ok and _load("bo.database:is_missing")(url):
        sys.stderr.write(f"no store yet at {url}: `wald run` or `wald demo` makes one\n")
        return None
    store_class.open(store, create=False)  # refuses a missing one before anything is written
    return store_class.open(store, create=writing)


if __name__ == "__main__":
    main()
