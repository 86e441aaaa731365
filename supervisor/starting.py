"""From a loaded configuration to a running supervisor: what can be wrong is found, and said, before anything runs."""

from __future__ import annotations

import os
import resource
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from setproctitle import setproctitle

from config import ConfigError, Loaded, Owners, Settings, handler_problem, load, set_up_logs
from workers import boot_time, scrub

from . import plan
from .banner import banner
from .children import Nursery, flush_output
from .errands import Errand
from .events import ExtensionSaid, ModuleUnfit, SupervisorRestarting, SupervisorStopped, tell
from .inbox import Inbox
from .loop import Supervisor
from .preparing import TRY_FOR, prepare
from .probing import Findings, preload, probe
from .refusals import BAD_SETUP, NOT_PERMITTED
from .rundir import AlreadyRunning, RunDir
from .serving import Serving

REFUSED = 5
FAILED = 1
LONGEST_UPGRADE = 86_400.0
"""Seconds. An index over many millions of jobs takes as long as it takes, and one that is stopped half-way starts anew."""

OWNERLESS_FOR = 10.0
"""Seconds that an owned supervisor goes on when its last owner died: one that starts again takes it over as it is."""


class ProblemAtStart(Exception):
    """The supervisor did not start. The message says what, where, why and what to do.

    `exit_code` is for the shell; `id` is stable and documented with the errors of the commands.
    """

    def __init__(self, message: str, exit_code: int, id: str = "START") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.id = id


class _ToldToStop(Exception):
    """A signal came before there was anything to stop."""


def run(
    loaded: Loaded,
    *,
    load_again: Callable[[], Loaded] | None = None,
    run_dir: Path | None = None,
    while_owned: bool = False,
    log_file: Path | None = None,
    log_to_console: bool = False,
    detached: bool = False,
    show_banner: bool | None = None,
) -> int:
    """Supervise in the foreground until told to stop; returns the exit code (0, or 1 after a crash loop).

    `load_again` reads the configuration anew at a reload (default: the same file). `run_dir` replaces the settings' own, and is
    removed at the end.
    `log_file` replaces the settings' own; with `log_to_console` it is not the only place. `detached`: standard output and
    error go to the log file, too, once all that can go wrong at start has been said there.
    `while_owned`: it drains when its last owner (`config.Ownership`) is gone. Told to restart, it does not return: the
    program starts again in this process, by the command line it was started with. Raises `ProblemAtStart` when it cannot
    start, and `config.ConfigError` for handlers that cannot be imported.
    """
    settings = loaded.settings
    file = log_file or settings.logging.file
    _set_up_logs(settings, file, log_to_console)
    setproctitle("jobqueue: supervisor")
    _allow_open_files(settings.workers.count)
    nursery = Nursery()
    directory = _hold(RunDir(run_dir or settings.run_dir, is_passing=run_dir is not None), nursery, while_owned)
    again = load_again or (lambda: load(loaded.path))
    code = FAILED
    try:
        with_banner = sys.stderr.isatty() if show_banner is None else show_banner
        code = _supervise(loaded, again, directory, nursery, while_owned, with_banner, file if detached else None)
        if directory.starts_again:
            _start_again(directory)
    finally:
        directory.leave()
    tell(SupervisorStopped(code))
    return code


def _allow_open_files(workers: int) -> None:
    needed = plan.open_files_for(workers)
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY not in (limit, most) and most < needed:
        what = f"{workers} workers need {needed} open files, but the limit is {most}"
        raise ProblemAtStart(f"{what}: raise it (ulimit -n {needed}), or have fewer workers", FAILED)
    if limit != resource.RLIM_INFINITY and limit < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))


def _set_up_logs(settings: Settings, file: Path | None, to_console: bool) -> None:
    try:
        set_up_logs(settings.logging.level, settings.logging.format, file, scrub, to_console)
    except OSError as error:
        said = f"cannot write the log file {file}: {error.strerror}; set logging.file to a file that this user may write"
        raise ProblemAtStart(said, NOT_PERMITTED, "LOG-FILE") from None


def _supervise(
    loaded: Loaded, again: Callable[[], Loaded], directory: RunDir, nursery: Nursery, while_owned: bool,
    with_banner: bool, output: Path | None,
) -> int:
    inbox = Inbox()
    nursery.own(*inbox.descriptors)
    owners = Owners(directory.path, OWNERLESS_FOR) if while_owned else None
    if owners is not None:
        nursery.own(owners.descriptor)
    identity = plan.Identity(secrets.token_hex(8), socket.gethostname(), os.getpid(), datetime.now(UTC))
    try:
        _probe(loaded, nursery, inbox)
        database = _prepare(loaded, identity, nursery, inbox)
    except _ToldToStop:
        directory.take_request()
        if not directory.starts_again:
            directory.order_stop()
        return 0
    serving = Serving(nursery, loaded, directory.path, Random())
    serving.listen(boot_time())
    if output is not None:
        _redirect(output)
    elif with_banner:
        print(banner(loaded, identity, database, serving.url), file=sys.stderr)
    return Supervisor(loaded, identity, directory, nursery, inbox, again, serving, owners).run()


def _redirect(output: Path) -> None:
    """Let go of the terminal: what is written past the log, stacks and tracebacks, goes to the same file."""
    flush_output()
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.close(descriptor)


def _start_again(directory: RunDir) -> None:
    """Replace this program by itself, with the code and the settings that are there now; the pid and the lock stay."""
    tell(SupervisorRestarting())
    flush_output()
    directory.hand_down()
    for number in (signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # what changes the running one must not kill the one that is not up yet
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    except OSError as error:
        raise ProblemAtStart(
            f"cannot start again: {sys.executable}: {error.strerror}; mend the installation, then: supervisor start", FAILED
        ) from None


def _hold(directory: RunDir, nursery: Nursery, owned: bool) -> RunDir:
    try:
        nursery.own(directory.hold(owned))
    except AlreadyRunning as error:
        hint = "see `supervisor status`, or end it with `supervisor stop`"
        raise ProblemAtStart(f"{error}; {hint}", REFUSED, "PID-RUNNING") from None
    except OSError as error:
        said = f"run_dir: cannot write {directory.path}: {error.strerror}; set run_dir to a directory this user may write"
        raise ProblemAtStart(said, NOT_PERMITTED, "RUN-DIR") from None
    return directory


def _probe(loaded: Loaded, nursery: Nursery, inbox: Inbox) -> None:
    """Import the handlers; raises `ConfigError` with every one that cannot be used."""
    within = min(loaded.settings.supervision.ready_timeout, 10.0)
    findings: Findings = probe(
        plan.handlers_of(loaded.settings), nursery, lambda out: _wait_for(out, inbox), within
    )
    if findings.unusable:
        raise ConfigError(
            [handler_problem(loaded, each.job_type, each.message, each.candidates) for each in findings.unusable]
        )
    for module, reason in findings.unfit.items():
        tell(ModuleUnfit(module, reason))
    preload(findings)


def _prepare(loaded: Loaded, identity: plan.Identity, nursery: Nursery, inbox: Inbox) -> str:
    """Have the database prepared; returns a sentence about it."""
    settings = loaded.settings
    errand = Errand(
        nursery, lambda tell: prepare(settings, identity.id, tell), title="jobqueue: prepares", now=boot_time(),
        within=10 * TRY_FOR + settings.database.statement_timeout,
    )
    while errand.ended is None:
        _wait_for([errand], inbox)
        errand.look(boot_time())
        if any("upgrading" in message for message in errand.messages):
            errand.allow(errand.started + LONGEST_UPGRADE)
    for message in errand.messages:
        if "extension" in message:
            tell(ExtensionSaid(message["extension"], message["said"]))
    said = {key: value for message in errand.messages for key, value in message.items()}
    if "problem" in said:
        raise ProblemAtStart(said["problem"], errand.ended.exit_code or BAD_SETUP, said["id"])
    if "database" not in said:
        raise ProblemAtStart(f"preparing the database ended with {errand.ended}; its output above says why", FAILED)
    return str(said["database"])


def _wait_for(errands: Sequence[Errand], inbox: Inbox) -> None:
    """Wait until one of them has news; raises `_ToldToStop` if a signal says to stop."""
    pidfds = [errand.child.pidfd for errand in errands if errand.child.pidfd is not None]
    inbox.watch_only([*pidfds, *(errand.descriptor for errand in errands)])
    inbox.wait(0.5)
    if {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT} & set(inbox.take()):
        for errand in errands:
            errand.abandon()
        raise _ToldToStop
