"""A Postgres cluster under load that loses its primary again and again; needs programs that the suite does not: a command of its own."""
