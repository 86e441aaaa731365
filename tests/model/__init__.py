"""The lease protocol as a model, and the searches of all its states; `python -m tests.model` makes the long ones."""
