"""Programs that measure the queue with a real supervisor on a real database; see README.md. Nothing here is a test."""
