"""What is refused, where the complaint points, and what it says: word for word."""

from __future__ import annotations

import pytest

from config import CODES, handler_problem, render

from .support import Desk


def test_everything_wrong_is_said_at_once_with_place_caret_and_fix(desk: Desk) -> None:
    text = """\
workers: {count: 2, process_ids: [a, b, a]}
lock_timeout: 10s
retry:
  max_retires: 3
  initial: 5 minutes
job_types:
  cleanup: {lane: "program:{programid}"}
"""
    assert desk.complaint(text) == """\
jobqueue.yaml:1:34: error[CFG-RANGE] workers.process_ids: 3 ids for 2 workers
   1 | workers: {count: 2, process_ids: [a, b, a]}
     |                                  ^
  fix: raise workers.count, or name fewer
jobqueue.yaml:1:41: error[CFG-DUPLICATE-ID] workers.process_ids[2]: the process id 'a' is there already
   1 | workers: {count: 2, process_ids: [a, b, a]}
     |                                         ^
  fix: give every worker its own id
jobqueue.yaml:2:15: error[CFG-LOCK-TIMEOUT] lock_timeout: 10s is less than three times heartbeat_interval (5s); \
one late beat loses the job
   2 | lock_timeout: 10s
     |               ^
  fix: write 15s or more, or a shorter heartbeat_interval
jobqueue.yaml:4:3: error[CFG-UNKNOWN] retry.max_retires: unknown setting 'max_retires', did you mean 'max_retries'?
   4 |   max_retires: 3
     |   ^
jobqueue.yaml:5:12: error[CFG-DURATION] retry.initial: '5 minutes' is not a duration, did you mean '5m'?
   5 |   initial: 5 minutes
     |            ^
jobqueue.yaml:7:3: error[CFG-MISSING] job_types.cleanup: 'handler' is missing
   7 |   cleanup: {lane: "program:{programid}"}
     |   ^
  fix: a job type needs one; write handler: module:function
jobqueue.yaml:7:19: error[CFG-LANE] job_types.cleanup.lane: a lane template cannot name {programid}, \
did you mean 'program_id'?
   7 |   cleanup: {lane: "program:{programid}"}
     |                   ^
7 errors. The supervisor was not started."""


@pytest.mark.parametrize(
    ("text", "headline"),
    [
        ("nosuchthing: 1", "1:1: error[CFG-UNKNOWN] nosuchthing: unknown setting 'nosuchthing'"),
        (
            "api: {jwt: {issuer: i, audience: a, jwks_url: 'http://id.example.com/keys'}}",
            "1:47: error[CFG-JWKS-URL] api.jwt.jwks_url: whoever is on the way to it could put keys of their own in the "
            "provider's place",
        ),
        (
            "api: {jwt: {issuer: i, audience: a, jwks_url: 'file:///etc/keys'}}",
            "1:47: error[CFG-JWKS-URL] api.jwt.jwks_url: whoever is on the way to it could put keys of their own in the "
            "provider's place",
        ),
        (
            "api: {jwt: {issuer: i, audience: a, jwks_url: 'https://'}}",
            "1:47: error[CFG-JWKS-URL] api.jwt.jwks_url: whoever is on the way to it could put keys of their own in the "
            "provider's place",
        ),
        (
            "api: {jwt: {issuer: i, audience: a, jwks_url: 'http://localhost.evil.example/'}}",
            "1:47: error[CFG-JWKS-URL] api.jwt.jwks_url: whoever is on the way to it could put keys of their own in the "
            "provider's place",
        ),
        (
            "api: {jwt: {issuer: i, jwks_url: 'https://id.example.com/keys'}}",
            "1:12: error[CFG-MISSING] api.jwt: 'audience' is missing: tokens made for others would be taken",
        ),
        ("worker: 1", "1:1: error[CFG-UNKNOWN] worker: unknown setting 'worker', did you mean 'workers'?"),
        (
            "max_retries: 1",
            "1:1: error[CFG-UNKNOWN] max_retries: unknown setting 'max_retries', did you mean 'retry.max_retries'?",
        ),
        ("workers: lots", "1:10: error[CFG-TYPE] workers.count: must be a whole number, not the text 'lots'"),
        ("workers: 0", "1:10: error[CFG-RANGE] workers.count: 0 is out of range"),
        ("workers: [a]", "1:10: error[CFG-TYPE] workers: must be a mapping, not a list"),
        ("workers: {process_ids: a}", "1:24: error[CFG-TYPE] workers.process_ids: must be a list, not the text 'a'"),
        ("workers: {process_ids: ['a:b']}", "1:25: error[CFG-NAME] workers.process_ids[0]: 'a:b' cannot be the id of a process"),
        ("api: {enabled: yes}", "1:16: error[CFG-TYPE] api.enabled: must be true or false, not the text 'yes'"),
        ("api: {port: 0600}", "1:13: error[CFG-TYPE] api.port: must be a whole number, not the text '0600'"),
        ("api: {port: 70000}", "1:13: error[CFG-RANGE] api.port: 70000 is out of range"),
        ("api: {host: 5}", "1:13: error[CFG-TYPE] api.host: must be a text, not the number 5"),
        ("api: {host: ''}", "1:13: error[CFG-TYPE] api.host: is empty"),
        ("retry: {factor: .nan}", "1:17: error[CFG-TYPE] retry.factor: must be a finite number, not the number nan"),
        (
            "retry: {backoff: exponentail}",
            "1:18: error[CFG-CHOICE] retry.backoff: must be one of none, constant, linear, exponential, "
            "not the text 'exponentail', did you mean 'exponential'?",
        ),
        ("retry: {initial: 2h}", "1:18: error[CFG-RANGE] retry.max: 1h is shorter than the first delay, initial: 2h"),
        ("lock_timeout: 12:30", "1:15: error[CFG-DURATION] lock_timeout: '12:30' is not a duration"),
        ("lock_timeout: -5s", "1:15: error[CFG-DURATION] lock_timeout: a duration cannot be negative: '-5s'"),
        ("lock_timeout: -5", "1:15: error[CFG-DURATION] lock_timeout: a duration cannot be negative: -5"),
        ("lock_timeout: .nan", "1:15: error[CFG-DURATION] lock_timeout: nan is not a duration"),
        ("lock_timeout: .inf", "1:15: error[CFG-DURATION] lock_timeout: inf is not a duration"),
        ("lock_timeout: 36501d", "1:15: error[CFG-DURATION] lock_timeout: a duration cannot be longer than 36500d"),
        ("lock_timeout: true", "1:15: error[CFG-TYPE] lock_timeout: must be a duration, not true"),
        ("poll_interval: 0", "1:16: error[CFG-RANGE] poll_interval: must be longer than 0"),
        (
            "heartbeat_interval: 20s",
            "1:21: error[CFG-LOCK-TIMEOUT] lock_timeout: 30s is less than three times heartbeat_interval (20s); "
            "one late beat loses the job",
        ),
        (
            "job_types: {a: apps.jobs.a}",
            "1:16: error[CFG-HANDLER] job_types.a.handler: 'apps.jobs.a' does not name a handler, did you mean 'apps.jobs:a'?",
        ),
        ("job_types: {a: 'apps.jobs:'}", "1:16: error[CFG-HANDLER] job_types.a.handler: 'apps.jobs:' does not name a handler"),
        ("job_types: {a: }", "1:15: error[CFG-TYPE] job_types.a.handler: must be a handler, module:function, not nothing (null)"),
        ("job_types: {a: {timeout: 1h}}", "1:13: error[CFG-MISSING] job_types.a: 'handler' is missing"),
        ("job_types: {a b: 'm:f'}", "1:13: error[CFG-NAME] job_types.a b: 'a b' cannot be the name of a job type"),
        (
            "job_types: {a: {handler: 'm:f', lane: 'x{'}}",
            "1:39: error[CFG-LANE] job_types.a.lane: 'x{' is not a lane template: Single '{' encountered in format string",
        ),
        (
            "job_types: {a: {handler: 'm:f', lane: '{job_type.x}'}}",
            "1:39: error[CFG-LANE] job_types.a.lane: a lane template cannot name {job_type.x}, did you mean 'job_type'?",
        ),
        ("job_types: {a: {handler: 'm:f', lane: '{program_id:>9}'}}",
         "1:39: error[CFG-LANE] job_types.a.lane: a lane template cannot name {program_id}"),
        ("programs: [{id: 1, name: a}]", "1:12: error[CFG-MISSING] programs[0]: 'folder' is missing: a local program needs one"),
        ("programs: [{name: a, folder: b}]", "1:12: error[CFG-MISSING] programs[0]: 'id' is missing"),
        (
            "programs: [{id: 1, name: a, folder: b}, {id: 1, name: c, folder: d}]",
            "1:46: error[CFG-DUPLICATE-ID] programs[1].id: the id 1 belongs to programs[0] already",
        ),
        ("programs: {id: 1}", "1:11: error[CFG-TYPE] programs: must be a list, not a mapping"),
        ("logging: {level: warn}",
         "1:18: error[CFG-CHOICE] logging.level: must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL, "
         "not the text 'WARN', did you mean 'WARNING'?"),
        ("logging: {file: ~/x.log}", "1:17: error[CFG-PATH] logging.file: ~ is not replaced here"),
        ("run_dir: ''", "1:10: error[CFG-PATH] run_dir: '' is not a path"),
        ("extensions: [apps/extension]",
         "1:14: error[CFG-NAME] extensions[0]: 'apps/extension' is not the dotted name of a module"),
        ("database_url: mysql://u@h/d", "1:15: error[CFG-DATABASE-URL] database_url: 'mysql' is not a known kind of database"),
        ("database_url: sqlite://a.db", "1:15: error[CFG-DATABASE-URL] database_url: 'sqlite://a.db' names no file"),
        ("database_url: 'sqlite://'", "1:15: error[CFG-DATABASE-URL] database_url: is not complete, or contains a space"),
        ("database_url: 'sqlite:///:memory:'",
         "1:15: error[CFG-DATABASE-URL] database_url: a database in memory cannot be shared by processes"),
        ("database_url: sqlite+aiosqlite:///a", "1:15: error[CFG-DATABASE-URL] database_url: 'sqlite+aiosqlite' cannot be used"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_at_its_place(desk: Desk, text: str, headline: str) -> None:
    assert desk.headlines(text) == [f"jobqueue.yaml:{headline}"]


def test_a_problem_of_the_general_retry_rules_is_said_once_not_for_each_job_type(desk: Desk) -> None:
    text = "retry: {initial: soon}\njob_types: {a: 'm:f', b: {handler: 'm:f', retry: {max: 1m}}}"
    assert desk.headlines(text) == ["jobqueue.yaml:1:18: error[CFG-DURATION] retry.initial: 'soon' is not a duration"]


def test_a_wrong_job_type_does_not_hide_what_does_not_fit_in_another(desk: Desk) -> None:
    text = "retry: {max: 7h, unknown: 1}\njob_types:\n  a: {lane: x}\n  b: {handler: 'm:f', retry: {initial: 9h}}"
    assert [problem.code for problem in desk.problems(text)] == ["CFG-RANGE", "CFG-UNKNOWN", "CFG-MISSING"]


def test_a_check_is_not_made_with_a_value_that_is_itself_refused(desk: Desk) -> None:
    assert [problem.code for problem in desk.problems("heartbeat_interval: often\nlock_timeout: 1s")] == ["CFG-DURATION"]


def test_more_than_a_hundred_problems_are_counted_not_shown(desk: Desk) -> None:
    problems = desk.problems("".join(f"key_{number}: 1\n" for number in range(300)))
    assert len(problems) == 101
    assert problems[-1].code == "CFG-MORE"


def test_a_long_line_is_cut_around_the_caret(desk: Desk) -> None:
    text = f"run_dir: {'x' * 500}  \nlogging: {{file: {'y' * 500}, level: loud, format: auto}}"
    _, line, caret, *_ = desk.complaint(text).splitlines()
    assert len(line) < 130
    assert line[caret.index("^") :].startswith("loud,")


def test_the_quoted_line_does_not_show_a_password_and_the_caret_follows(desk: Desk) -> None:
    text = "api: {token_file: 'tok en', prot: 5}\ndatabase_url: mysql://me:hunter2@db/jobs"
    complaint = desk.complaint(text)
    lines = complaint.splitlines()
    headline = next(number for number, line in enumerate(lines) if "api.prot" in line)
    line, caret = lines[headline + 1 : headline + 3]
    assert line == "   1 | api: {token_file: ***, prot: 5}"
    assert line[caret.index("^") :] == "prot: 5}"
    assert "   2 | database_url: mysql://me:***@db/jobs" in complaint
    assert "hunter2" not in complaint


def test_control_characters_never_reach_the_terminal(desk: Desk) -> None:
    complaint = desk.complaint('"\\e[31mred": 1')
    assert "\x1b" not in complaint
    assert "CFG-UNKNOWN" in complaint


def test_an_unimportable_handler_is_reported_at_its_place_with_the_nearest_name(desk: Desk) -> None:
    loaded = desk.load("job_types:\n  scan: apps.indexing:index_foldr\n")
    problem = handler_problem(loaded, "scan", "the module has no 'index_foldr'", ["index_folder", "other"])
    assert render([problem], closing="").replace(f"{desk.folder}/", "") == """\
jobqueue.yaml:2:9: error[CFG-HANDLER] job_types.scan.handler: apps.indexing:index_foldr: \
the module has no 'index_foldr', did you mean 'index_folder'?
   2 |   scan: apps.indexing:index_foldr
     |         ^
1 error."""


def test_the_nearest_of_whole_handlers_is_suggested_too(desk: Desk) -> None:
    loaded = desk.load("job_types: {scan: apps.indexng:scan}")
    assert handler_problem(loaded, "scan", "no module", ["apps.indexing:scan"]).hint == "did you mean 'apps.indexing:scan'?"


def test_every_code_that_is_used_is_explained(desk: Desk) -> None:
    problems = desk.problems("a: !x 1\nb: ${\nlock_timeout: x\nworkers: {process_ids: [a, a], count: 1}")
    assert {problem.code for problem in problems} <= set(CODES)
