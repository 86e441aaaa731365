"""Who owns the supervisor of a run directory, and which order stands there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from config import (
    Owners,
    Ownership,
    Processing,
    declare_owned,
    has_owner,
    is_owned,
    order_processing,
    processing_ordered,
)

NOW = 1000.0


def test_jobs_are_processed_until_somebody_orders_otherwise(tmp_path: Path) -> None:
    assert processing_ordered(tmp_path / "nowhere") is Processing.GO
    for word in (Processing.STOP, Processing.GO, Processing.STOP):
        order_processing(tmp_path / "run", word)
        assert processing_ordered(tmp_path / "run") is word
    assert [each.name for each in (tmp_path / "run").iterdir()] == ["processing"]
    (tmp_path / "run" / "processing").write_text("perhaps")
    assert processing_ordered(tmp_path / "run") is Processing.GO


def test_only_the_first_owner_lifts_an_order_and_only_the_last_one_is_told_so(tmp_path: Path) -> None:
    first, second = Ownership(tmp_path), Ownership(tmp_path)
    order_processing(tmp_path, Processing.STOP)
    first.join()
    assert processing_ordered(tmp_path) is Processing.GO
    order_processing(tmp_path, Processing.STOP)
    second.join()
    assert processing_ordered(tmp_path) is Processing.STOP
    assert has_owner(tmp_path)
    assert not first.leave()
    assert second.leave()
    assert not second.leave()
    assert not has_owner(tmp_path)


def test_a_supervisor_whose_last_owner_left_in_order_ends_at_once(tmp_path: Path) -> None:
    owner, owners = Ownership(tmp_path), Owners(tmp_path, grace=10)
    owner.join()
    assert not owners.are_gone(NOW)
    owner.leave()
    assert owners.are_gone(NOW)


def test_a_supervisor_whose_last_owner_died_waits_for_another_and_forgets_that_it_waited(tmp_path: Path) -> None:
    owners = Owners(tmp_path, grace=10)
    dies = f"import os; from config import Ownership; from pathlib import Path; Ownership(Path({str(tmp_path)!r})).join(); "
    dies += "os._exit(1)"
    subprocess.run([sys.executable, "-c", dies], check=False, timeout=30)
    assert not owners.are_gone(NOW)
    assert not owners.are_gone(NOW + 9)
    other = Ownership(tmp_path)
    other.join()
    assert not owners.are_gone(NOW + 11)
    owner_after_it = Ownership(tmp_path)
    owner_after_it.join()
    assert not other.leave()
    assert not owners.are_gone(NOW + 30)


def test_one_that_joins_in_time_is_not_left_alone_by_one_that_left_in_order(tmp_path: Path) -> None:
    owners = Owners(tmp_path, grace=10)
    first, second = Ownership(tmp_path), Ownership(tmp_path)
    first.join()
    first.leave()
    second.join()
    assert not owners.are_gone(NOW)
    assert (tmp_path / "owners").read_bytes() == b""


def test_owners_and_supervisor_meet_again_in_a_directory_that_was_removed(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    owner, owners = Ownership(run_dir), Owners(run_dir, grace=10)
    owner.join()
    order_processing(run_dir, Processing.STOP)
    shutil.rmtree(run_dir)
    assert not owners.are_gone(NOW)
    order_processing(run_dir, Processing.STOP)
    owner.join()
    assert processing_ordered(run_dir) is Processing.STOP
    assert has_owner(run_dir)
    assert not owners.are_gone(NOW + 11)
    assert owner.leave()
    assert owners.are_gone(NOW + 11)


def test_a_supervisor_is_owned_or_an_operators(tmp_path: Path) -> None:
    assert not is_owned(tmp_path, 7)
    declare_owned(tmp_path, 7)
    assert is_owned(tmp_path, 7)
    assert not is_owned(tmp_path, 8)
    declare_owned(tmp_path, 0)
    assert not is_owned(tmp_path, 7)
