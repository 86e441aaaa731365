"""A Postgres cluster under load that loses its primary again and again: a command, for programs that the suite does not need."""
