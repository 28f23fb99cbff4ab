"""A command line as an objective: run it, and read the outcome off its last line. No paper.

    python train.py --lr {lr} --depth {depth}

The line is split as a shell would, then each `{name}` is replaced: no shell runs, so a value is
never more than (a part of) one word. `{{` and `}}` stand for braces. Booleans are written `true`
and `false`. A word that holds a parameter which is inactive in this trial is left out, and with it
the flag before it, as in `--slope {slope}`.

`evaluate` runs inside a worker process (`bo/workers.py`), in that process's group: a time limit, or
the end of the caller, kills the command and all that it started.
"""

import collections
import dataclasses
import json
import os
import shlex
import shutil
import signal
import string
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

from surrogates.errors import UsageError, WaldError
from surrogates.options import unknown

KEPT_BYTES = 65_536
"""What is kept of the end of stdout and stderr."""
LONGEST_LINE = 32_768
"""In characters: a last line of stdout that is longer is refused."""
LOG_LINES = 40
LOG_CHARACTERS = 8_000
DRAIN_SECONDS = 1.0  # for what is left in the pipes when the command has ended

Piece = tuple[str, str | None]
_PYTHON = ("python", "python3")


class CommandFailed(WaldError):
    """The command gave no outcome.

    Args:
        reason: one line.
        log: the last lines of its stderr.
    """

    def __init__(self, reason: str, log: str = "") -> None:
        super().__init__(reason, log)
        self.reason = reason
        self.log = log

    def __str__(self) -> str:
        return self.reason


class GoalMissing(CommandFailed):
    """The command names its outcomes, and nobody said which one is the goal: no trial can help."""


@dataclasses.dataclass(frozen=True)
class Command:
    """A command line with placeholders.

    Attributes:
        words: each in pieces, (text, placeholder or None) in a row.
    """

    words: tuple[tuple[Piece, ...], ...]

    @staticmethod
    def parse(text: str) -> "Command":
        """Split, then find the placeholders. Raises `UsageError`."""
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise UsageError(f"expected a command line, got {text!r:.200} ({error})") from None
        if not words:
            raise UsageError("expected a command line, got none")
        return Command(tuple(_pieces(word) for word in words))

    @property
    def names(self) -> list[str]:
        """The placeholders."""
        found = [name for word in self.words for _, name in word if name is not None]
        return list(dict.fromkeys(found))

    def check(self, parameters: Iterable[str]) -> list[str]:
        """Compare with the parameters of a space; returns those that are used nowhere.

        Raises:
            UsageError: a placeholder is no parameter.
        """
        known = list(parameters)
        for name in self.names:
            if name not in known:
                told = unknown("parameter in the command", name, known)
                raise UsageError(f"{told} (write {{{{ and }}}} for braces)")
        return [name for name in known if name not in self.names]

    def find_program(self, folder: str) -> None:
        """Raise `UsageError` where there is no such program, as seen from a folder."""
        first = self.words[0]
        if any(name is not None for _, name in first):
            return
        program = "".join(text for text, _ in first)
        named = os.path.join(folder, program) if os.sep in program else program
        if shutil.which(named) is None and program not in _PYTHON:
            where = f"in {folder}" if os.sep in program else "on the PATH"
            raise UsageError(
                f"expected a command that can be started, got {program!r}: no such program "
                f"{where}; a function is written package.module:function"
            )

    def fill(self, parameters: Mapping[str, Any]) -> list[str]:
        """The words for one point."""
        filled: list[str] = []
        flag = False  # whether the last word is a flag of the command's own, no parameter's value
        for word in self.words:
            names = [name for _, name in word if name is not None]
            if all(name in parameters for name in names):
                filled.append("".join(_filled(piece, parameters) for piece in word))
                flag = not names and filled[-1][:1] == "-"
            elif flag and word[0][0] == "" and len(word) == 1:
                filled.pop()
                flag = False
        return filled


@dataclasses.dataclass(frozen=True)
class CommandObjective:
    """A command as `f(parameters, trial)`; travels to a worker.

    Attributes:
        command: the line.
        folder: where it runs.
        outcomes: the names that it must print; none where the outcome is to be a bare number.
    """

    command: Command
    folder: str
    outcomes: tuple[str, ...]

    def __call__(self, parameters: Mapping[str, Any], trial: Any) -> dict[str, Any]:
        """Run it; `WALD_TRIAL` and `WALD_SEED` tell it which trial this is."""
        variables = {"WALD_TRIAL": str(trial.number), "WALD_SEED": str(trial.seed)}
        return evaluate(self.command.fill(parameters), self.folder, variables, self.outcomes)


def evaluate(
    words: Sequence[str], folder: str, variables: Mapping[str, str], outcomes: Sequence[str]
) -> dict[str, Any]:
    """Run a command to its end and read its outcome.

    Args:
        words: program and arguments.
        folder: where it runs.
        variables: to add to the environment.
        outcomes: the names that it must print; none where the outcome is to be a bare number.

    Returns:
        Values by name, as the command printed them.

    Raises:
        CommandFailed: it could not be started, or ended with an error or without an outcome.
    """
    try:
        process = subprocess.Popen(
            _with_python(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env={**os.environ, **variables},
        )
    except (OSError, ValueError) as error:  # the latter: a null character in a word
        raise CommandFailed(f"it could not be started: {error}") from None
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = _Tail(process.stdout), _Tail(process.stderr)
    status = process.wait()
    log = _last_lines(err.text())
    if status != 0:
        raise CommandFailed(": ".join(filter(None, [_ending(status), log.split("\n")[-1]])), log)
    return read_outcome(out.text(), outcomes, log)


def read_outcome(stdout: str, outcomes: Sequence[str], log: str = "") -> dict[str, Any]:
    """The values in the last line of an output that is not blank.

    In place of a number, `[mean, sem]` in a JSON object tells its standard error too.

    Raises:
        GoalMissing: it is a JSON object, and no goal was named.
        CommandFailed: it is neither a number nor a JSON object of numbers with the goal.
    """
    line = (stdout.rstrip().splitlines() or [""])[-1].strip()
    if not line:
        raise CommandFailed("it printed nothing on stdout: the last line must be the outcome", log)
    if len(line) > LONGEST_LINE:
        told = f"the last line of stdout is longer than {LONGEST_LINE:,} characters"
        raise CommandFailed(told, log)
    if len(outcomes) < 2:
        try:
            return {(*outcomes, "value")[0]: float(line)}
        except ValueError:
            pass
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        told = line if len(line) <= 80 else f"{line[:77]}..."
        raise CommandFailed(
            f"the last line of stdout is neither a number nor a JSON object: {told!r}", log
        )
    if not outcomes:
        names = ", ".join(map(str, found)) or "nothing"
        raise GoalMissing(
            f"the command prints a JSON object ({names:.200}): say which is the goal, as in "
            '--goal "minimize loss"',
            log,
        )
    for name in outcomes:
        if name not in found:
            names = ", ".join(map(str, found)) or "nothing"
            raise CommandFailed(f"no value for {name!r} in the last line, only {names:.200}", log)
    told = {name: tuple(v) if _is_pair(v) else v for name, v in found.items()}
    return {
        name: v
        for name, v in told.items()
        if name in outcomes or _is_number(v) or isinstance(v, tuple)
    }


class _Tail:
    """Reads a pipe to its end in a thread, and keeps the last characters."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.pipe = pipe
        self.kept: collections.deque[bytes] = collections.deque()
        self.size = 0
        self.lock = threading.Lock()  # over both
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def text(self) -> str:
        """What was kept. A process in the background may hold the pipe: it is not waited for."""
        self.thread.join(DRAIN_SECONDS)
        with self.lock:
            return b"".join(self.kept)[-KEPT_BYTES:].decode(errors="replace")

    def _read(self) -> None:
        while chunk := os.read(self.pipe.fileno(), KEPT_BYTES):
            with self.lock:
                self.kept.append(chunk)
                self.size += len(chunk)
                while self.size - len(self.kept[0]) >= KEPT_BYTES:
                    self.size -= len(self.kept.popleft())


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _pieces(word: str) -> tuple[Piece, ...]:
    try:
        parsed = list(string.Formatter().parse(word))
    except ValueError as error:
        raise UsageError(
            f"expected {{name}} for a parameter in {word!r}, got {error}; "
            "write {{ and }} for braces"
        ) from None
    for _, name, form, conversion in parsed:
        if name is not None and (not name or form or conversion):
            told = f"!{conversion}" * bool(conversion) + f":{form}" * bool(form)
            raise UsageError(
                f"expected {{name}} for a parameter in {word!r}, got {{{name}{told}}}; "
                "write {{ and }} for braces"
            )
    return tuple((text, name) for text, name, _, _ in parsed)


def _filled(piece: Piece, parameters: Mapping[str, Any]) -> str:
    text, name = piece
    if name is None:
        return text
    value = parameters[name]
    if isinstance(value, bool):
        return f"{text}{str(value).lower()}"
    return f"{text}{value}"


def _ending(status: int) -> str:
    if status > 0:
        return f"exit status {status}"
    try:
        return f"killed by signal {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def _last_lines(text: str) -> str:
    lines = text.rstrip().splitlines()[-LOG_LINES:]
    return "\n".join(lines)[-LOG_CHARACTERS:].strip()


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _with_python(words: Sequence[str]) -> list[str]:
    """The words; `python` is the interpreter of this process where the PATH has none."""
    if words[0] in _PYTHON and shutil.which(words[0]) is None:
        return [sys.executable, *words[1:]]
    return list(words)
