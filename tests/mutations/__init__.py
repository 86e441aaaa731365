"""The mutation check: for each guard of a promise a patch that removes it, and the tests that must notice."""
