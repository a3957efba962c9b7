"""The lab's environment: what `make lab` and `make test` run. Needs nothing but Python's standard library."""
