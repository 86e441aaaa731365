"""Reading how a table was declared, in the words in which it was."""

from __future__ import annotations

import pytest

from backends.create_table import Declared, clauses
from backends.sqlite import driver

STATEMENT = """CREATE TABLE "jobs" -- of the application
(
    id INTEGER NOT NULL, /* a key, of course */
    "Odd, name" NUMERIC(10, 2) DEFAULT (1 + (2)),
    [another one] TEXT CHECK ([another one] IN ('a)', 'b,', 'it''s')),
    `check` VARCHAR(20),
    owner INTEGER CONSTRAINT of_owner REFERENCES users (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT "both, of them" UNIQUE (owner, `check`),
    FOREIGN KEY (owner) REFERENCES users (id)
) STRICT"""


def test_columns_and_constraints_are_told_apart() -> None:
    declared = Declared.parse(STATEMENT)
    assert list(declared.columns) == ["id", "odd, name", "another one", "check", "owner"]
    assert declared.columns["odd, name"] == '"Odd, name" NUMERIC(10, 2) DEFAULT (1 + (2))'
    assert declared.constraints == [
        "PRIMARY KEY (id)", 'CONSTRAINT "both, of them" UNIQUE (owner, `check`)', "FOREIGN KEY (owner) REFERENCES users (id)"
    ]


CLAUSES = {
    "a INTEGER": [],
    "a VARCHAR(20) NOT NULL DEFAULT 'not null'": ["NOT NULL", "DEFAULT 'not null'"],
    "a INTEGER REFERENCES b (id) ON DELETE SET NULL": ["REFERENCES b (id) ON DELETE SET NULL"],
    "a INTEGER REFERENCES b ON UPDATE SET DEFAULT DEFAULT 4": ["REFERENCES b ON UPDATE SET DEFAULT", "DEFAULT 4"],
    "a INTEGER REFERENCES b NOT DEFERRABLE NOT NULL": ["REFERENCES b NOT DEFERRABLE", "NOT NULL"],
    "a INTEGER CONSTRAINT x CHECK (a > 0) UNIQUE": ["CONSTRAINT x CHECK (a > 0)", "UNIQUE"],
    'a TEXT COLLATE NOCASE CHECK("a" <> \')\')': ["COLLATE NOCASE", "CHECK (\"a\" <> ')')"],
    "a INTEGER NULL": ["NULL"],
    "a INTEGER GENERATED ALWAYS AS (b + 1) STORED NOT NULL": ["GENERATED ALWAYS AS (b + 1) STORED", "NOT NULL"],
}


@pytest.mark.parametrize("declaration", CLAUSES)
def test_the_clauses_of_a_column_are_found(declaration: str) -> None:
    assert clauses(declaration) == CLAUSES[declaration]


def test_what_is_put_together_again_declares_the_same_table() -> None:
    declared = Declared.parse(STATEMENT.replace(" STRICT", "").replace("NUMERIC(10, 2)", "NUMERIC"))
    connection = driver.connect(":memory:")
    connection.execute(STATEMENT.replace(" STRICT", "").replace("NUMERIC(10, 2)", "NUMERIC"))
    connection.execute(f"CREATE TABLE again ({', '.join([*declared.columns.values(), *declared.constraints])})")
    for question in ("table_xinfo", "foreign_key_list"):
        ask = f"SELECT * FROM pragma_{question}('{{}}')"
        assert connection.execute(ask.format("jobs")).fetchall() == connection.execute(ask.format("again")).fetchall()
    connection.close()
