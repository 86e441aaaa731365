"""Kill points: processes that use the database, killed before and after each statement and each write, and what is left."""
