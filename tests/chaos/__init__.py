"""Evidence for the promises: actors that write down all they did, a database that watches itself, and a checker of both."""
