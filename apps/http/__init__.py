"""How requests become answers: who asks, what they may see, what is refused and how, and one module for each group of routes.

`services` holds what requests are answered with, `callers` says who asks, `problems` words every refusal. `apps.api` puts
them together. Nothing is imported here, so that each module pays only for what it uses.
"""
