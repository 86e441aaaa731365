"""What this installation uses the queue for: indexing folders, and showing people what came of it.

The supervisor never imports this package by itself. It finds job handlers by the names written in jobqueue.yaml
(`apps.indexing.jobs:full_scan`), and start-up tasks and operator functions through the modules named under `extensions`
(`apps.extension`). Nothing is imported here, so that each of those pays only for what it uses.
"""
