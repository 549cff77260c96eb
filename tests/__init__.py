"""The tests: a package, so that what several rooms' tests share is imported by one name (`tests.e2e.harness`)."""
